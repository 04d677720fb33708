"""Augmentations as a perturbation: off at level 0, on at level 1, their parameters drawn for each
image by name.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probes import seeds
from probes.batch import Batch
from probes.errors import BadInput
from probes.fingerprint import fingerprint
from probes.origin import outside
from probes.perturb.augment import augmentations, known_augmentation
from probes.perturb.protocol import Forward, Pass, Perturbation


def drawn_factors(name: str, dataset: str, ids: Sequence[int], seed: int, draw: int) -> Tensor:
    """The factors of images for one draw, (images, factors) in [0, 1], drawn by image id. A switch
    is on.

    >>> drawn_factors("rolling", "d", [7, 8], 0, 0)[1].equal(drawn_factors("rolling", "d", [8], 0,
    ...     0)[0])
    True
    """
    one = augmentations[name]
    if one.switch:
        return torch.zeros(len(ids), 1)
    drawn = [
        seeds.uniform(len(one.factors), "contrast", seed, name, dataset, int(i), draw) for i in ids
    ]
    return torch.from_numpy(np.stack(drawn).astype(np.float32))


@dataclasses.dataclass(frozen=True)
class Augmenting(Perturbation):
    """Augmentations, one after the other, with parameters drawn uniformly for each image and draw:
    see :func:`augmented`.
    """

    names: tuple[str, ...]
    levels: tuple[float, ...] = (0.0, 1.0)

    varied = "augmented"
    unit = "0 off, 1 on"
    version = 1

    def __post_init__(self) -> None:
        if not self.names:
            raise BadInput("augmented(): name an augmentation, e.g. augmented('rolling')")
        for name in self.names:
            known_augmentation(name)
        if set(self.levels) != {0.0, 1.0}:
            raise BadInput(f"augmented at levels {self.levels}: off and on, 0 and 1")

    @property
    def name(self) -> str:  # type: ignore[override]
        """The augmentations, in order."""
        return ", then ".join(self.names)

    def describe(self) -> str:
        """What is done to an image."""
        return f"Augmentation {self.name}, parameters drawn uniformly for each image"

    def key(self, level: float) -> dict[str, Any]:
        """The augmentations, with the code of those that are not the package's own."""
        kind = {"kind": "augmented", "version": self.version, "level": level}
        if not level:
            return kind
        own = {
            n: fingerprint(augmentations[n]) for n in self.names if outside(augmentations[n].apply)
        }
        return kind | {"names": list(self.names), "own": own}

    @contextlib.contextmanager
    def open(self, at: Pass) -> Iterator[Forward]:
        """Run the network on augmented images."""

        def forward(batch: Batch) -> Tensor:
            seen, draw = batch.images, at.draw
            if at.level:
                for name in self.names:
                    factors = drawn_factors(
                        name, draw.dataset, batch.ids.tolist(), draw.seed, draw.number
                    )
                    seen = augmentations[name](seen, factors)
            at.plain(seen)
            return seen

        yield forward


def augmented(*names: str) -> Augmenting:
    """Images under one augmentation, or several one after the other; every image draws its
    parameters for itself.

    The names are those of :data:`probes.perturb.augment.augmentations`, or
    ``package.module:thing``. Raises UnknownName for another one, BadInput for none.

    >>> augmented("rolling").levels
    (0.0, 1.0)
    """
    return Augmenting(tuple(names))
