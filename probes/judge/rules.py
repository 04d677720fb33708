"""The procedures that decide: per-unit effects in; two one-sided p-values, their interval and the
estimate out.

Every rule tests ``theta <= delta`` (``p_up``: small when the effect exceeds delta) and ``theta >=
delta`` (``p_down``), and gives the 1 - 2 alpha interval that is made of the same tests: it lies
above delta where p_up <= alpha, and below where p_down <= alpha. No rule resamples; units that are
all alike leave a t rule without a verdict (p = 1).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize, stats

from probes.errors import BadInput
from probes.judge.ruling import UNDECIDED, Ruling, alike, second_group, undecidable

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
    n, k = len(x), int(TRIM * len(x))
    for name, share in (
        ("0 at the higher level", np.mean(x == -np.inf)),
        ("0 on clean images", np.mean(x == np.inf)),
    ):
        if share > TRIM:
            raise BadInput(
                f"{share:.0%} of the images have a metric of {name}: no typical ratio (at most"
                f" {TRIM:.0%})"
            )
    few = f"the trimmed mean decides from 100 images, there are {n}" if n < 100 else ""
    h, s = n - 2 * k, np.sort(x)
    if n < 3:
        return Ruling(**UNDECIDED, estimate=float(np.median(x)), spread=math.nan, n=n, obstacle=few)
    m = float(s[k : n - k].mean())
    winsorised = np.clip(s, s[k], s[n - k - 1])
    if np.ptp(winsorised) <= 1e-12 * np.abs(winsorised).max():
        return Ruling(**UNDECIDED, estimate=m, spread=0.0, n=n, obstacle=alike(winsorised))
    se = float(winsorised.std(ddof=1)) * math.sqrt((n - 1) / (h * (h - 1)))
    few = few or second_group(s, k, winsorised, TRIM)
    t, q = (m - delta) / se, float(stats.t.isf(alpha, h - 1))
    return Ruling(
        float(stats.t.sf(t, h - 1)),
        float(stats.t.cdf(t, h - 1)),
        m - q * se,
        m + q * se,
        m,
        se * math.sqrt(n),
        n,
        few,
    )


def mean(x: np.ndarray, delta: float, alpha: float = 0.05) -> Ruling:
    """Mean of bounded effects: the less favourable of Student's t and Hall's (1992)
    skewness-corrected t.

    From 200 units, 15 skewness^2 units, and 100 units with a nonzero effect.

    >>> mean(np.sin(np.arange(300.0)), -0.5).p_up < 0.001
    True
    """
    x = np.asarray(x, float)
    n, m = len(x), float(np.mean(x))
    few = f"the mean decides from 200 units, there are {n}"
    if ruling := undecidable(x, few):
        return ruling
    s, g, r = float(x.std(ddof=1)), float(stats.skew(x)), math.sqrt(n)
    obstacle = ""
    if n < 200:
        obstacle = few
    elif n < 15 * g * g:
        obstacle = (
            f"effects with skewness {g:.1f} need {math.ceil(15 * g * g):,} units, there are {n:,}"
        )
    elif (nonzero := int(np.count_nonzero(x))) < 100:
        obstacle = f"the mean decides from 100 nonzero effects, there are {nonzero}"

    def hall(t: float) -> float:
        return t + g * t**2 / (3 * r) + g**2 * t**3 / (27 * n) + g / (6 * r)

    def back(y: float) -> float:
        return (np.cbrt(1 + g / r * (y - g / (6 * r))) - 1) * 3 * r / g if abs(g) > 1e-8 else y

    t, q = (m - delta) * r / s, float(stats.t.isf(alpha, n - 1))
    return Ruling(
        float(max(stats.t.sf(t, n - 1), stats.t.sf(hall(t), n - 1))),
        float(max(stats.t.cdf(t, n - 1), stats.t.cdf(hall(t), n - 1))),
        float(m - max(q, back(q)) * s / r),
        float(m - min(-q, back(-q)) * s / r),
        m,
        s,
        n,
        obstacle,
    )


GROUPS = 20
"""Disjoint groups of images from which a mean over groups decides."""


def group_mean(x: np.ndarray, delta: float, alpha: float = 0.05) -> Ruling:
    """Mean over disjoint groups of images of a number that only a group has, such as an index:
    Student's t, from 20 groups.

    >>> found = group_mean(np.arange(20.0), 5.0)
    >>> round(found.p_up, 4) == round(float(stats.ttest_1samp(np.arange(20.0), 5.0,
    ...     alternative="greater").pvalue), 4)
    True
    """
    x = np.asarray(x, float)
    n, m = len(x), float(np.mean(x))
    few = f"the group mean decides from {GROUPS} groups, there are {n}"
    if ruling := undecidable(x, few):
        return ruling
    s = float(x.std(ddof=1))
    t, half = (m - delta) * math.sqrt(n) / s, float(stats.t.isf(alpha, n - 1)) * s / math.sqrt(n)
    return Ruling(
        float(stats.t.sf(t, n - 1)),
        float(stats.t.cdf(t, n - 1)),
        m - half,
        m + half,
        m,
        s,
        n,
        few if n < GROUPS else "",
    )


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
    n, b, c = len(x), int((x == 1).sum()), int((x == -1).sum())

    def z(d: float, correction: float) -> float:
        big, small = -b - c + (2 * n - b + c) * d, -c * d * (1 - d)
        q = max((math.sqrt(max(big * big - 8 * n * small, 0.0)) - big) / (4 * n), 0.0, -d)
        return (b - c - n * d + correction) / math.sqrt(max(n * (2 * q + d * (1 - d)), 1e-300))

    q = float(stats.norm.isf(alpha))
    edge = 1 - 1e-12
    low = optimize.brentq(lambda d: z(d, -0.5) - q, -edge, edge) if z(-edge, -0.5) > q else -1.0
    high = optimize.brentq(lambda d: z(d, 0.5) + q, -edge, edge) if z(edge, 0.5) < -q else 1.0
    m = (b - c) / n
    return Ruling(
        float(stats.norm.sf(z(delta, -0.5))),
        float(stats.norm.cdf(z(delta, 0.5))),
        low,
        high,
        m,
        math.sqrt(max((b + c) / n - m * m, 0.0)),
        n,
        f"the score test decides from 20 images, there are {n}" if n < 20 else "",
    )


def two_way(y: np.ndarray, delta: float, alpha: float = 0.05) -> Ruling:
    """Mean over images x draws, where the draws are common to all images: Student's t on the
    two-way variance.

    ``y`` has a row per image and a column per draw. The degrees of freedom are those of the fewer
    of the two, less one; the variance of the mean is va/n + vb/J - ve/(nJ), and no less than either
    of its first two terms. From 200 images and 20 draws. Generalises over both; with images as
    units the answer would be about these very draws.

    >>> y = np.sin(np.arange(200.0))[:, None] + np.cos(np.arange(20.0))
    >>> two_way(y, -1.0).p_up < 0.001
    True
    """
    y = np.asarray(y, float)
    n, draws = y.shape
    m = float(y.mean())
    few = (
        f"the two-way rule decides from 200 images and 20 draws, there are {n} and {draws}"
        if n < 200 or draws < 20
        else ""
    )
    if min(n, draws) < 2 or np.ptp(y) <= 1e-12 * np.abs(y).max():
        return Ruling(**UNDECIDED, estimate=m, spread=0.0, n=n, obstacle=few or alike(y.ravel()))
    rows, columns = y.mean(1), y.mean(0)
    left = float(((y - rows[:, None] - columns + m) ** 2).sum()) / ((n - 1) * (draws - 1))
    va, vb, ve = float(rows.var(ddof=1)) / n, float(columns.var(ddof=1)) / draws, left / (n * draws)
    se, df = math.sqrt(max(va + vb - ve, va, vb)), min(n, draws) - 1
    t, q = (m - delta) / se, float(stats.t.isf(alpha, df))
    return Ruling(
        float(stats.t.sf(t, df)),
        float(stats.t.cdf(t, df)),
        m - q * se,
        m + q * se,
        m,
        se * math.sqrt(n),
        n,
        few,
        (max(0.0, n * va - left / draws), max(0.0, draws * vb - left / n), left),
    )


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
    x = np.asarray(x, float)
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
        law = np.cumsum(_law(2 * np.arange(1, n + 1))[::2][::-1])
        above = len(walsh) - np.searchsorted(walsh, gaps, side="right")
        up = np.minimum(1.0, law[len(walsh) - above])
        down = np.minimum(1.0, law[above])
    where_up = int(np.searchsorted(knots, delta, side="right"))
    where_down = int(np.searchsorted(knots, delta, side="left"))
    first, last = np.flatnonzero(up > alpha), np.flatnonzero(down > alpha)
    low = -math.inf if first[0] == 0 else float(knots[first[0] - 1])
    high = math.inf if last[-1] == len(gaps) - 1 else float(knots[last[-1]])
    few = f"{n} training runs reach p = {0.5**n:.3g} at best; 5 are needed" if n < 5 else ""
    if not few and not x.any():
        few = "all effects are exactly 0"
    spread = float(x.std(ddof=1)) if n > 1 else math.nan
    return Ruling(
        float(up[where_up]),
        float(down[where_down]),
        low,
        high,
        float(np.median(walsh)),
        spread,
        n,
        few,
    )


def _law(doubled_ranks: np.ndarray) -> np.ndarray:
    law = np.ones(1)
    for r in doubled_ranks:
        law = (np.concatenate([law, np.zeros(r)]) + np.concatenate([np.zeros(r), law])) / 2
    return law
