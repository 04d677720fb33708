"""Perturbations that run a network with other weights, by a mapping for
``torch.func.functional_call``. The network itself is never written to.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from probes.batch import Batch, Draw
from probes.errors import BadInput
from probes.naming import plain
from probes.perturb.effective import refuse_lost
from probes.perturb.plainweights import targets
from probes.perturb.protocol import Forward, Pass, Perturbation


@dataclasses.dataclass(frozen=True)
class Mapped(Perturbation):
    """Other weights in place of those of convolutions, linear, attention and recurrent layers, or
    of those that glob patterns ``select``. What is derived from it says how a level changes them.
    """

    levels: tuple[float, ...]
    select: tuple[str, ...] = ()

    acts_on = "weights"
    common = True
    version = 1

    def key(self, level: float) -> dict[str, Any]:
        """What the weights at a level depend on. The clean weights depend on nothing."""
        kind = {"kind": self.name, "version": self.version, "level": level}
        return kind | ({"select": list(self.select)} if level else {})

    def drawn(self, draw: Draw) -> dict[str, Any]:
        """Nothing is drawn."""
        return {}

    def images_per_cell(self, batch_size: int, images: int) -> int:
        """All images: they share the weights."""
        return images

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """The weights that are changed, by name: single precision. Raises what
        :func:`probes.perturb.plainweights.targets` raises, and BadInput for another precision.
        """
        found = targets(model, self.select, self.name)
        for name, w in found.items():
            if w.dtype != torch.float32:
                raise BadInput(
                    f"{self.name}: weight {plain(model, name)!r} is {w.dtype}, and what is done"
                    " here is done to float32: load the network in single precision"
                )
        return {name: w.detach() for name, w in found.items()}

    @abc.abstractmethod
    def mapping(self, model: nn.Module, level: float, draw: Draw) -> dict[str, Tensor]:
        """The weights at a level by name, for ``functional_call(model, mapping, (images,))``."""

    @contextlib.contextmanager
    def open(self, at: Pass) -> Iterator[Forward]:
        """Run the network with other weights."""
        weights: dict[str, Tensor] = {}
        if at.level:
            if at.first is not None:
                refuse_lost(self, at.model, at.send(at.first()))
            # no inference tensors: an attack asks for gradients through these weights
            with torch.inference_mode(False), torch.no_grad():
                weights = self.mapping(at.model, at.level, at.draw)

        def forward(batch: Batch) -> Tensor:
            if weights:
                functional_call(at.model, weights, (at.send(batch.images),))
            else:
                at.plain(batch.images)
            return batch.images

        yield forward

    def facts(self, models: Mapping[str, nn.Module], seed: int) -> dict[str, Any]:
        """How many numbers of which weights are changed, and how many numbers there are."""
        return {
            "perturbed": {
                net: {plain(m, n): w.numel() for n, w in targets(m, self.select, self.name).items()}
                for net, m in models.items()
            },
            "parameters": {
                net: sum(p.numel() for p in m.parameters()) for net, m in models.items()
            },
        }
