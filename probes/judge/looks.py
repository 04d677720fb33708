"""Decide as soon as it is decided: looks at doubling numbers of images, with alpha spent as the
images are (Lan and DeMets 1983, with linear spending).

At a look at n of at most N images the cumulative error of either direction is alpha n / N: the
nominal level of a look is one less the normal probability of the boundary of Brownian motion at n /
N (recursive integration: Armitage, McPherson and Rowe 1969). The rules stay as they are; the
interval shown is that of the last look's level. Holm uses each block's sequential p: the least
alpha whose design has rejected by now.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy import interpolate, stats

from probes.errors import BadInput
from probes.judge import family
from probes.judge.verdict import Look, Verdict, Verdicts, settle
from probes.judge.wording import counted

FEWEST = 300
"""Images of the first look, at least."""
RULES = ("trimmed mean", "mean", "score")
"""Rules over images, whose estimate at more images is that at fewer and an independent increment.
"""


def sizes(until: int) -> tuple[int, ...]:
    """The numbers of images that are looked at: until / 2^j, from 300 on.

    >>> sizes(10_000)
    (312, 625, 1250, 2500, 5000, 10000)
    """
    if until < 1:
        raise BadInput(f"until={until}: how many images are looked at, at most")
    found = [until]
    while found[-1] // 2 >= FEWEST:
        found.append(until // 2 ** len(found))
    return tuple(reversed(found))


@functools.lru_cache(maxsize=2000)
def levels(looks: tuple[int, ...], alpha: float) -> tuple[float, ...]:
    """The nominal level of each look, so that the error up to it is alpha times its share of the
    last one's images.

    >>> [float(f"{a:.3g}") for a in levels(sizes(10_000), 0.05)]
    [0.00156, 0.00188, 0.00373, 0.00765, 0.0159, 0.0335]
    """
    times = np.array(looks) / looks[-1]
    spend = alpha * np.diff(times, prepend=0.0)
    grid, density = np.array([0.0]), np.array([1.0])  # of the process where it has not crossed
    found, before = [], 0.0
    for now, share in zip(times, spend, strict=True):
        step = np.sqrt(now - before)

        low, high = -3.0, 12.0
        for _ in range(60):
            middle = (low + high) / 2
            crossed = (density * stats.norm.sf((middle * np.sqrt(now) - grid) / step)).sum()
            low, high = (middle, high) if crossed > share else (low, middle)
        found.append(float(stats.norm.sf(high)))
        new = np.linspace(-8.0, high, 201) * np.sqrt(now)
        kernel = stats.norm.pdf((new[:, None] - grid) / step) / step
        weights = np.full(len(new), 2.0)  # Simpson's rule
        weights[1::2], weights[[0, -1]] = 4.0, 1.0
        density = (kernel @ density) * weights * (new[1] - new[0]) / 3
        grid, before = new, now
    return tuple(found)


@functools.lru_cache(maxsize=32)
def _alphas(looks: tuple[int, ...], knots: tuple[float, ...]) -> list[Any]:
    """For each look, the alpha of the design whose level there a p-value is; exact at the knots."""
    every = np.array(sorted({*np.geomspace(1e-12, 0.5, 40), *knots}))
    table = np.array([levels(looks, float(a)) for a in every])
    return [interpolate.PchipInterpolator(np.log(column), np.log(every)) for column in table.T]


def sequential_p(
    looks: tuple[int, ...], which: int, p: float, alpha: float = 0.05, k: int = 1
) -> float:
    """The least alpha whose design rejects at a look (the ``which``-th of ``looks``) with this p;
    exact at alpha / j for j up to ``k``, which Holm compares it with.

    >>> plan = sizes(10_000)
    >>> round(sequential_p(plan, 0, levels(plan, 0.05)[0]), 6)
    0.05
    """
    if p >= levels(looks, 0.5)[which]:
        return 1.0
    knots = tuple(alpha / j for j in range(1, k + 1))
    logs = _alphas(looks, knots)[which]
    return float(np.exp(logs(np.log(max(p, np.exp(logs.x[0]))))))


Ask = Callable[[int, float], Verdicts]


def sequential(
    ask: Ask,
    until: int,
    alpha: float = 0.05,
    say: Callable[[str], None] = lambda text: None,
    stop: int | None = None,
) -> Verdicts:
    """Ask at 300 images or more, at twice as many, and so on, until the overall verdict and every
    block are decided, at most at ``until`` images.

    ``ask(n, level)`` judges the first n images at a level, always the same n first ones. A claim
    whose units are no images is asked once, of all. ``stop`` ends at fewer images than planned, as
    for evidence that is judged again. The error of either verdict is at most alpha (measured: 1.16
    alpha with the rules' own errors). An estimate at an early stop is biased outwards.

    >>> import pandas as pd
    >>> from probes.judge import exceeds
    >>> x = np.sin(np.arange(4000.0)) / 10 + 0.5
    >>> table = pd.DataFrame({"net": "n", "weights": "w", "dataset": "d", "train_seed": 0, "image":
    ...     np.arange(4000), "draw": 0, "level": 0.1, "site": "a", "gain": x})
    >>> def ask(n, level):
    ...     from probes.judge.asking import Question
    ...     return Question("exceeds", "gain", 0.1).of(table[table["image"] < n], level)
    >>> found = sequential(ask, 4000)
    >>> found.overall, [look.n for look in found.path]
    ('supported', [500])
    """
    plan = sizes(until)
    path: list[Look] = []
    best: dict[tuple[str, int], tuple[float, float]] = {}
    found = None
    for i, (n, level) in enumerate(zip(plan, levels(plan, alpha), strict=True)):
        raw = ask(n, level)
        if not _over_images(raw, n):
            return dataclasses.replace(ask(until, alpha), alpha=alpha)
        items = [_joined(v, plan, i, alpha, len(raw), best) for v in raw]
        found = dataclasses.replace(raw, items=settle(items, alpha), alpha=alpha)
        outcomes = tuple(v.outcome for v in found)
        look = Look(n, level, tuple(_seen(v) for v in found), outcomes)
        path.append(look)
        say(
            f"look {i + 1} of {len(plan)}, {n:,} images: {look.decided} of"
            f" {counted(len(found), 'block')} decided"
        )
        done = found.overall != "inconclusive" and look.decided == len(found)
        if done or n == stop:
            break
    assert found is not None
    scope = f"{found.scope}, {early(path, until)}"
    return dataclasses.replace(found, scope=scope, path=tuple(path), until=until)


def _over_images(found: Verdicts, n: int) -> bool:
    leaves = [leaf for v in found for leaf in v.leaves]
    return all(leaf.rule in RULES and leaf.n <= n for leaf in leaves)


def _seen(v: Verdict) -> tuple[tuple[float, float, float], ...]:
    return tuple((leaf.estimate, leaf.low, leaf.high) for leaf in v.leaves)


def _joined(
    v: Verdict,
    plan: tuple[int, ...],
    i: int,
    alpha: float,
    k: int,
    best: dict[tuple[str, int], tuple[float, float]],
) -> Verdict:
    """A member with the sequential p-values of its parts up to this look."""
    leaves = []
    for j, leaf in enumerate(v.leaves):
        before = best.get((v.label, j), (1.0, 1.0))
        now = [
            sequential_p(plan, i, p, alpha, k * len(v.leaves))
            for p in (leaf.p_supported, leaf.p_refuted)
        ]
        sides = [min(b, p) for b, p in zip(before, now, strict=True)]
        for side in (0, 1):  # what one direction has decided, the other can't take back
            if before[side] <= alpha:
                sides[1 - side] = before[1 - side]
        best[v.label, j] = sides[0], sides[1]
        leaves.append(dataclasses.replace(leaf, p_supported=sides[0], p_refuted=sides[1]))
    if not v.parts:
        return leaves[0]
    up, down = family.conjunction(
        [leaf.p_supported for leaf in leaves], [leaf.p_refuted for leaf in leaves]
    )
    return dataclasses.replace(v, parts=tuple(leaves), p_supported=up, p_refuted=down)


def early(path: Iterable[Look], until: int) -> str:
    """What is said of a verdict that was reached before all images were looked at; empty of one
    that was not.
    """
    looks = list(path)
    if not looks:
        return ""
    last, of = looks[-1], len(sizes(until))
    text = (
        f"after {last.n:,} of at most {until:,} images (look {len(looks)} of {of}, at level"
        f" {last.level:.3g})"
    )
    if last.n < until:
        text += "; stopped early, so the estimate is biased outwards"
    return text
