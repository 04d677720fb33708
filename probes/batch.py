"""A batch: what a pass is given, what a perturbation is asked to run, and what a measure is told
of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Some images of a dataset, with their ids and labels.

    ``images`` is float32 (N, C, H, W) with values in [0, 1], on the CPU; ``ids`` and ``labels`` are
    int64 (N,).

    >>> Batch.of([7, 8]).ids
    array([7, 8])
    """

    images: Tensor
    ids: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(
        cls,
        ids: Sequence[int] | np.ndarray,
        labels: Sequence[int] | np.ndarray | None = None,
        images: Tensor | None = None,
    ) -> Batch:
        """A batch by its ids, for a loop of one's own; labels are 0 where there are none."""
        import torch

        names = np.asarray(ids)
        return cls(
            torch.empty(0) if images is None else images,
            names,
            np.zeros(len(names), int) if labels is None else np.asarray(labels),
        )

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.ids)


@dataclasses.dataclass(frozen=True)
class Draw:
    """The name of a draw: what random numbers are made of, never the network, a batch or a
    device."""

    seed: int
    dataset: str
    number: int
    run: int | None = None
    training_sha256: str = ""
