"""Image folders as datasets: ``imagefolder:PATH`` with a folder per class, decoded once at 224
pixels.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from probes.errors import BadInput, Unavailable
from probes.store import Store, file_hashes
from probes.subjects.dataset import Dataset, Split
from probes.subjects.imagefiles import (
    SIDE,
    WANTED,
    _hidden,
    _Listing,
    endings,
    read_image,
    tell_skipped,
)

log = logging.getLogger("probes")
IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
TEST, TRAIN = ("val", "valid", "validation", "test", "testing"), ("train", "training")
"""The folders of a split in any case; the first one that exists is used. Any other folder is a
class.
"""


@functools.cache
def categories() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes, as torchvision has them."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


@functools.cache
def wnids() -> tuple[str, ...]:
    """The WordNet names of ImageNet's 1,000 classes, in the order of torchvision's categories."""
    return tuple(Path(__file__).with_name("wnids.txt").read_text(encoding="ascii").split())


def imagefolder(place: str, split: Split, store: Store) -> Dataset:
    """The images below a folder as a dataset: shorter side to 256 pixels, the middle 224 x 224,
    three channels.

    The files are ``PATH/CLASS/**/*.jpg`` or, with splits, ``PATH/{train, val or
    test}/CLASS/**/*.jpg``, or any other format that Pillow reads. The classes are those of all
    splits together, sorted by name: a class without test images keeps its place. Folder names that
    are all whole numbers are the labels themselves. The 1,000 WordNet names of ImageNet become
    torchvision's categories, for a network with 1,000 outputs also if only some of them are there
    (:func:`as_imagenet`). Hidden and empty folders are ignored. Files that are left out are logged
    with their number and the reason. An id is an image's place among the sorted paths.

    Raises Unavailable for a folder that is not there or has no such split; BadInput for one without
    images, and, naming it, for an image that can't be read.
    """
    root = Path(place).expanduser()
    if not root.is_dir() and (named := os.environ.get("PROBES_DATA")):
        root = Path(named) / place
    if not root.is_dir():
        raise Unavailable(
            f"imagefolder:{place}: no such folder on this machine, nor below PROBES_DATA"
        )
    here, others = _split(root, split)
    found = {part: _Listing(part) for part in (here, *others)}
    names = sorted({name for listing in found.values() for name in listing.classes})
    paths = found[here].paths
    tell_skipped(f"imagefolder:{place}", here, found[here].skipped)
    if not paths:
        raise BadInput(
            f"imagefolder:{place}: no CLASS/*.jpg (or"
            f" {', '.join(sorted(e[1:] for e in endings()))}) below {here}"
        )
    labels, classes = _labels(place, names, [p.relative_to(here).parts[0] for p in paths])
    files = [p.relative_to(here).as_posix() for p in paths]
    key = {
        "files": [list(pair) for pair in zip(files, file_hashes(paths, store), strict=True)],
        "side": SIDE,
        "pillow": PIL.__version__,
        "version": 2,
    }

    def decode(path: Path) -> None:
        images = np.lib.format.open_memmap(path, "w+", np.uint8, (len(paths), 3, SIDE, SIDE))
        for i, file in enumerate(paths):
            images[i] = read_image(file)
        images.flush()

    images = np.load(store.get_or_make("decoded", key, ".npy", decode), mmap_mode="r")
    return Dataset(
        name=f"imagefolder:{root.name}",
        title=f"{root.name} (image folder)",
        split=split,
        images=images,
        labels=labels,
        ids=np.arange(len(paths)),
        classes=classes,
        **IMAGENET,
        claim_images=min(300, len(paths)),
        files=tuple(files),
    )


def _labels(
    place: str, names: Sequence[str], each: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The labels of images from the names of their folders, and the classes."""
    if all(re.fullmatch(r"[0-9]+", name) for name in names):
        numbers = [int(name) for name in each]
        most = max(int(name) for name in names)
        if most > 100_000:
            raise BadInput(
                f"imagefolder:{place}: folders that are named by numbers are the labels, and {most}"
                " is none; rename them"
            )
        if len({int(name) for name in names}) < len(names):
            raise BadInput(
                f"imagefolder:{place}: two folders stand for one number, such as 1 and 01; rename"
                " one of them"
            )
        return np.array(numbers, dtype=np.int64), tuple(str(i) for i in range(most + 1))
    whole = [name for name in names if re.fullmatch(r"[0-9]+", name)]
    if whole != sorted(whole, key=int):
        word = next(name for name in names if name not in whole)
        raise BadInput(
            f"imagefolder:{place}: folders are named by numbers ({', '.join(whole[:4])}) and by"
            f" words ({word}): sorted as text 10 comes before 2; name all of them by numbers, or"
            " write 02"
        )
    place_of = {name: i for i, name in enumerate(names)}
    classes = categories() if list(names) == list(wnids()) else tuple(names)
    return np.array([place_of[name] for name in each], dtype=np.int64), classes


