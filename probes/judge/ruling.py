"""What a rule finds: an estimate, an interval, two p-values, and why it can't decide."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np


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


UNDECIDED: dict[str, Any] = {"p_up": 1.0, "p_down": 1.0, "low": -math.inf, "high": math.inf}


DISCLOSED: dict[str, tuple[float, float, float, str]] = {
    "trimmed mean": (1000, 1.34, 2.24, "with skewed or heavy-tailed effects"),
    "mean": (1000, 1.32, 2.44, "with skewed or heavy-tailed effects"),
    "two-way": (math.inf, 2.64, 18.3, "where one draw in ten is catastrophic"),
    "signed rank": (math.inf, 1.28, 2.52, "with skewed runs"),
    "group mean": (math.inf, 3.65, 23.0, "where one group in ten is an outlier"),
}
"""By rule: units from which alpha is held (within 1.2), the worst level measured below that, in
units of alpha and, in a family of eight, of alpha / 8, and on what. From
``reports/calibration/calibration.csv``; the score test holds alpha."""


def disclosed(rule: str, n: int) -> str:
    """What is known of a rule's false verdicts at ``n`` units beyond alpha; empty where alpha is
    held.

    >>> disclosed("trimmed mean", 300)
    'the trimmed mean at n = 300 reaches 1.34 alpha with skewed or heavy-tailed effects (2.24 alpha / 8 in a family of eight)'
    """  # noqa: E501
    held, level, tail, when = DISCLOSED.get(rule, (0, 0, 0, ""))
    if n >= held:
        return ""
    return (
        f"the {rule} at n = {n:,} reaches {level:g} alpha {when} ({tail:g} alpha / 8 in a family of"
        " eight)"
    )


def undecidable(x: np.ndarray, few: str) -> Ruling | None:
    """The ruling on units without a spread: too few of them, or all alike."""
    if len(x) > 1 and np.ptp(x) > 1e-12 * np.abs(x).max():
        return None
    return Ruling(
        **UNDECIDED,
        estimate=float(np.mean(x)),
        spread=0.0,
        n=len(x),
        obstacle=alike(x) if len(x) > 1 else few,
    )


def alike(x: np.ndarray) -> str:
    """Whether all values are the same one."""
    return "all effects are exactly 0" if x[0] == 0 else "all effects are the same"


def second_group(s: np.ndarray, k: int, winsorised: np.ndarray, trim: float) -> str:
    """Why the standard error of a trimmed mean can't be trusted: of sorted effects, a share of
    other ones may be just over or just under what is trimmed, and the winsorised spread sees none
    of them.

    The spread winsorised two standard errors of that share earlier, on either side, is then more
    than 1.5 times as large.
    """
    n = len(s)
    early = max(0, k - int(2 * math.sqrt(trim * (1 - trim) * n)))
    sides = (s[early], s[n - k - 1]), (s[k], s[n - early - 1])
    wider = max(
        float(np.clip(s, *side).std(ddof=1)) if np.isfinite(side).all() else math.inf
        for side in sides
    )
    if wider <= 1.5 * float(winsorised.std(ddof=1)):
        return ""
    return (
        "a second group of images begins at the trimming point, so that chance says whether it"
        " counts; judge the two groups by themselves"
    )
