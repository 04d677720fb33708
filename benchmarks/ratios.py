"""The median of ratios of paired times, and the limit that it is held to."""

import dataclasses

import numpy as np
from scipy import stats

SLACK = 1.1


@dataclasses.dataclass(frozen=True)
class Ratio:
    """The median of the ratios of paired times, its 90 % interval (order statistics), and the limit
    it is held to.
    """

    name: str
    median: float
    low: float
    high: float
    limit: float | None
    seconds: float
    note: str = ""

    @property
    def holds(self):
        """Whether the limit is kept: it is passed only where the whole interval lies beyond it by
        10 %.
        """
        return self.limit is None or self.low <= SLACK * self.limit


def ratio(name, times, around, limit=None, note=""):
    """Each time of A over the mean of the times of B just before and just after it: ``around`` has
    one more.
    """
    before, after = np.array(around[:-1]), np.array(around[1:])
    pairs = np.array(times) / ((before + after) / 2)
    interval = stats.quantile_test(pairs, p=0.5).confidence_interval(0.9)
    return Ratio(
        name,
        float(np.median(pairs)),
        float(interval.low),
        float(interval.high),
        limit,
        float(np.mean(around)),
        note,
    )
