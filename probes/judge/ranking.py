"""Rules by signed ranks: over training runs, and over disjoint groups of images."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from scipy import stats

from probes.judge.ruling import Ruling

GROUPS = 20
"""Disjoint groups of images from which a number of the typical group is decided."""


def signed_rank(x: np.ndarray, delta: float, alpha: float = 0.05) -> Ruling:
    """Training runs: exact signed-rank test, Hodges-Lehmann estimate, the interval of Walsh
    averages.

    From 5 pairs. Tied differences get midranks and their own exact permutation law; the p-value at
    delta is then the largest over all smaller (p_up) or larger (p_down) deltas, so that test and
    interval stay one procedure. A difference equal to delta speaks for neither side.
    ``scipy.stats.wilcoxon(x - delta, alternative="greater")``.

    >>> signed_rank(np.array([1.0, 2, 3, 4, 5]), 0).p_up
    0.03125
    """
    found = _signed_rank(np.asarray(x, float), delta, alpha)
    n = found.n
    few = f"{n} training runs reach p = {0.5**n:.3g} at best; 5 are needed"
    return _with_obstacle(found, x, few if n < 5 else "")


def typical_group(x: np.ndarray, delta: float, alpha: float = 0.05) -> Ruling:
    """A number that only a group of images has, such as an index: the typical one of disjoint
    groups, by :func:`signed_rank`, from 20 groups.

    The mean over groups is no such number: with one group in twenty far out, Student's t reached
    7.5 times its level.

    >>> typical_group(np.arange(20.0), 5.0).estimate
    9.5
    """
    found = _signed_rank(np.asarray(x, float), delta, alpha)
    few = f"the typical group is decided from {GROUPS} groups, there are {found.n}"
    return _with_obstacle(found, x, few if found.n < GROUPS else "")


def _with_obstacle(found: Ruling, x: np.ndarray, few: str) -> Ruling:
    x = np.asarray(x)
    if x.ndim == 1:
        return dataclasses.replace(found, obstacle=few or ("" if x.any() else _ZERO))
    told = np.where(x.any(-1), few, few or _ZERO).astype(object)
    return dataclasses.replace(found, obstacle=told)  # type: ignore[arg-type]


_ZERO = "all effects are exactly 0"


def _signed_rank(x: np.ndarray, delta: float, alpha: float) -> Ruling:
    if x.ndim > 1:
        each = [_signed_rank(one, delta, alpha) for one in x.reshape(-1, x.shape[-1])]
        names = ("p_up", "p_down", "low", "high", "estimate", "spread")
        found = (np.array([getattr(r, n) for r in each]).reshape(x.shape[:-1]) for n in names)
        return Ruling(*found, x.shape[-1])  # type: ignore
    n = len(x)
    i, j = np.triu_indices(n)
    walsh = np.sort((x[i] + x[j]) / 2)
    knots = np.unique(walsh)
    # p_up is constant between neighbouring Walsh averages, so one delta in each gap tells all.
    gaps = np.concatenate([[knots[0] - 1], (knots[1:] + knots[:-1]) / 2, [knots[-1] + 1]])
    tied = len(np.unique(x)) < n
    laws: dict[bytes, np.ndarray] = {}

    def tail(values: np.ndarray) -> float:
        doubled = np.rint(2 * stats.rankdata(np.abs(values))).astype(int)
        name = np.sort(doubled).tobytes()
        if name not in laws:
            laws[name] = np.cumsum(_law(doubled)[::-1])[::-1]
        return float(min(1.0, laws[name][doubled[values > 0].sum()]))

    if tied:
        up = np.maximum.accumulate([tail(x - g) for g in gaps])
        down = np.maximum.accumulate([tail(g - x) for g in gaps][::-1])[::-1]
    else:  # closed form: W+ is the number of Walsh averages above delta
        law = _untied(n)
        above = len(walsh) - np.searchsorted(walsh, gaps, side="right")
        up = np.minimum(1.0, law[len(walsh) - above])
        down = np.minimum(1.0, law[above])
    where_up = int(np.searchsorted(knots, delta, side="right"))
    where_down = int(np.searchsorted(knots, delta, side="left"))
    first, last = np.flatnonzero(up > alpha), np.flatnonzero(down > alpha)
    low = -math.inf if first[0] == 0 else float(knots[first[0] - 1])
    high = math.inf if last[-1] == len(gaps) - 1 else float(knots[last[-1]])
    spread = float(x.std(ddof=1)) if n > 1 else math.nan
    return Ruling(
        float(up[where_up]),
        float(down[where_down]),
        low,
        high,
        float(np.median(walsh)),
        spread,
        n,
    )


@functools.lru_cache(maxsize=64)
def _untied(n: int) -> np.ndarray:
    return np.cumsum(_law(2 * np.arange(1, n + 1))[::2][::-1])


def _law(doubled_ranks: np.ndarray) -> np.ndarray:
    law = np.ones(1)
    for r in doubled_ranks:
        law = (np.concatenate([law, np.zeros(r)]) + np.concatenate([np.zeros(r), law])) / 2
    return law