def as_imagenet(data: Dataset) -> Dataset | None:
    """The images of WordNet folders with the labels of ImageNet's 1,000 classes. None if a class is
    not one of these.

    >>> images = np.zeros((2, 3, 1, 1), np.uint8)
    >>> some = Dataset("d", "d", "test", images, np.array([0, 1]), np.arange(2), ("n01440764",
    ...     "n15075141"), (0.0,), (1.0,))
    >>> as_imagenet(some).labels.tolist()
    [0, 999]
    """
    order = {name: i for i, name in enumerate(wnids())}
    if data.classes == categories():
        return data
    if not all(name in order for name in data.classes):
        return None
    labels = np.array([order[data.classes[i]] for i in data.labels], dtype=np.int64)
    return dataclasses.replace(data, labels=labels, classes=categories())


def _split(root: Path, split: Split) -> tuple[Path, list[Path]]:
    """The folder of a split, and those of all other splits. The folder itself if there are no
    splits.

    Raises BadInput if a folder may be a split or a class: a guess would give other labels.
    """
    inside = {p.name: p for p in _folders(root)}
    named = [inside[name] for want in (*TEST, *TRAIN) for name in inside if name.lower() == want]
    parts = [p for p in named if _folders(p)]
    if stray := [p for p in parts if _images(p)]:
        raise BadInput(
            f"imagefolder:{root}: {stray[0].name}/ holds images ({_images(stray[0])[0].name})"
            " beside folders: is it a split or a class? Move the images into the folder of a class"
        )
    if not parts:
        _refuse_unsure(root, list(inside.values()))
        if split == "train":
            raise Unavailable(f"imagefolder:{root}: there is no train/ to train on")
        return root, []
    wanted = TRAIN if split == "train" else TEST
    here = next((part for want in wanted for part in parts if part.name.lower() == want), None)
    if here is None:
        classes = [p.name for p in inside.values() if _images(p)]
        hint = (
            f"; {classes[0]}/ beside it holds images itself, as the folder of a class does"
            if classes
            else ""
        )
        raise Unavailable(
            f"imagefolder:{root}: there is {' and '.join(p.name + '/' for p in parts)}, and no"
            f" {' or '.join(name + '/' for name in wanted)} with a folder per class{hint}"
        )
    return here, [part for part in parts if part != here]


def _refuse_unsure(root: Path, folders: Sequence[Path]) -> None:
    """Raise BadInput if the folders below a root hold no images themselves and look like splits, or
    like one folder around everything.
    """
    if not folders or any(_images(p) for p in folders):
        return
    below = {p: {q.name for q in _folders(p)} for p in folders}
    if len(folders) == 1 and below[folders[0]]:
        inner = folders[0].name
        raise BadInput(
            f"imagefolder:{root}: it holds one folder, {inner}/, of folders: is"
            f" imagefolder:{root / inner} meant?"
        )
    first, *others = folders
    if other := next((p for p in others if below[p] & below[first]), None):
        same = min(below[first] & below[other])
        raise BadInput(
            f"imagefolder:{root}: {first.name}/ and {other.name}/ hold folders of the same name"
            f" ({same}): splits are called train/ and val/ or test/; the images of a class may lie"
            " in its folder itself"
        )


def _folders(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.iterdir()) if p.is_dir() and not _hidden(p)]


def _images(folder: Path) -> list[Path]:
    return [
        p
        for p in sorted(folder.iterdir())
        if p.suffix.lower() in WANTED and p.is_file() and not _hidden(p)
    ]
