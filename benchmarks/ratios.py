"""The median of ratios of paired times, and the limit that it is held to."""

import dataclasses

import numpy as np
from scipy import stats


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
    slack: float = 0.0

    @property
    def holds(self):
        """Whether the limit is kept. It is broken if the whole interval lies beyond it, with the
        share ``slack`` that a benchmark may declare.
        """
        return self.limit is None or self.low <= (1 + self.slack) * self.limit

    @property
    def at_most(self):
        """The limit in words."""
        if self.limit is None:
            return ""
        return f"{self.limit:g}{f' + {self.slack:.0%}' if self.slack else ''}"


def ratio(name, times, around, limit=None, note="", slack=0.0):
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
        slack,
    )
