"""What a rule finds: an estimate, an interval, two p-values, and why it can't decide.

A rule takes one sample, or many of one size along leading axes: then every field is an array.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

Say = str | Callable[[tuple[int, ...]], str]


@dataclasses.dataclass(frozen=True)
class Ruling:
    """What a rule finds: one-sided p-values at delta, the 1 - 2 alpha interval, the estimate, the
    units' spread.
    """

    p_up: float
    p_down: float
    low: float
    high: float
    estimate: float
    spread: float
    n: int
    obstacle: str = ""
    """Why the rule can't decide with these units (too few, too skewed, all alike); empty when it
    can.
    """
    components: tuple[float, float, float] | None = None
    """Of the two-way rule: the variance of images, of draws, and of what is left."""


def ruling(
    n: int,
    *,
    p_up: Any,
    p_down: Any,
    low: Any,
    high: Any,
    estimate: Any,
    spread: Any,
    alike: Any,
    obstacle: Any = "",
    components: tuple[Any, Any, Any] | None = None,
) -> Ruling:
    """The ruling of arrays, or of numbers where there is one sample; nothing is decided, and the
    interval is unbounded, for samples that are ``alike`` in all their units.
    """
    found = [
        np.where(alike, 1.0, p_up),
        np.where(alike, 1.0, p_down),
        np.where(alike, -math.inf, low),
        np.where(alike, math.inf, high),
        np.asarray(estimate, float),
        np.where(alike, 0.0, spread),
    ]
    if found[0].ndim:
        return Ruling(*found, n, obstacle, components)  # type: ignore
    parts = None if components is None else tuple(float(v) for v in components)
    return Ruling(*(float(v) for v in found), n, obstacle, parts)  # type: ignore


def first_true(shape: tuple[int, ...], *reasons: tuple[Any, Say]) -> Any:
    """The text of the first condition that holds, of every sample; a string where there is one.

    >>> first_true((), (False, "few"), (True, "skewed"))
    'skewed'
    """
    told = np.full(shape, "", object)
    for condition, say in reasons:
        for at in zip(*np.nonzero(np.atleast_1d(condition & (told == ""))), strict=True):
            told[at if shape else ()] = say if isinstance(say, str) else say(at if shape else ())
    return told if shape else str(told[()])


def same(x: np.ndarray) -> np.ndarray:
    """Whether all units of a sample have one value, but for rounding."""
    return np.ptp(x, axis=-1) <= 1e-12 * np.abs(x).max(-1)


def named_same(x: np.ndarray) -> Say:
    """What units of one value are called: 0, which a perturbation that reached nothing gives, or
    another.
    """
    return lambda at: "all effects are exactly 0" if x[at][0] == 0 else "all effects are the same"


def second_group(s: np.ndarray, k: int, winsorised: np.ndarray, trim: float) -> np.ndarray:
    """Whether the standard error of a trimmed mean can't be trusted: of sorted effects, a share of
    other ones may be just over or just under what is trimmed, and the winsorised spread sees none
    of them.

    The spread winsorised two standard errors of that share earlier, on either side, is then more
    than 1.5 times as large.
    """
    n = s.shape[-1]
    early = max(0, k - int(2 * math.sqrt(trim * (1 - trim) * n)))
    limit = 1.5 * winsorised.std(-1, ddof=1)

    def begins(low: int, high: int) -> Any:
        side = s[..., low], s[..., high]
        bounded = np.isfinite(side[0]) & np.isfinite(side[1])
        with np.errstate(invalid="ignore"):
            wider = np.clip(s, *(v[..., None] for v in side)).std(-1, ddof=1)
        return ~bounded | (wider > limit)

    return begins(early, n - k - 1) | begins(k, n - early - 1)


SECOND_GROUP = (
    "a second group of images begins at the trimming point, so that chance says whether it counts;"
    " judge the two groups by themselves"
)
