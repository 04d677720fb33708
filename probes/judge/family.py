"""Families of verdicts: Holm twice, once towards each side, and the overall verdict over blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Outcome = Literal["supported", "refuted", "inconclusive", "mixed"]


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's (1979) adjusted p-values, in the order given; the same as ``statsmodels``
    ``multipletests(p, method="holm")``.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, float)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    out = np.empty(len(values))
    out[order] = np.minimum(1, steps)
    return out


def conjunction(p_supported: Sequence[float], p_refuted: Sequence[float]) -> tuple[float, float]:
    """The two p-values of "every part": supported when all parts are (the largest p), refuted when
    one is (Holm over parts).

    >>> conjunction([0.01, 0.04], [0.9, 0.02])
    (0.04, 0.04)
    """
    return max(p_supported), min(1.0, len(p_refuted) * min(p_refuted))


def outcomes(
    p_supported: Sequence[float], p_refuted: Sequence[float], alpha: float | Sequence[float]
) -> list[Outcome]:
    """Each member's outcome: Holm at alpha over the p-values of ``supported``, and again over those
    of ``refuted``. Members may have an alpha each, which their adjusted p is held to.

    P(any false ``supported``) <= alpha and P(any false ``refuted``) <= alpha, whatever the
    dependence.

    >>> outcomes([0.01, 0.9], [0.99, 0.02], 0.05)
    ['supported', 'refuted']
    """
    level = np.broadcast_to(np.asarray(alpha, float), len(p_supported))
    sides = zip(holm(p_supported) <= level, holm(p_refuted) <= level, strict=True)
    return ["supported" if up else "refuted" if down else "inconclusive" for up, down in sides]


def overall(p_supported: Sequence[float], p_refuted: Sequence[float], alpha: float) -> Outcome:
    """The verdict over all members: ``supported`` or ``refuted`` when each is, at alpha
    (intersection-union test).

    ``mixed`` when Holm leaves at least one of each, else ``inconclusive``.

    >>> overall([0.04, 0.04], [0.96, 0.96], 0.05)
    'supported'
    """
    if max(p_supported) <= alpha:
        return "supported"
    if max(p_refuted) <= alpha:
        return "refuted"
    each = outcomes(p_supported, p_refuted, alpha)
    return "mixed" if "supported" in each and "refuted" in each else "inconclusive"
