"""Image folders as datasets: ``imagefolder:PATH`` with a folder per class, decoded once at 224 pixels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torchvision
from PIL import Image, ImageOps

from probes.errors import BadInput, Unavailable
from probes.store import Store, digest
from probes.subjects.data import Dataset, Split

SIDE, SHORTER = 224, 256
IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CATEGORIES: tuple[str, ...] = tuple(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


def imagefolder(place: str, split: Split, store: Store) -> Dataset:
    """The images below a folder as a dataset: shorter side to 256 pixels, the middle 224 x 224, three channels.

    ``PATH/CLASS/*.jpg`` or, with splits, ``PATH/{train, val or test}/CLASS/*.jpg``. A class is a folder; labels follow
    their sorted names, which for the 1,000 wnids of ImageNet is the order of torchvision's categories. An id is an
    image's place among the sorted paths. Raises Unavailable for a folder that is not there, BadInput for one without
    images, or naming an image that can't be read.
    """
    root = Path(place).expanduser()
    if not root.is_dir() and (named := os.environ.get("PROBES_DATA")):
        root = Path(named) / place
    if not root.is_dir():
        raise Unavailable(f"imagefolder:{place}: no such folder on this machine, nor below PROBES_DATA")
    here = _split(root, split)
    paths = sorted(p for p in here.glob("*/*") if p.suffix.lower() in ENDINGS)
    if not paths:
        raise BadInput(f"imagefolder:{place}: no CLASS/*.jpg (or png, bmp, webp, tiff) below {here}")
    names = sorted({p.parent.name for p in paths})
    source = digest({"files": [[p.relative_to(here).as_posix(), p.stat().st_size] for p in paths], "side": SIDE})

    def decode(path: Path) -> None:
        images = np.lib.format.open_memmap(path, "w+", np.uint8, (len(paths), 3, SIDE, SIDE))
        for i, file in enumerate(paths):
            images[i] = read_image(file)
        images.flush()

    images = np.load(store.get_or_make("decoded", {"source": source}, ".npy", decode), mmap_mode="r")
    labels = np.array([names.index(p.parent.name) for p in paths], dtype=np.int64)
    return Dataset(
        name=f"imagefolder:{root.name}",
        title=f"images of {root.name}",
        split=split,
        images=images,
        labels=labels,
        ids=np.arange(len(paths)),
        classes=CATEGORIES if _imagenet(names) else tuple(names),
        **IMAGENET,
        claim_images=min(300, len(paths)),
    )


def _split(root: Path, split: Split) -> Path:
    if split == "train":
        if not (root / "train").is_dir():
            raise Unavailable(f"imagefolder:{root}: there is no train/ to train on")
        return root / "train"
    return next((root / name for name in ("val", "test") if (root / name).is_dir()), root)


def _imagenet(names: list[str]) -> bool:
    return len(names) == 1000 and all(n.startswith("n") and n[1:].isdigit() for n in names)


def read_image(path: Path, side: int = SIDE, channels: int = 3) -> np.ndarray:
    """An image file as bytes (channels, side, side): turned upright (EXIF), RGB or grey whatever its mode, resized, cropped.

    At 224 pixels the shorter side is made 256 first, as torchvision does; else it is made ``side``.

    Raises BadInput, naming the file, when it is no image or is truncated.
    """
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I;16"):  # 16-bit greyscale: Pillow would clip it
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert("RGB" if channels == 3 else "L")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
        raise BadInput(f"{path} is no image that can be read: {e}") from e
    shorter = SHORTER if side == SIDE else side
    wide, high = (int(shorter * s / min(image.size)) for s in image.size)  # torchvision's rounding, here and below
    image = image.resize((wide, high), Image.Resampling.BILINEAR)
    left, top = round((wide - side) / 2), round((high - side) / 2)
    pixels = np.asarray(image.crop((left, top, left + side, top + side)))
    return np.moveaxis(pixels, 2, 0) if channels == 3 else pixels[None]
