"""Contrast: how consistently an augmentation alone moves each unit, from paired differences, one of
each image.

An image is the unit: draws of an augmentation's parameters are averaged within the image first,
else n would count draws. With d = f(augmented) - f(clean) of an image,

    signed-rank share    R+ / (R+ + R-), positive differences' share of the ranks of abs(d); zeros
    split evenly rank-biserial        (R+ - R-) / (R+ + R-), which is twice the share less 1
    Kerby 2014 point-biserial       (m1 - m0) / (2 s), s over clean and augmented values together
    a distance in spreads, not a consistency
"""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np
from scipy import stats

from probes.errors import BadInput
from probes.measure.indices import FLOOR

FEWEST = 6
"""With fewer images the smallest two-sided p-value is above .03."""
TOGETHER = 1 << 22
"""The number of differences that are ranked at a time."""


@dataclasses.dataclass(frozen=True)
class Contrast:
    """Per unit (each array has shape (units,)): two effect sizes and the two-sided p-value of
    Wilcoxon's test; NaN for a dead unit.

    A unit that no image moves has a share of .5 and p = 1. A unit is dead if its variance over
    clean and augmented images is at most 1e-8 of the mean over units.
    """

    images: int
    share: np.ndarray
    point_biserial: np.ndarray
    p: np.ndarray

    @property
    def rank_biserial(self) -> np.ndarray:
        """Between -1 (every image moves the unit down) and 1."""
        return 2 * self.share - 1

    @property
    def dead(self) -> np.ndarray:
        """The mask of units without a variance."""
        return np.isnan(self.p)

    @cached_property
    def adjusted(self) -> np.ndarray:
        """P-values after Benjamini and Yekutieli (2001), over the units that are not dead.

        Among the units with ``adjusted <= q`` a share of at most q are false discoveries, whatever
        the dependence between units.
        """
        out = np.full(len(self.p), np.nan)
        out[~self.dead] = stats.false_discovery_control(self.p[~self.dead], method="by")
        return out

    def beside(self, other: Contrast) -> Contrast:
        """These units followed by others of the same images."""
        return Contrast(
            self.images, *(np.concatenate([getattr(self, f), getattr(other, f)]) for f in FIELDS)
        )


FIELDS = ("share", "point_biserial", "p")


def contrast(clean: np.ndarray, augmented: np.ndarray) -> Contrast:
    """The contrast of every unit. ``clean`` and ``augmented`` are (images, units), already averaged
    over draws.

    Leave out images with NaN or infinity in any unit before. Raises BadInput for such values, for
    other shapes and for fewer than 6 images (the smallest two-sided p-value would be above .03).

    >>> clean = np.arange(16.0).reshape(8, 2)
    >>> found = contrast(clean, clean + [0.5, 0])
    >>> found.rank_biserial.tolist(), found.share.tolist()
    ([1.0, 0.0], [1.0, 0.5])
    """
    if clean.shape != augmented.shape or clean.ndim != 2 or len(clean) < FEWEST:
        raise BadInput(
            f"clean values {clean.shape} and augmented ones {augmented.shape}: both (images,"
            f" units), {FEWEST} images at least"
        )
    if not (np.isfinite(clean.sum()) and np.isfinite(augmented.sum())):
        raise BadInput("NaN or infinity among the values: leave those images out, and count them")
    n, units = clean.shape
    step = max(1, TOGETHER // n)
    share, point, p, variance = (np.empty(units) for _ in range(4))
    for start in range(0, units, step):
        part = slice(start, start + step)
        a, b = clean[:, part].astype(np.float64), augmented[:, part].astype(np.float64)
        share[part], p[part] = _signed_ranks(b - a)
        variance[part] = np.concatenate([a, b]).var(0)
        point[part] = (b.mean(0) - a.mean(0)) / 2
    dead = ~(variance > FLOOR * variance.mean())
    point /= np.sqrt(np.where(dead, 1, variance))
    share[dead] = point[dead] = p[dead] = np.nan
    return Contrast(n, share, point, p)


def _signed_ranks(d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For (images, units): the share of the ranks that positive differences hold, and Wilcoxon's
    two-sided p-value.
    """
    n = len(d)
    share, p = np.full(d.shape[1], 0.5), np.ones(d.shape[1])
    moved = (d != 0).any(0)
    if moved.any():
        # "greater" for the sum of positive ranks, not the smaller sum; its z gives both tails
        # without loss
        found = stats.wilcoxon(
            d[:, moved], zero_method="zsplit", method="approx", alternative="greater", axis=0
        )
        share[moved] = found.statistic / (n * (n + 1) / 2)
        p[moved] = 2 * stats.norm.sf(np.abs(found.zstatistic))  # type: ignore[attr-defined]
    return share, p
