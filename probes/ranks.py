"""Rank correlation in one place: Spearman's rho of rows, with 0 if one side is constant."""

from __future__ import annotations

import numpy as np
from scipy import stats


def ranked(values: np.ndarray, axis: int = -1, known: np.ndarray | None = None) -> np.ndarray:
    """Ranks along an axis, centred and scaled to length 1. The dot product of two of them is
    Spearman's rho.

    Ties share their mean rank. A constant row is 0 everywhere, and so is its rho with any other.
    Only values that are ``known`` (default: all) have ranks; the others are 0.

    >>> a, b = ranked(np.array([1.0, 2.0, 9.0])), ranked(np.array([[5.0, 6.0, 7.0], [3.0, 2.0,
    ...     1.0], [4.0, 4.0, 4.0]]))
    >>> [round(float(rho), 12) for rho in b @ a]
    [1.0, -1.0, 0.0]
    """
    if known is None:
        ranks = stats.rankdata(values, axis=axis)
        centred = ranks - ranks.mean(axis, keepdims=True)
    else:
        known = np.broadcast_to(known, values.shape)
        ranks = stats.rankdata(np.where(known, values, np.nan), axis=axis, nan_policy="omit")
        count = np.maximum(known.sum(axis, keepdims=True), 1)
        centred = np.where(
            known, ranks - np.where(known, ranks, 0).sum(axis, keepdims=True) / count, 0
        )
    size = np.sqrt((centred**2).sum(axis, keepdims=True))
    return np.divide(centred, size, out=np.zeros_like(centred), where=size > 0)
