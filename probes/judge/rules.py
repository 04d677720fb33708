"""The procedures that decide over images: per-unit effects in; two one-sided p-values, their
interval and the estimate out. Those over training runs, groups and draws are in
:mod:`probes.judge.ranking` and :mod:`probes.judge.crossed`.

Every rule tests ``theta <= delta`` (``p_up``: small when the effect exceeds delta) and ``theta >=
delta`` (``p_down``), and gives the 1 - 2 alpha interval that is made of the same tests: it lies
above delta where p_up <= alpha, and below where p_down <= alpha. No rule resamples; units that are
all alike leave a t rule without a verdict (p = 1). Samples of one size may be stacked: units are
the last axis, and every number that comes back is then an array.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from scipy import optimize, stats

from probes.errors import BadInput
from probes.judge.ruling import (
    SECOND_GROUP,
    Ruling,
    first_true,
    named_same,
    ruling,
    same,
    second_group,
)

TRIM = 0.2


def trimmed_mean(x: np.ndarray, delta: float, alpha: float = 0.05) -> Ruling:
    """20 % trimmed mean, Student's t with the winsorised standard error (Tukey and McLaughlin
    1963).

    For log-ratios: heavy-tailed, with a few dead units at -inf or inf, which the trimming sets
    aside (BadInput where there are more than 20 % on one side). From 100 units.
    ``scipy.stats.trim_mean`` is the estimate.

    >>> round(trimmed_mean(np.arange(101.0), 0).estimate, 3)
    50.0
    """
    x = np.asarray(x, float)
    shape, n = x.shape[:-1], x.shape[-1]
    k = int(TRIM * n)
    for name, share in (
        ("0 at the higher level", np.mean(x == -np.inf, -1)),
        ("0 on clean images", np.mean(x == np.inf, -1)),
    ):
        if (share > TRIM).any():
            raise BadInput(
                f"{np.max(share):.0%} of the images have a metric of {name}: no typical ratio (at"
                f" most {TRIM:.0%})"
            )
    few = f"the trimmed mean decides from 100 images, there are {n}"
    h, s = n - 2 * k, np.sort(x, -1)
    if n < 3:
        return _too_few(np.median(x, -1), n, math.nan, few)
    m = s[..., k : n - k].mean(-1)
    winsorised = np.clip(s, s[..., k, None], s[..., n - k - 1, None])
    alike = same(winsorised)
    se = winsorised.std(-1, ddof=1) * math.sqrt((n - 1) / (h * (h - 1)))
    obstacle = first_true(
        shape,
        (alike, named_same(winsorised)),
        (n < 100, few),
        (second_group(s, k, winsorised, TRIM), SECOND_GROUP),
    )
    return student(m, se, delta, alpha, h - 1, n, alike, obstacle)


def student(
    m: Any, se: Any, delta: float, alpha: float, df: int, n: int, alike: Any, obstacle: Any
) -> Ruling:
    """Student's t of an estimate with its standard error."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (m - delta) / se
    q = float(stats.t.isf(alpha, df))
    return ruling(
        n,
        p_up=stats.t.sf(t, df),
        p_down=stats.t.cdf(t, df),
        low=m - q * se,
        high=m + q * se,
        estimate=m,
        spread=se * math.sqrt(n),
        alike=alike,
        obstacle=obstacle,
    )


def hall(
    m: Any,
    se: Any,
    g: Any,
    delta: float,
    alpha: float,
    df_units: tuple[int, int],
    n: int,
    spread: Any,
    alike: Any,
    obstacle: Any,
    components: tuple[Any, Any, Any] | None = None,
) -> Ruling:
    """The less favourable of Student's t and of t corrected for skewness g (Hall 1992), of an
    estimate with its standard error; ``df_units`` are the degrees of freedom, and the number of
    units that g is of.
    """
    df, units = df_units
    r = math.sqrt(units)

    def corrected(t: Any) -> Any:
        return t + g * t**2 / (3 * r) + g**2 * t**3 / (27 * units) + g / (6 * r)

    def back(y: float) -> Any:
        safe = np.where(np.abs(g) > 1e-8, g, 1.0)
        found = (np.cbrt(1 + safe / r * (y - safe / (6 * r))) - 1) * 3 * r / safe
        return np.where(np.abs(g) > 1e-8, found, y)

    with np.errstate(divide="ignore", invalid="ignore"):
        t = (m - delta) / se
        other = corrected(t)
    q = float(stats.t.isf(alpha, df))
    return ruling(
        n,
        p_up=np.maximum(stats.t.sf(t, df), stats.t.sf(other, df)),
        p_down=np.maximum(stats.t.cdf(t, df), stats.t.cdf(other, df)),
        low=m - np.maximum(q, back(q)) * se,
        high=m - np.minimum(-q, back(-q)) * se,
        estimate=m,
        spread=spread,
        alike=alike,
        obstacle=obstacle,
        components=components,
    )


