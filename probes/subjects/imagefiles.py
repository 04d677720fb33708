"""Image files below a folder: which are read, which are left out with a log message, and their
pixels.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from probes.errors import BadInput

SIDE, SHORTER = 224, 256
"""Pixels of a side of a network's image, and of the shorter side of a file before it is cropped."""
log = logging.getLogger("probes")

WANTED = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".bmp",
    ".dib",
    ".webp",
    ".tif",
    ".tiff",
    ".gif",
    ".ppm",
    ".pgm",
    ".pnm",
    ".avif",
    ".jp2",
    ".heic",
    ".heif",
    ".jxl",
)


BRINGS = {
    ".avif": "pip install 'pillow>=11.3'",
    ".heic": "pip install pillow-heif",
    ".heif": "pip install pillow-heif",
    ".jxl": "pip install pillow-jxl-plugin",
}
"""The package that reads each format that Pillow alone does not."""


SILENT = ("thumbs.db", "desktop.ini", "__macosx", "lost+found", "system volume information")
"""Files that operating systems leave in folders. Files that begin with ``.``, ``@`` or ``$`` are
left out silently as well.
"""


@functools.cache
def endings() -> frozenset[str]:
    """The endings of the image files that Pillow reads here; with those of pillow-heif if it is
    installed.
    """
    for plugin in ("pillow_heif", "pillow_jxl"):
        with contextlib.suppress(ImportError):
            module = __import__(plugin)
            getattr(module, "register_heif_opener", lambda: None)()
    Image.init()
    return frozenset(end for end in WANTED if Image.registered_extensions().get(end) in Image.OPEN)


def _hidden(path: Path) -> bool:
    return path.name.startswith((".", "@", "$")) or path.name.lower() in SILENT


def images_below(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The images below a folder, sorted, and the other files with the reason why they are
    left out.
    """
    paths, skipped = [], []
    for path in _walk(folder):
        ending = path.suffix.lower()
        if not path.is_file():
            skipped.append((path, "is a link to nothing" if path.is_symlink() else "is no file"))
        elif ending in endings():
            paths.append(path)
        elif ending in WANTED:
            skipped.append(
                (
                    path,
                    (
                        f"is read with `{BRINGS[ending]}`"
                        if ending in BRINGS
                        else "is not read by this Pillow"
                    ),
                )
            )
        else:
            skipped.append((path, "is no image"))
    return sorted(paths), skipped


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if _hidden(path):
            continue
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


class _Listing:
    """The contents of the folder of a split: images with their classes, and what is left out."""

    def __init__(self, here: Path) -> None:
        found, self.skipped = images_below(here)
        self.here = here
        self.paths = [p for p in found if len(p.relative_to(here).parts) > 1]
        self.skipped += [
            (p, "lies in no folder of a class")
            for p in found
            if len(p.relative_to(here).parts) == 1
        ]
        self.classes = {p.relative_to(here).parts[0] for p in self.paths}


def tell_skipped(who: str, here: Path, skipped: Sequence[tuple[Path, str]]) -> None:
    """Log what is left out: the number of files for each reason, and the first three files."""
    for why, many in Counter(why for _, why in skipped).items():
        names = sorted(p.relative_to(here).as_posix() for p, w in skipped if w == why)
        more = ", ..." if many > 3 else ""
        log.warning(
            "%s: %d file%s left out: %s%s (%s)",
            who,
            many,
            "s" * (many > 1),
            ", ".join(names[:3]),
            more,
            why,
        )


DAMAGED = (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError)
"""What Pillow raises for a file that is no image, or that claims more than there is."""
LARGEST = 30_000_000
"""Pixels of the largest image file that is opened: 120 MB in memory, three times over."""


def read_image(path: Path, side: int = SIDE, channels: int = 3) -> np.ndarray:
    """An image file as bytes (channels, side, side): turned upright (EXIF), RGB or grey whatever
    its mode, resized, cropped.

    At 224 pixels the shorter side is made 256 first, as torchvision does; else it is made ``side``.

    Raises BadInput, naming the file, when it is no image or is truncated.
    """
    try:
        with Image.open(path) as opened:
            if math.prod(opened.size) > LARGEST:
                raise ValueError(
                    f"{opened.size[0]:,} x {opened.size[1]:,} pixels, at most {LARGEST:,}: make it"
                    " smaller"
                )
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I;16") or (image.mode == "I" and opened.format == "PNG"):
                # 16-bit greyscale, which Pillow would clip; before Pillow 11 such a PNG is of mode
                # I
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if image.mode in ("I", "F"):
                raise ValueError(
                    f"32 bits a pixel (mode {image.mode}), whose range is unknown; save it with 8"
                    " or 16"
                )
            image = image.convert("RGB" if channels == 3 else "L")
    except DAMAGED as e:
        raise BadInput(f"{path} is no image that can be read: {e}") from e
    from torchvision.transforms.functional import center_crop, resize

    image = resize(image, [SHORTER if side == SIDE else side])
    pixels = np.asarray(center_crop(image, [side, side]))
    return np.moveaxis(pixels, 2, 0) if channels == 3 else pixels[None]
