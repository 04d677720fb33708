"""A dataset: images, labels, ids and classes, checked; and the registry of builders."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Literal

import numpy as np

from probes import seeds
from probes.errors import BadInput
from probes.registry import Registry
from probes.store import Store
from probes.table import KEYS

Split = Literal["train", "test"]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """One split of a dataset: ``images`` uint8 (N, C, H, W), ``labels`` and ``ids`` int64 (N,).

    An image stands for ``byte / 255`` in [0, 1]; ``mean`` and ``std`` are the constants (per
    channel) that a model wrapper normalises with. An id belongs to the image, not to its place.
    ``embeddable`` says whether pictures of it may stand in a committed report; ``claim_images`` is
    how many images a claim is judged on where nothing else is asked for (None: all of them);
    ``files`` names the images, where they are files. ``clusters`` are what images are nested in,
    one value for each image by name (``{"patient": ...}``), which a question may name as
    ``cluster=``. ``targets`` are the numbers that a network is to give, float64 (N, K), for
    regression; labels are then 0, and the one class says what they are.
    """

    name: str
    title: str
    split: Split
    images: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    embeddable: bool = False
    claim_images: int | None = None
    files: tuple[str, ...] = ()
    clusters: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    targets: np.ndarray | None = None

    def __post_init__(self) -> None:
        check(self)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of images, labels and ids. Recorded expectations are bound to it."""
        h = hashlib.sha256(repr(self.images.shape).encode())
        for array in (self.images, self.labels.astype("<i8"), self.ids.astype("<i8")):
            h.update(np.ascontiguousarray(array).data)
        if self.targets is not None:
            h.update(np.ascontiguousarray(self.targets.astype("<f8")).data)
        return h.hexdigest()

    def sample(self, n: int | None, ordered: bool = False) -> Dataset:
        """``n`` images, chosen by a named order (so that fewer are a part of more); all of them for
        None.

        ``ordered`` leaves them in that order: the first of them are then what fewer would be.
        BadInput when there are not so many.
        """
        if n is None or (n == len(self) and not ordered):
            return self
        if not 0 < n <= len(self):
            raise BadInput(
                f"{n} images of {self.name} ({self.split}): there are {len(self)}; ask for 1 to"
                f" {len(self)}"
            )
        rows = seeds.permutation(len(self), "sample", self.name, self.split)[:n]
        return self.take(rows if ordered else np.sort(rows))

    def take(self, rows: np.ndarray) -> Dataset:
        """The images of some rows, by number or by a mask."""
        numbers = np.flatnonzero(rows) if rows.dtype == bool else rows
        files = tuple(self.files[i] for i in numbers) if self.files else ()
        return dataclasses.replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            ids=self.ids[rows],
            files=files,
            clusters={name: np.asarray(values)[rows] for name, values in self.clusters.items()},
            targets=None if self.targets is None else self.targets[rows],
        )

    @property
    def chance(self) -> float:
        """The accuracy of always predicting the most frequent class of these images."""
        return float(np.bincount(self.labels).max() / len(self))

    def refuse_duplicates(self) -> None:
        """Raise BadInput, with their names, for images that are equal in every byte. Each would be
        judged as independent of the other.
        """
        first: dict[bytes, int] = {}
        same = [
            (first[h], i)
            for i, image in enumerate(self.images)
            if (h := hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest())
            in first
            or first.setdefault(h, i) != i
        ]
        if same:
            a, b = (self.files[i] if self.files else f"image {self.ids[i]}" for i in same[0])
            more = f" ({len(same)} such in all)" if len(same) > 1 else ""
            raise BadInput(
                f"{self.name}: {a} and {b} are the same picture{more}: images are judged as"
                " independent of each other; keep one of each"
            )


Builder = Callable[[Split, Store], Dataset]


datasets: Registry[Builder] = Registry("dataset")
"""Builders of datasets: ``build(split, store) -> Dataset``. ``@datasets.register("name")``
registers your own.
"""


def check(data: Dataset) -> None:
    """Raise BadInput for a dataset whose images, labels, ids or constants are not as
    :class:`probes.subjects.dataset.Dataset` says.
    """
    n = len(data.images)
    if (
        not isinstance(data.images, np.ndarray)
        or data.images.dtype != np.uint8
        or data.images.ndim != 4
    ):
        raise BadInput(
            f"dataset {data.name}: images are uint8 (N, C, H, W), got {_told(data.images)}"
        )
    if n == 0:
        raise BadInput(f"dataset {data.name}, split {data.split}: there are no images")
    for what in ("labels", "ids"):
        numbers = getattr(data, what)
        if (
            not isinstance(numbers, np.ndarray)
            or numbers.dtype.kind not in "iu"
            or numbers.ndim != 1
        ):
            raise BadInput(f"dataset {data.name}: {what} are int64 (N,), got {_told(numbers)}")
    if not (len(data.labels) == len(data.ids) == n == len(set(data.ids.tolist()))):
        raise BadInput(f"dataset {data.name}: {n} images need {n} labels and {n} different ids")
    if data.labels.min() < 0 or data.labels.max() >= len(data.classes):
        raise BadInput(
            f"dataset {data.name}: labels run from {data.labels.min()} to {data.labels.max()}, "
            f"but there are {len(data.classes)} classes"
        )
    if data.targets is not None:
        _check_targets(data, data.targets)
    for name, values in data.clusters.items():
        if len(values) != n or name in KEYS or not str(name).isidentifier():
            raise BadInput(
                f"dataset {data.name}: clusters {name!r} have {len(values)} values for {n} images;"
                " one for each, under a name of their own such as 'patient'"
            )
    for what, least in (("mean", 0.0), ("std", np.nextafter(0.0, 1.0))):
        constants = np.asarray(getattr(data, what), float)
        if (
            constants.shape not in ((1,), (data.channels,))
            or not ((constants >= least) & (constants <= 1)).all()
        ):
            raise BadInput(
                f"dataset {data.name}: {what} {getattr(data, what)}: a number in [0, 1] for each of"
                f" {data.channels} channels{', not 0' * (what == 'std')}; an image is byte / 255"
            )


def _check_targets(data: Dataset, targets: np.ndarray) -> None:
    shaped = isinstance(targets, np.ndarray) and targets.dtype.kind == "f" and targets.ndim == 2
    if not shaped or len(targets) != len(data.images) or data.labels.any():
        raise BadInput(
            f"dataset {data.name}: targets are floats (N, K) for {len(data.images)} images, whose"
            f" labels are then 0; got {_told(targets)}"
        )
    if not np.isfinite(targets).all():
        where = int((~np.isfinite(targets).all(1)).nonzero()[0][0])
        raise BadInput(
            f"dataset {data.name}: the target of image {data.ids[where]} is not a finite number"
        )


def _told(array: object) -> str:
    """The dtype and shape of an array, or the type of anything else, in words."""
    if hasattr(array, "dtype") and hasattr(array, "shape"):
        return f"{array.dtype} {tuple(array.shape)}"
    return f"a {type(array).__name__}"
