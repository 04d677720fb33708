"""What a sample can't show, and what is said of it beside a verdict: levels that a rule does not
hold, units that are rare, and what one of them would do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from probes.judge.ruling import Ruling
from probes.judge.verdict import Verdict
from probes.judge.wording import counted, percent

DISCLOSED: dict[str, tuple[float, float, float, str]] = {
    "trimmed mean": (1000, 1.325, 2.4, "with skewed or heavy-tailed effects"),
    "mean": (math.inf, 1.42, 4.28, "with very skewed effects"),
    "two-way": (math.inf, 1.73, 2.64, "with skewed draws"),
    "signed rank": (math.inf, 1.62, 3.48, "with skewed runs"),
    "typical group": (math.inf, 1.78, 4.44, "with skewed groups, or a distance that is small"),
}
"""By rule: units from which alpha is held (within 1.2), the worst level measured below that, in
units of alpha and, in a family of eight, of alpha / 8, and on what. From
``reports/calibration/calibration.csv``; the score test and the typical draw hold alpha. What is
rare enough to be missed by a sample has no worst level: it is told as :func:`share_unseen`."""
BOUNDED = ("mean", "two-way", "typical draw")
"""Rules whose number a few units can move without one of them being seen."""


def disclosed(rule: str, n: int) -> str:
    """What is known of a rule's false verdicts at ``n`` units beyond alpha; empty where alpha is
    held.

    >>> "the trimmed mean at n = 300 reaches" in disclosed("trimmed mean", 300)
    True
    """
    held, level, tail, when = DISCLOSED.get(rule, (0, 0, 0, ""))
    if n >= held:
        return ""
    return (
        f"Error rate: the {rule} at n = {n:,} reaches {level:g} alpha {when} ({tail:g} alpha / 8 in"
        " a family of eight)"
    )


def disclosures(members: Iterable[Verdict], alpha: float = 0.05) -> list[str]:
    """What is said of verdicts beside them, a sentence each, each once: what calibration knows of
    their rules at their numbers of units, what share of units may behave otherwise, and how many
    images would undo the least certain one.
    """
    members = list(members)
    leaves = [leaf for member in members for leaf in member.leaves]
    told = [disclosed(leaf.rule, leaf.n) for leaf in leaves]
    for leaf in leaves:
        if leaf.rule in BOUNDED:
            draws = leaf.notes.get("draws")
            n, what = (draws, "draw") if draws else (leaf.n, leaf.unit)
            told.append(
                f"Not seen: {counted(n, what)} do not exclude that up to"
                f" {percent(share_unseen(n, alpha))} of all {what}s behave otherwise"
            )
    least = [v for leaf in leaves if (v := leaf.notes.get("fragility")) is not None]
    if least:
        one = min(least)
        rests = (
            ": **a verdict rests on no image being extreme**"
            if fragile(one, alpha / len(members))
            else ""
        )
        told.append(
            f"Fragility: {counted(one, 'further image')} at the bound would undo the least certain"
            f" verdict{rests}"
        )
    return list(dict.fromkeys(filter(None, told)))


MOST = 1000
"""Further images beyond which a verdict is not fragile, and nobody counts them."""


def share_unseen(n: int, alpha: float = 0.05) -> float:
    """The share of all units that may behave otherwise than each of n units that were seen: 1 -
    alpha^(1/n), the exact one-sided bound where none of n does (about 3/n). All where n is 0.

    >>> round(share_unseen(20), 3), round(share_unseen(1000), 4)
    (0.139, 0.003)
    """
    return 1 - alpha ** (1 / n) if n else 1.0


def fragility(
    x: np.ndarray, run: Callable[..., Ruling], delta: float, alpha: float, side: int
) -> int | None:
    """How many further images at the bound (-1 or 1) would undo a verdict on bounded effects.

    ``side`` is 1 where the effect was found above delta, -1 below; None where more than 1,000 are
    needed, and for effects of images and draws.

    >>> from probes.judge.rules import mean
    >>> x = np.linspace(0.015, 0.025, 300)
    >>> fragility(x, mean, 0.01, 0.05, 1)
    1
    """
    if x.ndim > 1:
        return None

    def stands(m: int) -> bool:
        found = run(np.concatenate([x, np.full(m, -float(side))]), delta, alpha)
        return (found.p_up if side > 0 else found.p_down) <= alpha

    low, high = 0, 1
    while stands(high):
        low, high = high, 2 * high
        if low > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if stands(middle) else (low, middle)
    return high


def fragile(undone: int | None, alpha: float) -> bool:
    """Whether a verdict rests on no image being extreme: fewer than -log(alpha) of them would undo
    it (3 at .05, 6 in a family of eight), as many as chance hides with probability alpha.

    >>> fragile(2, 0.05), fragile(3, 0.05), fragile(5, 0.05 / 8)
    (True, False, True)
    """
    return undone is not None and undone < math.ceil(-math.log(alpha) - 0.01)
