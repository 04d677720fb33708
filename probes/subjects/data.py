"""Datasets by name: images as bytes, labels, stable ids. They are decoded once into the store and
memory-mapped from there.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import numpy as np
import torch

from probes.errors import BadInput
from probes.origin import outside
from probes.store import Store
from probes.subjects.builtin import fetch, here
from probes.subjects.dataset import Dataset, Split, datasets
from probes.subjects.lent import lent
from probes.versions import version_of

__all__ = ["FOLDER", "Dataset", "Split", "datasets", "fetch", "here", "load", "strange"]

FOLDER = "imagefolder:"


def strange(name: str) -> bool:
    """Whether a dataset is a user's own: an image folder, or one that a user registered or wrote.

    >>> strange("mnist5k"), strange("imagefolder:photos"), strange("mnist5k@14px")
    (False, True, False)
    """
    base = re.sub(r"@\d{1,4}px$", "", name)
    return base not in datasets or outside(datasets[base])


def load(name: str, split: Split = "test", store: Store | None = None) -> Dataset:
    """A split of a dataset by name. Raises UnknownName, or Unavailable (with the way to get it) if
    it is not here.

    >>> digits = load("mnist5k", "test")
    >>> digits.images.shape, digits.channels
    ((1000, 1, 28, 28), 1)
    """
    if split not in ("train", "test"):
        raise BadInput(f"split {split!r}: a dataset has the splits 'train' and 'test'")
    if (found := lent(name, split)) is not None:
        return found
    store = store or Store.default()
    if view := re.fullmatch(r"(.+)@(\d{1,4})px", name):
        return _resized(load(view[1], split, store), name, int(view[2]), store)
    if name.startswith(FOLDER):
        from probes.subjects.folders import imagefolder

        return imagefolder(name.removeprefix(FOLDER), split, store)
    build = datasets[name]
    how = (
        f"dataset {name!r}: its function is called as build(split, store) and returns a"
        " probes.subjects.data.Dataset"
    )
    try:
        inspect.signature(build).bind(split, store)
    except TypeError as e:
        raise BadInput(f"{how}; {e}") from e
    if not isinstance(data := build(split, store), Dataset):
        raise BadInput(f"{how}, not a {type(data).__name__}")
    return data


def _resized(data: Dataset, name: str, side: int, store: Store) -> Dataset:
    """A view ``DATASET@SIDEpx``: square images, bilinear with antialiasing, as torchvision's Resize
    gives on PIL images.
    """
    if side < 1:
        raise BadInput(
            f"dataset {name!r}: a view has a side of 1 pixel or more, e.g. {data.name}@28px"
        )
    if data.images.shape[2:] == (side, side):
        return dataclasses.replace(data, name=name)

    def resize(path: Path) -> None:
        from torchvision.transforms.functional import resize as resized

        small = [
            resized(
                torch.from_numpy(np.array(data.images[i : i + 1000])), [side, side], antialias=True
            ).numpy()
            for i in range(0, len(data), 1000)
        ]
        with open(path, "wb") as f:
            np.save(f, np.concatenate(small))

    made = store.get_or_make(
        "decoded",
        {
            "images": data.sha256,
            "side": side,
            "torch": version_of("torch"),
            "torchvision": version_of("torchvision"),
        },
        ".npy",
        resize,
    )
    return dataclasses.replace(
        data, name=name, title=f"{data.title} at {side} px", images=np.load(made, mmap_mode="r")
    )
