"""How far a network's numbers are from their targets, per image."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from probes.batch import Batch
from probes.errors import BadInput
from probes.measure.predictions import OfOutput, logits_of, rows


def deviations(given: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """``absolute_error`` and ``squared_error`` of each image: what a network gives (images, K) less
    the targets (images, K), the mean over K; in double precision.

    >>> found = deviations(torch.tensor([[1.0, 4.0]]), torch.tensor([[0.0, 2.0]]))
    >>> {name: float(v) for name, v in found.items()}
    {'absolute_error': 1.5, 'squared_error': 2.5}
    """
    away = given.double() - targets.double()
    return {"absolute_error": away.abs().mean(1), "squared_error": away.square().mean(1)}


@dataclasses.dataclass(frozen=True)
class Error(OfOutput):
    """Per image ``absolute_error`` and ``squared_error`` (:func:`deviations`) of a network that
    gives numbers, for images with targets (:class:`probes.subjects.dataset.Dataset`). There is one
    site, ``output``. Reading raises BadInput for images without targets, and for a network that
    gives another number of them; ProbesError, naming the image, for NaN or infinity.
    """

    name = "error"
    version = 1

    @contextlib.contextmanager
    def open(self, model: nn.Module) -> Iterator[Callable[[Batch], dict[str, np.ndarray]]]:
        """A context in which each pass can be read."""
        with logits_of(model) as given:

            def read(batch: Batch) -> dict[str, np.ndarray]:
                if batch.targets is None:
                    raise BadInput(
                        "error needs targets: Lab(model, (images, targets)) with floats (N,) or"
                        " (N, K), or Dataset(..., targets=...)"
                    )
                numbers = given(batch)
                if numbers.shape != batch.targets.shape:
                    raise BadInput(
                        f"the network gives {numbers.shape[1]} numbers per image, the targets are"
                        f" {batch.targets.shape[1]}"
                    )
                return rows(deviations(numbers, torch.from_numpy(batch.targets)))

            yield read


error = Error()
"""How far from the targets: ``lab.sweep(error, under=gaussian(0, .1))``."""