def skewness(x: np.ndarray) -> np.ndarray:
    """Skewness along the last axis, 0 where all values are one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        centred = x - x.mean(-1, keepdims=True)
        square = centred * centred
        found = (square * centred).mean(-1) / square.mean(-1) ** 1.5
    return np.where(np.isfinite(found), found, 0.0)


def mean(x: np.ndarray, delta: float, alpha: float = 0.05) -> Ruling:
    """Mean of bounded effects: the less favourable of Student's t and Hall's (1992)
    skewness-corrected t.

    From 200 units, 15 skewness^2 units, and 100 units with a nonzero effect.

    >>> mean(np.sin(np.arange(300.0)), -0.5).p_up < 0.001
    True
    """
    x = np.asarray(x, float)
    shape, n, m = x.shape[:-1], x.shape[-1], x.mean(-1)
    few = f"the mean decides from 200 units, there are {n}"
    if n < 2:
        return _too_few(m, n, 0.0, few)
    alike, s, g = same(x), x.std(-1, ddof=1), skewness(x)
    nonzero = np.count_nonzero(x, -1)
    obstacle = first_true(
        shape,
        (alike, named_same(x)),
        (n < 200, few),
        (
            n < 15 * g * g,
            lambda at: (
                f"effects with skewness {g[at]:.1f} need {math.ceil(15 * g[at] ** 2):,} units,"
                f" there are {n:,}"
            ),
        ),
        (
            nonzero < 100,
            lambda at: (
                f"the mean decides from 100 nonzero effects, there are"
                f" {int(np.asarray(nonzero)[at])}"
            ),
        ),
    )
    return hall(m, s / math.sqrt(n), g, delta, alpha, (n - 1, n), n, s, alike, obstacle)


def _too_few(estimate: Any, n: int, spread: float, few: str) -> Ruling:
    shape = np.shape(estimate)
    obstacle = first_true(shape, (True, few))
    found = ruling(
        n,
        p_up=1.0,
        p_down=1.0,
        low=0.0,
        high=0.0,
        estimate=estimate,
        spread=0.0,
        alike=np.ones(shape, bool),
        obstacle=obstacle,
    )
    each: Any = np.full(shape, spread) if shape else spread
    return dataclasses.replace(found, spread=each)


def score(x: np.ndarray, delta: float, alpha: float = 0.05) -> Ruling:
    """Mean of effects -1, 0, 1: the score test of a paired difference (Tango 1998), half-unit
    continuity correction.

    From 20 units. Decides also where every effect is 0. BadInput for other effects.

    >>> round(score(np.zeros(400), -0.01).p_up, 3) < 0.05
    True
    """
    x = np.asarray(x, float)
    if not np.isin(x, (-1, 0, 1)).all():
        raise BadInput("the score test takes effects of -1, 0 and 1 only")
    n = x.shape[-1]
    pairs = np.stack([(x == 1).sum(-1), (x == -1).sum(-1)], -1)
    each, where = np.unique(pairs.reshape(-1, 2), axis=0, return_inverse=True)
    found = np.array([_tango(int(b), int(c), n, delta, alpha) for b, c in each])
    p_up, p_down, low, high = np.moveaxis(found[where.reshape(x.shape[:-1])], -1, 0)
    m = (pairs[..., 0] - pairs[..., 1]) / n
    spread = np.sqrt(np.maximum(pairs.sum(-1) / n - m * m, 0.0))
    few = f"the score test decides from 20 images, there are {n}"
    return ruling(
        n,
        p_up=p_up,
        p_down=p_down,
        low=low,
        high=high,
        estimate=m,
        spread=spread,
        alike=np.zeros(x.shape[:-1], bool),
        obstacle=first_true(x.shape[:-1], (n < 20, few)),
    )


def _tango(b: int, c: int, n: int, delta: float, alpha: float) -> tuple[float, float, float, float]:
    def z(d: float, correction: float) -> float:
        big, small = -b - c + (2 * n - b + c) * d, -c * d * (1 - d)
        q = max((math.sqrt(max(big * big - 8 * n * small, 0.0)) - big) / (4 * n), 0.0, -d)
        return (b - c - n * d + correction) / math.sqrt(max(n * (2 * q + d * (1 - d)), 1e-300))

    q, edge = float(stats.norm.isf(alpha)), 1 - 1e-12
    low = optimize.brentq(lambda d: z(d, -0.5) - q, -edge, edge) if z(-edge, -0.5) > q else -1.0
    high = optimize.brentq(lambda d: z(d, 0.5) + q, -edge, edge) if z(edge, 0.5) < -q else 1.0
    up, down = float(stats.norm.sf(z(delta, -0.5))), float(stats.norm.cdf(z(delta, 0.5)))
    return up, down, low, high
