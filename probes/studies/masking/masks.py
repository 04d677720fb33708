"""Guided masks of the units with the largest index, and masks of equally many units at random, or
at random with the same magnitudes.

The index is measured on training images, since masks are tested on others. All modules are masked
at once, the same share of each, or one module alone. A random mask is one draw for all images, all
variables and all indices, so draws are crossed with images.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from probes.errors import BadInput
from probes.perturb.masks import at_random, largest, matched, scaled
from probes.registry import unknown
from probes.studies.masking.guide import Guide

KINDS = ("none", "guided", "random", "matched", "full", "inverse")


@dataclasses.dataclass(frozen=True)
class Mask:
    """One mask: ``kind`` of :data:`KINDS`, the ``variable`` and ``measure`` that guide it, ``q``,
    ``alpha``, its draw and module.

    ``guided`` scales the units beyond the quantile ``q`` of the index by ``alpha``. ``random``
    scales equally many units at random, ``matched`` equally many of each magnitude. ``full`` scales
    every unit by its index, ``inverse`` by one minus its index, both cut to 0 and 1. ``module`` is
    the masked module; without a name all are masked.
    """

    kind: str = "none"
    variable: str = ""
    q: float = 0.8
    alpha: float = 0.0
    draw: int = 0
    measure: str = "total"
    module: str = ""

    def scales(self, guide: Guide) -> dict[str, Tensor]:
        """The factors of units, by module. Raises UnknownName for a kind, variable, measure or
        module, BadInput for q and alpha.
        """
        if self.kind not in KINDS:
            raise unknown("kind of mask", self.kind, KINDS)
        if self.kind == "none":
            return {}
        if self.module and self.module not in guide.magnitude:
            raise unknown("module of a mask", self.module, guide.magnitude)
        if self.kind != "random" and self.variable not in guide.variables:
            raise unknown("variable of the indices", self.variable, guide.variables)
        if self.kind != "random" and self.measure not in guide.index:
            raise unknown("measure", self.measure, guide.index)
        return {
            name: self._named(name, guide)
            for name in ([self.module] if self.module else guide.magnitude)
        }

    def _named(self, name: str, guide: Guide) -> Tensor:
        try:
            return self._of(name, guide)
        except BadInput as e:
            of = f", {self.measure} index of {self.variable}" if self.variable else ""
            raise BadInput(f"module {name!r}{of}: {e}") from None

    def _of(self, name: str, guide: Guide) -> Tensor:
        if self.kind == "random":
            return scaled(
                at_random(guide.magnitude[name].shape, self.q, name, self.draw), self.alpha
            )
        index = guide.index[self.measure][name][guide.variables.index(self.variable)]
        if self.kind in ("full", "inverse"):
            share = torch.from_numpy(np.nan_to_num(index).clip(0, 1)).float()
            return share if self.kind == "full" else 1 - share
        chosen = largest(index, self.q, name, self.variable)
        if self.kind == "matched":
            chosen = matched(chosen, guide.magnitude[name], name, self.variable, self.draw)
        return scaled(chosen, self.alpha)
