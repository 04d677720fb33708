"""Rank correlation in one place: Spearman's rho of rows, with 0 if one side is constant."""

from __future__ import annotations

import numpy as np
from scipy import stats


def ranked(values: np.ndarray) -> np.ndarray:
    """Ranks over the last axis, centred and scaled to length 1. The dot product of two of them is
    Spearman's rho.

    Ties share their mean rank. A constant row is 0 everywhere, and so is its rho with any other.

    >>> a, b = ranked(np.array([1.0, 2.0, 9.0])), ranked(np.array([[5.0, 6.0, 7.0], [3.0, 2.0,
    ...     1.0], [4.0, 4.0, 4.0]]))
    >>> [round(float(rho), 12) for rho in b @ a]
    [1.0, -1.0, 0.0]
    """
    ranks = stats.rankdata(values, axis=-1)
    centred = ranks - ranks.mean(-1, keepdims=True)
    size = np.sqrt((centred**2).sum(-1, keepdims=True))
    return np.divide(centred, size, out=np.zeros_like(centred), where=size > 0)
