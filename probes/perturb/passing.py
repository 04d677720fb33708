"""What a perturbation is given: a network at a level, for one draw."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from probes.batch import Batch, Draw
from probes.kept import Kept

Forward = Callable[[Batch], Tensor]
"""Runs the network under the perturbation on a batch. Returns the images that it saw, in [0, 1]."""
BATCHES = 4
"""A cell covers at most this many batches. Their noise stays in memory and is used at the next
level.
"""
ORDER = ("weights", "layers", "units", "images")
"""What a perturbation can act on, from the inside of a pass to its outside."""


PICTURES = ("pictures",)
"""The place of a pass for pictures: no network runs in it."""


@dataclasses.dataclass(frozen=True)
class Pass:
    """A network at a level, for one draw: everything that a perturbation may need.

    ``send`` copies images to the device, in the memory format of the network; ``run`` is the pass
    that a perturbation wraps (images on the CPU or the device in, outputs out). ``place`` names
    weights, code, device and precision: it belongs into the name of everything that is ``kept`` and
    depends on them. ``mean`` and ``std`` are what the network normalises with, ``prepared`` what
    :meth:`Perturbation.prepare` gave, ``first()`` two clean images, ``training()`` the training
    images that were asked for, in batches.
    """

    model: nn.Module
    level: float
    draw: Draw
    kept: Kept
    send: Callable[[Tensor], Tensor]
    run: Callable[[Tensor], Any]
    place: tuple[Hashable, ...] = ()
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)
    prepared: Any = None
    first: Callable[[], Tensor] | None = None
    training: Callable[[], Iterable[Tensor]] = tuple

    def plain(self, images: Tensor) -> Any:
        """Run the network on images: what it gives."""
        return self.run(images)
