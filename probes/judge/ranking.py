"""Rules by signed ranks: over training runs, and over disjoint groups of images."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from scipy import stats

from probes.judge.power import runs_needed
from probes.judge.ruling import Ruling

GROUPS = 20
"""Disjoint groups of images from which a number of the typical group is decided."""


def signed_rank(x: np.ndarray, delta: float, alpha: float = 0.05) -> Ruling:
    """Training runs: exact signed-rank test, Hodges-Lehmann estimate, the interval of Walsh
    averages.

    From 5 pairs, or as many as can reach alpha. Tied differences get midranks and their own exact
    permutation law; the p-value at delta is then the largest over all smaller (p_up) or larger
    (p_down) deltas, so that test and interval stay one procedure. A difference equal to delta
    speaks for neither side.
    ``scipy.stats.wilcoxon(x - delta, alternative="greater")``.

    >>> signed_rank(np.array([1.0, 2, 3, 4, 5]), 0).p_up
    0.03125
    """
    found = _signed_rank(np.asarray(x, float), delta, alpha)
    n = found.n
    least = runs_needed(alpha)
    few = f"{n} training runs reach p = {0.5**n:.3g} at best; {least} are needed"
    return _with_obstacle(found, x, few if n < least else "")


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
    """By the closed form where no two values are equal: W+ is the number of Walsh averages above
    delta. Samples with ties are judged one by one.
    """
    n = x.shape[-1]
    i, j = np.triu_indices(n)
    walsh = np.sort((x[..., i] + x[..., j]) / 2, -1)
    law, many = _untied(n), walsh.shape[-1]
    up = np.minimum(1.0, law[many - (walsh > delta).sum(-1)])
    down = np.minimum(1.0, law[many - (walsh < delta).sum(-1)])
    edge = int(np.argmax(law > alpha))
    low = walsh[..., edge - 1] if edge else np.full(x.shape[:-1], -math.inf)
    high = walsh[..., many - edge] if edge else np.full(x.shape[:-1], math.inf)
    spread = x.std(-1, ddof=1) if n > 1 else np.full(x.shape[:-1], math.nan)
    found = [np.array(v, float) for v in (up, down, low, high)]
    tied = (np.diff(np.sort(x, -1), axis=-1) == 0).any(-1)
    for at in zip(*np.nonzero(np.atleast_1d(tied)), strict=True):
        where = at if x.ndim > 1 else ()
        for values, one in zip(found, _tied(x[where], walsh[where], delta, alpha), strict=True):
            values[where] = one
    found += [np.array(np.median(walsh, -1)), np.array(spread)]
    if x.ndim > 1:
        return Ruling(*found, n)  # type: ignore
    return Ruling(*(float(v) for v in found), n)  # type: ignore


def _tied(
    x: np.ndarray, walsh: np.ndarray, delta: float, alpha: float
) -> tuple[float, float, float, float]:
    """p_up, p_down, low and high by the exact permutation law of midranks."""
    knots = np.unique(walsh)
    # p_up is constant between neighbouring Walsh averages, so one delta in each gap tells all.
    gaps = np.concatenate([[knots[0] - 1], (knots[1:] + knots[:-1]) / 2, [knots[-1] + 1]])
    laws: dict[bytes, np.ndarray] = {}

    def tail(values: np.ndarray) -> float:
        doubled = np.rint(2 * stats.rankdata(np.abs(values))).astype(int)
        name = np.sort(doubled).tobytes()
        if name not in laws:
            laws[name] = np.cumsum(_law(doubled)[::-1])[::-1]
        return float(min(1.0, laws[name][doubled[values > 0].sum()]))

    up = np.maximum.accumulate([tail(x - g) for g in gaps])
    down = np.maximum.accumulate([tail(g - x) for g in gaps][::-1])[::-1]
    where_up = int(np.searchsorted(knots, delta, side="right"))
    where_down = int(np.searchsorted(knots, delta, side="left"))
    first, last = np.flatnonzero(up > alpha), np.flatnonzero(down > alpha)
    low = -math.inf if first[0] == 0 else float(knots[first[0] - 1])
    high = math.inf if last[-1] == len(gaps) - 1 else float(knots[last[-1]])
    return float(up[where_up]), float(down[where_down]), low, high


@functools.lru_cache(maxsize=64)
def _untied(n: int) -> np.ndarray:
    return np.cumsum(_law(2 * np.arange(1, n + 1))[::2][::-1])


def _law(doubled_ranks: np.ndarray) -> np.ndarray:
    law = np.ones(1)
    for r in doubled_ranks:
        law = (np.concatenate([law, np.zeros(r)]) + np.concatenate([np.zeros(r), law])) / 2
    return law
