"""A batch: what a pass gets, what a perturbation runs the network on, and what a measure gets."""

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

    ``images`` is float32 (N, C, H, W) with values in [0, 1], on the device of the network, or on
    the CPU for a user's own perturbation or measure; ``ids`` and ``labels`` are int64 (N,).
    ``targets`` are the numbers that a network is to give, float64 (N, K), where there are such
    instead of classes; labels are then 0.

    >>> Batch.of([7, 8]).ids
    array([7, 8])
    """

    images: Tensor
    ids: np.ndarray
    labels: np.ndarray
    targets: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        ids: Sequence[int] | np.ndarray,
        labels: Sequence[int] | np.ndarray | None = None,
        images: Tensor | None = None,
    ) -> Batch:
        """A batch with these ids, for a loop of your own. Where no labels are given they are 0."""
        import torch

        names = np.asarray(ids)
        return cls(
            torch.empty(0) if images is None else images,
            names,
            np.zeros(len(names), int) if labels is None else np.asarray(labels),
        )

    def __len__(self) -> int:
        """The number of images."""
        return len(self.ids)


@dataclasses.dataclass(frozen=True)
class Draw:
    """The name of a draw. Random numbers are made from it, never from the network, the batch or the
    device.
    """

    seed: int
    dataset: str
    number: int
    run: int | None = None
    training_sha256: str = ""
