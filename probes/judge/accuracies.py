"""Shares of right answers, and what is lost of them, in percent and points with their intervals:
for tables of studies.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from probes.judge import rules


def accuracy_of(hits: np.ndarray) -> tuple[float, float, float]:
    """A share in percent with Wilson's 90 % interval. It is wider than necessary if the values are
    means over draws.

    >>> [round(v, 1) for v in accuracy_of(np.array([1, 1, 1, 0]))]
    [75.0, 35.6, 94.2]
    """
    found = stats.binomtest(round(hits.sum()), len(hits)).proportion_ci(0.9, "wilson")
    return 100 * float(hits.mean()), 100 * float(found.low), 100 * float(found.high)


def points_lost(clean: np.ndarray, perturbed: np.ndarray) -> tuple[float, float, float]:
    """How many points fewer are right, of the same images, with the 90 % interval: of the score
    test for one draw, of the mean for means over draws.

    >>> points_lost(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0]))[0]
    25.0
    """
    lost = np.asarray(clean, float) - np.asarray(perturbed, float)
    ruling = (rules.score if np.isin(lost, (-1, 0, 1)).all() else rules.mean)(lost, 0.0)
    return 100 * float(lost.mean()), 100 * float(ruling.low), 100 * float(ruling.high)
