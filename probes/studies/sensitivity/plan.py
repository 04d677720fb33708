"""The sampling plan of a study of sensitivity: augmentations, base points, scramblings, and how
images are chosen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from probes.errors import BadInput
from probes.measure.sensitivity import SobolDesign
from probes.perturb.composed import Augmented
from probes.registry import unknown
from probes.store import Store
from probes.subjects import data as datasets
from probes.subjects.dataset import Dataset, Split
from probes.subjects.sending import floats

FACTORS = ("class", "partition")
"""The factors that may choose an image beside the image factor itself, as in the study. A partition
is the training or the test split.
"""


@dataclasses.dataclass(frozen=True)
class Plan:
    """The sampling plan: a set of augmentations (``1``, ``2`` or names), base points per
    scrambling, and scramblings (None: 8 or 16).

    ``names`` are the modules (None: the study's checkpoints, or stages and last layer). ``second``
    adds second-order indices. ``image`` says how the image enters: as a ``factor``, ``fixed``
    within a base point, or ``fresh`` at every row, as in the published code. ``factors`` add
    ``class`` and ``partition`` as groups of their own. ``law="study"`` takes Shapley effects under
    the study's second distribution of the factors, with a switch for every augmentation. ``minmax``
    stretches every augmented image to [0, 1]; ``absolute`` reads the sums with the published floor,
    and ``cut`` then cuts them at 0 and 1. These three reproduce the published way, to show its
    effects. Raises BadInput for too few rows, UnknownName for other words.
    """

    which: str | tuple[str, ...] = "1"
    rows: int = 1024
    scramblings: int | None = None
    names: tuple[str, ...] | None = None
    shapley: bool = True
    second: bool = False
    law: str = "one"
    image: str = "factor"
    factors: tuple[str, ...] = ()
    minmax: bool = False
    absolute: bool = False
    cut: bool = True
    pooled: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rows < 2 or (self.scramblings is not None and self.scramblings < 2):
            raise BadInput(
                f"{self.rows} rows in {self.scramblings} scramblings: two of each at least; an"
                " interval needs both"
            )
        if len(set(self.factors)) < len(self.factors):
            raise BadInput(f"factors {', '.join(self.factors)}: each once")
        for kind, word, known in (
            ("law", self.law, ("one", "study")),
            ("way of the image", self.image, ("factor", "fixed", "fresh")),
            *(("factor of the image", f, FACTORS) for f in self.factors),
        ):
            if word not in known:
                raise unknown(kind, word, known)

    def designs(self, channels: int) -> list[tuple[Augmented, SobolDesign]]:
        """The augmentations and the design. The groups of the image come last. The study's two
        distributions of the factors need two designs.
        """
        apart = self.law == "study" and self.shapley
        found = [self._design(channels, False, self.shapley and not apart, self.second)]
        return [*found, self._design(channels, True, True, False)] if apart else found

    def _design(
        self, channels: int, switched: bool, shapley: bool, second: bool
    ) -> tuple[Augmented, SobolDesign]:
        augmented, _ = Augmented.of(self.which, channels, switched)
        at = len(augmented.columns)
        own = (*self.factors, IMAGE) if self.image == "factor" else self.factors
        if taken := {IMAGE, *FACTORS} & set(augmented.names):
            raise BadInput(
                f"an augmentation named {', '.join(sorted(taken))}: that is what the factors of the"
                " image are called"
            )
        groups = {
            **augmented.groups,
            **{name: slice(at + i, at + i + 1) for i, name in enumerate(own)},
        }
        return augmented, SobolDesign(groups, shapley, second, fixed=int(self.image != "factor"))

    def pool(self, data: Dataset, store: Store, name: str = "") -> Pool:
        """The images that the factors choose from, equally many of each partition; ``name`` is what
        they are loaded by. Raises BadInput for a constant factor of the image.
        """
        if self.image == "factor" and len(data) == 1:
            raise BadInput(
                f"one image of {data.name}: the image would be a constant factor; more images, or"
                " hold it fixed"
            )
        parts = [data]
        if "partition" in self.factors:
            split: Split = "train" if data.split == "test" else "test"
            other = datasets.load(name or data.name, split, store)
            parts.append(other.sample(min(len(data), len(other))))
        return Pool(parts, self.factors)


IMAGE = "image"


class Pool:
    """The images that factors in [0, 1) choose: first the partition and the class, if these are
    factors, then one image among them.

    Raises BadInput if class is a factor and there is only one class, or if a partition lacks a
    class.

    >>> images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    >>> data = Dataset("d", "d", "test", images, np.array([0, 1, 0, 1]), np.arange(4), ("a", "b"),
    ...     (0.0,), (1.0,))
    >>> # the last of class a, the first of class b
    >>> chosen = Pool([data], ("class",))(np.array([[0.1, 0.9], [0.9, 0.1]]))
    >>> (chosen.flatten() * 255).tolist()
    [2.0, 1.0]
    """

    def __init__(self, parts: Sequence[Dataset], factors: Sequence[str] = ()) -> None:
        self.parts, self.factors = parts, tuple(factors)
        classes = sorted(set(parts[0].labels.tolist()))
        if "class" in factors and len(classes) < 2:
            raise BadInput(
                f"the images of {parts[0].name} have one class: it would be a constant factor"
            )
        groups = [
            np.flatnonzero(p.labels == c) if "class" in factors else np.arange(len(p))
            for p in parts
            for c in (classes if "class" in factors else [0])
        ]
        if any(len(g) == 0 for g in groups):
            raise BadInput(
                f"a partition of {parts[0].name} has no image of some class: class can't be a"
                " factor beside partition"
            )
        self._classes = len(classes) if "class" in factors else 1
        self._sizes = np.array([len(g) for g in groups])
        self._starts = np.concatenate([[0], self._sizes.cumsum()[:-1]])
        self._rows = np.concatenate(groups)

    def __call__(self, u: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
        """The images, float32 in [0, 1] on a device, for factors in [0, 1) of shape (rows, number
        of factors + 1).
        """
        given = dict(zip((*self.factors, IMAGE), u.T, strict=True))
        part = (given.get("partition", np.zeros(len(u))) * len(self.parts)).astype(int)
        which = part * self._classes + (
            given.get("class", np.zeros(len(u))) * self._classes
        ).astype(int)
        sizes = self._sizes[which]
        rows = self._rows[
            self._starts[which] + np.minimum((given[IMAGE] * sizes).astype(int), sizes - 1)
        ]
        found = np.empty((len(u), *self.parts[0].images.shape[1:]), np.uint8)
        for i, one in enumerate(self.parts):
            found[part == i] = one.images[rows[part == i]]
        return floats(found, device)
