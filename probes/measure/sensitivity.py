"""Sobol indices and Shapley effects of every unit by groups of factors, from sums over rows: no
activation is stored.

A base point is a pair (A, B) of independent factor vectors and a block of rows made of them: A;
AB_j, which is A with group j from B; B; and the path from A to B along an order pi of the groups,
y_k with the first k groups from B. With Y of a row,

    S_j  = E[(Y_B - c)(Y_ABj - Y_A)] / V               Saltelli et al. 2010, c the mean
    ST_j = E[(Y_A - Y_ABj)^2] / (2 V)                  Jansen 1999
    Sh_j = E[(y_k - y_(k-1)) (Y_B - Y_A)] / (2 V),     Goda 2021, averaged with its mirror image
           j = pi_k                                    from B
    S_jk = E[Y_BAj Y_ABk - Y_A Y_B] / V - S_j - S_k    Saltelli 2002, optional

V is the variance over all rows A, AB_j, B: each has the distribution of the input. Two rows of the
path are rows of Sobol's already, so G groups cost 2 G rows a base point, and G more for S_jk.
Columns that A and B share are fixed, not shared out: the indices are then those of an average base
point, and V = E[(Y_A - Y_B)^2] / 2 is the variance that the groups make.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from probes import seeds
from probes.errors import BadInput
from probes.measure.indices import EPSILON, Indices, dead_of
from probes.moments import to_float64


@dataclasses.dataclass(frozen=True)
class SobolDesign:
    """A design: ``groups`` of columns by name, and the rows of a base point.

    ``shapley`` adds the path, ``second`` the rows for second-order indices. ``fixed`` columns come
    after those of the groups, and are the same in A and B. Raises BadInput for fewer than two
    groups, and for a column that belongs to no group or to two.

    >>> design = SobolDesign({"a": slice(0, 1), "b": slice(1, 3), "c": slice(3, 4)})
    >>> design.evaluations
    6
    """

    groups: Mapping[str, slice]
    shapley: bool = True
    second: bool = False
    fixed: int = 0

    def __post_init__(self) -> None:
        if len(self.groups) < 2:
            raise BadInput(
                f"groups {', '.join(self.groups) or 'none'}: an index needs two groups or more"
            )
        columns = sorted(i for s in self.groups.values() for i in range(s.start, s.stop))
        if columns != list(range(len(columns))):
            raise BadInput(
                f"groups {dict(self.groups)}: every column from 0 up belongs to exactly one group"
            )

    @property
    def columns(self) -> int:
        """The number of factors, with the fixed ones."""
        return max(s.stop for s in self.groups.values()) + self.fixed

    @property
    def evaluations(self) -> int:
        """The number of rows of a base point. The network is evaluated once for each."""
        n_groups = len(self.groups)
        return n_groups + 2 + (n_groups - 2) * self.shapley + n_groups * self.second

    def points(self, n: int, *name: str | int) -> np.ndarray:
        """``n`` base points, (n, 2, columns) in [0, 1). Each name has a scrambled Sobol sequence of
        its own.

        A power of two keeps the balance of the sequence. Any other number is allowed and gives
        wider intervals.
        """
        word = int(seeds.words(1, "base points", *name)[0])
        sequence = qmc.Sobol(2 * self.columns, scramble=True, rng=np.random.default_rng(word))
        drawn = (
            sequence.random_base2(n.bit_length() - 1) if n & (n - 1) == 0 else sequence.random(n)
        )
        points = drawn.reshape(n, 2, self.columns)
        if self.fixed:
            points[:, 1, -self.fixed :] = points[:, 0, -self.fixed :]
        return points

    def order(self, block: int, *name: str | int) -> list[int]:
        """The order of the groups along the path of a block of base points, by the block's number.

        Among 2 G consecutive blocks each group has each place twice. A random order is rotated,
        forwards and backwards.
        """
        n_groups = len(self.groups)
        drawn = [
            int(i) for i in seeds.permutation(n_groups, "path", *name, block // (2 * n_groups))
        ]
        turned = drawn[block % n_groups :] + drawn[: block % n_groups]
        return turned[::-1] if block // n_groups % 2 else turned

    def block(self, points: np.ndarray, order: Sequence[int]) -> np.ndarray:
        """The rows of base points (n, 2, columns) that share an order: (rows, n, columns)."""
        a, b = points[:, 0], points[:, 1]
        parts = list(self.groups.values())

        def mixed(base: np.ndarray, other: np.ndarray, which: Sequence[int]) -> np.ndarray:
            out = base.copy()
            for j in which:
                out[:, parts[j]] = other[:, parts[j]]
            return out

        found = [a, *(mixed(a, b, [j]) for j in range(len(parts))), b]
        found += [mixed(a, b, order[:k]) for k in range(2, len(parts))] if self.shapley else []
        found += [mixed(b, a, [j]) for j in range(len(parts))] if self.second else []
        return np.stack(found)


class SobolSums:
    """The sums over rows from which the indices of a module's units follow. They merge, in double
    precision, about a common shift.

    >>> design = SobolDesign({"a": slice(0, 1), "b": slice(1, 2)})
    >>> points = design.points(1024, "example")
    >>> rows = design.block(points, [0, 1])
    >>> sums = SobolSums(design)
    >>> sums.add(torch.from_numpy(3 * rows[..., :1] + 4 * rows[..., 1:]), [0, 1])
    >>> sums.indices().first[:, 0].round(decimals=2).tolist()
    [0.36, 0.64]
    """

    def __init__(self, design: SobolDesign) -> None:
        self.design = design
        self.n = 0
        self.shift: Tensor | None = None
        self._sums: dict[str, Tensor] = {}

    def add(self, values: Tensor, order: Sequence[int]) -> None:
        """Add a block. ``values`` (rows, n, units) are the outputs for the rows that
        :meth:`SobolDesign.block` gave for ``order``.

        A block is reduced in its own precision; the sums are in double precision. Raises BadInput
        for another number of rows.
        """
        if values.ndim != 3 or len(values) != self.design.evaluations:
            raise BadInput(
                f"values of shape {tuple(values.shape)}: (rows, base points, units) with"
                f" {self.design.evaluations} rows"
            )
        if self.shift is None:
            self.shift = values[0].mean(0)
        n_groups, n = len(self.design.groups), values.shape[1]
        a, mixed, b = (
            values[0] - self.shift,
            values[1 : n_groups + 1],
            values[n_groups + 1] - self.shift,
        )
        change = mixed - values[0]
        found = {
            "a": a.sum(0),
            "b": b.sum(0),
            "square": (
                a.square().sum(0) + b.square().sum(0) + (mixed - self.shift).square_().sum((0, 1))
            ),
            "ends": a.square().sum(0) + b.square().sum(0),
            "change": change.sum(1),
            "product": (change * b).sum(1),
        }
        found["total"] = change.square_().sum(1)
        if self.design.fixed:
            found["apart"] = (b - a).square_().sum(0)
        if self.design.shapley:
            found["path"] = self._path(values, order)
        if self.design.second:
            swapped = values[-n_groups:] - self.shift
            found["swapped"] = swapped.sum(1)
            both = [(j, k) for j in range(n_groups) for k in range(j + 1, n_groups)]
            found["cross"] = torch.stack(
                [(swapped[j] * (mixed[k] - self.shift) - a * b).sum(0) for j, k in both]
            )
        self._take(found, n)

    def _path(self, values: Tensor, order: Sequence[int]) -> Tensor:
        n_groups = len(order)
        steps = [
            values[0],
            values[1 + order[0]],
            *values[n_groups + 2 : 2 * n_groups],
            values[n_groups + 1],
        ]
        half = (steps[-1] - steps[0]) / 2
        out = torch.empty_like(values[:n_groups, 0])
        for j, before, here in zip(order, steps, steps[1:], strict=False):
            out[j] = ((here - before) * half).sum(0)
        return out

    def _take(self, found: Mapping[str, Tensor], n: int) -> None:
        for name, value in found.items():
            if name in self._sums:
                self._sums[name] += value.to(self._sums[name].device)
            else:
                # a copy: never the tensor of another shard
                self._sums[name] = to_float64(value).clone()
        self.n += n

    def merge(self, other: SobolSums) -> None:
        """Add the sums of another shard of the same design. Its shift may differ."""
        if other.shift is None:
            return
        if self.shift is None:
            self.shift = other.shift
        # x - shift = (x - other's shift) + by
        by = to_float64(other.shift) - to_float64(self.shift)
        s, n, n_groups = other._sums, other.n, len(self.design.groups)
        every = s["a"] + s["b"] + s["change"].sum(0) + n_groups * s["a"]
        found = s | {
            "a": s["a"] + n * by,
            "b": s["b"] + n * by,
            "square": s["square"] + 2 * by * every + (n_groups + 2) * n * by**2,
            "ends": s["ends"] + 2 * by * (s["a"] + s["b"]) + 2 * n * by**2,
            "product": s["product"] + by * s["change"],
        }
        if self.design.second:
            found["swapped"] = s["swapped"] + n * by
            found["cross"] = s["cross"] + by * self._sides(s)
        self._take(found, n)

    def _sides(self, s: Mapping[str, Tensor]) -> Tensor:
        # of BA_j AB_k - A B about another shift: the sum of BA_j + AB_k - A - B, for each pair
        n_groups = len(self.design.groups)
        both = [(j, k) for j in range(n_groups) for k in range(j + 1, n_groups)]
        return torch.stack([s["swapped"][j] + s["change"][k] - s["b"] for j, k in both])

    def indices(
        self, variance: str = "pooled", centre: Tensor | None = None, absolute: bool = False
    ) -> Indices:
        """The indices of every unit, by default those of the equations above.

        ``variance="ends"`` divides by the variance of rows A and B only, and ``centre`` sets
        another c; SALib does both. ``"within"`` divides by the variance between A and B, for fixed
        columns. ``absolute`` adds 1e-7 to a unit's standard deviation and variance and calls no
        unit dead, as the published code does (Kharyuk, Matveev and Oseledets 2023). Raises BadInput
        if nothing was added.
        """
        if self.shift is None:
            raise BadInput("no rows were added: no index can be computed")
        s, n, n_groups = self._sums, self.n, len(self.design.groups)
        rows = (n_groups + 2) * n
        mean = (s["a"] + s["b"] + s["change"].sum(0) + n_groups * s["a"]) / rows
        c = mean if centre is None else to_float64(centre) - to_float64(self.shift)
        ends = s["ends"] / (2 * n) - ((s["a"] + s["b"]) / (2 * n)) ** 2
        pooled = (s["square"] / rows - mean**2).clamp(min=0)
        v = (
            pooled
            if variance == "pooled"
            else ends.clamp(min=0)
            if variance == "ends"
            else s["apart"] / (2 * n)
        )
        dead = torch.zeros_like(v, dtype=torch.bool) if absolute else dead_of(v)
        safe = (
            v + EPSILON * (pooled.sqrt() + EPSILON) ** 2
            if absolute
            else torch.where(dead, torch.nan, v)
        )
        first = (s["product"] - c * s["change"]) / n / safe
        second = None
        if self.design.second:
            both = [(j, k) for j in range(n_groups) for k in range(j + 1, n_groups)]
            sums = first[[j for j, _ in both]] + first[[k for _, k in both]]
            second = (s["cross"] - c * self._sides(s)) / n / safe - sums
        return Indices(
            tuple(self.design.groups),
            n,
            to_float64(self.shift) + mean,
            v,
            dead,
            first,
            s["total"] / (2 * n) / safe,
            s["path"] / n / safe if self.design.shapley else None,
            second,
        )
