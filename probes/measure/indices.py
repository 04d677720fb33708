"""Sensitivity indices of units, and their means and intervals over independent scramblings."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from probes.errors import BadInput

FLOOR = 1e-8
"""A unit is dead if its variance is at most this share of the mean variance of its module's units.
"""


EPSILON = 1e-7
"""The constant that the published code adds to standard deviations and variances before dividing.
"""


def dead_of(variance: Tensor) -> Tensor:
    """Which units are dead: their variance is at most 1e-8 of the mean over units, or not finite,
    as after an overflow.

    >>> dead_of(torch.tensor([1.0, 1e-9, 0.0, torch.inf])).tolist()
    [False, True, True, True]
    """
    finite = variance.isfinite()
    return ~(finite & (variance > FLOOR * variance[finite].mean()))


@dataclasses.dataclass(frozen=True)
class Indices:
    """Per unit: mean, variance, the mask of dead units; per group the first-order index, the total
    index and the Shapley effect (NaN for dead units).

    The values are signed, as estimated: nothing is clipped. ``second`` has a row per pair of
    groups, in the order (0, 1), (0, 2), ...
    """

    groups: tuple[str, ...]
    base: int
    mean: Tensor
    variance: Tensor
    dead: Tensor
    first: Tensor
    total: Tensor
    shapley: Tensor | None = None
    second: Tensor | None = None

    MEASURES = ("first", "total", "shapley", "second")


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over replicates, half of the width of its 90 % interval (Student's t), and the number
    of replicates.
    """

    value: Tensor
    half: Tensor
    replicates: int


class Replicates:
    """Joins the indices of independent scramblings one after the other, and gives means and
    intervals. It needs the memory of two scramblings.

    A unit that is dead in one scrambling is dead. The intervals describe the error of integration,
    not the error from the choice of images.

    >>> from probes.measure.sensitivity import SobolDesign, SobolSums
    >>> design = SobolDesign({"a": slice(0, 1), "b": slice(1, 2)})
    >>> both = Replicates()
    >>> for r in range(8):
    ...     sums = SobolSums(design)
    ...     rows = design.block(design.points(256, "example", r), [0, 1])
    ...     sums.add(torch.from_numpy(rows[..., :1] * rows[..., 1:]), [0, 1])
    ...     both.add(sums.indices())
    >>> total = both.estimate("total")
    >>> bool(((total.value - 4 / 7).abs() < total.half + 0.02).all())
    True
    """

    def __init__(self) -> None:
        self.n = 0
        self.groups: tuple[str, ...] = ()
        self.dead = torch.tensor(False)
        self._mean: dict[str, Tensor] = {}
        self._m2: dict[str, Tensor] = {}

    @property
    def measured(self) -> tuple[str, ...]:
        """The names of the estimated quantities."""
        return tuple(self._mean)

    def add(self, one: Indices) -> None:
        """Add the indices of a scrambling (Welford's update)."""
        self.n += 1
        self.groups = one.groups
        self.dead = self.dead | one.dead
        for name in ("mean", "variance", *Indices.MEASURES):
            value = getattr(one, name)
            if value is None:
                continue
            if name not in self._mean:
                self._mean[name], self._m2[name] = value.clone(), torch.zeros_like(value)
                continue
            apart = value - self._mean[name]
            self._mean[name] += apart / self.n
            self._m2[name] += apart * (value - self._mean[name])

    @classmethod
    def joined(cls, parts: Sequence[Replicates]) -> Replicates:
        """The indices of a module, joined from consecutive parts of its units."""
        if len(parts) == 1:
            return parts[0]
        out = cls()
        out.n, out.groups = parts[0].n, parts[0].groups
        for name in parts[0].measured:
            out._mean[name], out._m2[name] = (
                torch.cat([getattr(p, at)[name] for p in parts], -1) for at in ("_mean", "_m2")
            )
        out.dead = torch.cat([p.dead for p in parts]) | dead_of(
            out._mean["variance"]
        )  # now beside all units of the module
        return out

    def estimate(self, name: str) -> Estimate:
        """The estimate of ``mean``, ``variance``, ``first``, ``total``, ``shapley`` or ``second``.
        Raises BadInput for one that was not measured.
        """
        if name not in self._mean:
            raise BadInput(
                f"{name!r} was not measured: {', '.join(self._mean) or 'nothing was added'}"
            )
        t = float(stats.t.isf(0.05, self.n - 1)) if self.n > 1 else math.nan
        half = t * (self._m2[name] / max(self.n - 1, 1) / self.n).sqrt()
        return Estimate(self._mean[name], half, self.n)

    def maps(self, name: str, shape: Sequence[int]) -> np.ndarray:
        """An index in the shape of its module, (groups, *shape); NaN for dead units. Raises what
        :meth:`estimate` raises.
        """
        return (
            torch.where(self.dead, torch.nan, self.estimate(name).value).numpy().reshape(-1, *shape)
        )
