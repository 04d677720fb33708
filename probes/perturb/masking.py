"""Masks of units as a perturbation: the units with the largest index, compared with equally many
random units.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from probes.batch import Batch, Draw
from probes.errors import BadInput
from probes.perturb.masks import at_random, largest, scaled, scaled_units
from probes.perturb.protocol import Forward, Pass, Perturbation

KINDS = ("guided", "random")


@dataclasses.dataclass(frozen=True)
class Masks(Perturbation):
    """Multiply the share (the level) of units with the largest index by ``factor``, or equally many
    random units.

    ``index`` holds, for each module, its name, the shape of its index, and the index itself as
    float32 bytes. The arms, in the key column ``mask``, are ``guided`` and ``random``. A random
    mask is another one at every draw, the same for all images.
    """

    levels: tuple[float, ...]
    index: tuple[tuple[str, tuple[int, ...], bytes], ...]
    factor: float = 0.0
    kinds: tuple[str, ...] = KINDS

    varied = "share of units"
    unit = "of each module"
    acts_on = "units"
    column = "mask"
    common = True
    version = 1

    def __post_init__(self) -> None:
        levels = tuple(sorted(float(v) for v in self.levels))
        if 0 not in levels or len(set(levels)) < len(levels) or not 0 <= levels[-1] < 1:
            raise BadInput(
                f"masks of shares {levels}: 0 and shares below 1 of the units, none twice"
            )
        if not self.index:
            raise BadInput(
                "masked(index, ...): an index for one module at least, {'layer1': array}"
            )
        object.__setattr__(self, "levels", levels)

    @property
    def name(self) -> str:  # type: ignore[override]
        """What it is called."""
        return "masked units"

    def describe(self) -> str:
        """What is done to the units."""
        where = ", ".join(name for name, _, _ in self.index)
        return (
            f"Units of {where} times {self.factor:g}: those with the largest index, and as many at"
            " random"
        )

    def key(self, level: float) -> dict[str, Any]:
        """The modules, the SHA-256 of the index, and what is done to its units."""
        kind = {"kind": "masked units", "version": self.version, "level": level}
        if not level:
            return kind
        digest = hashlib.sha256(repr([(n, s) for n, s, _ in self.index]).encode())
        for _, _, values in self.index:
            digest.update(values)
        return kind | {
            "index": digest.hexdigest(),
            "factor": self.factor,
            "kinds": list(self.kinds),
        }

    def drawn(self, draw: Draw) -> dict[str, Any]:
        """A guided mask has no draws. A random mask is the same for all datasets."""
        return {"draw": draw.number, "seed": draw.seed} if "random" in self.kinds else {}

    def arms(self, model: nn.Module) -> Sequence[tuple[str, Masks]]:
        """Guided and random masks."""
        return [(kind, dataclasses.replace(self, kinds=(kind,))) for kind in self.kinds]

    def scales(self, level: float, draw: Draw) -> dict[str, Tensor]:
        """The factor of every unit, by module."""
        found = {}
        for name, shape, values in self.index:
            if self.kinds == ("random",):
                chosen = at_random(shape, 1 - level, name, draw.seed, draw.number)
            else:
                chosen = largest(np.frombuffer(values, np.float32).reshape(shape), 1 - level, name)
            found[name] = scaled(chosen, self.factor)
        return found

    @contextlib.contextmanager
    def open(self, at: Pass) -> Iterator[Forward]:
        """Run the network with masked units."""
        stack = (
            scaled_units(at.model, self.scales(at.level, at.draw))
            if at.level
            else contextlib.nullcontext()
        )

        def forward(batch: Batch) -> Tensor:
            at.plain(batch.images)
            return batch.images

        with stack:
            yield forward


def masked(index: Mapping[str, Any], *shares: float, factor: float = 0.0) -> Masks:
    """Masks of the units with the largest index, compared with random ones. ``index`` maps a module
    to one number per unit (channel, y, x).

    ``shares`` of the units of each module, 0 among them, are multiplied by ``factor``. Ties are
    broken at random, by name; NaN (a dead unit) comes last. Raises BadInput for shares without 0,
    with one twice or not below 1.

    >>> masked({"layer1": np.arange(4.0).reshape(4, 1, 1)}, 0, 0.25).levels
    (0.0, 0.25)
    """
    arrays = {
        name: np.ascontiguousarray(values, dtype=np.float32) for name, values in index.items()
    }
    return Masks(
        tuple(shares), tuple((n, a.shape, a.tobytes()) for n, a in arrays.items()), float(factor)
    )
