"""Calibration: numbers that only many images have, as a table whose rows are disjoint groups of
images.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from scipy import stats

from probes import seeds, table
from probes.errors import BadInput
from probes.judge.lazytable import Derived, LazyTable

BINS = 15
"""Bins of confidence, of equal width (Guo et al. 2017)."""
FEWEST = 20
"""The least number of images of a group: an error of calibration of fewer is mostly noise."""


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """The expected calibration error: the distance of mean confidence and accuracy in bins of equal
    width, averaged with the images of each bin (Naeini et al. 2015, Guo et al. 2017).

    It is above 0 also for a calibrated network, the more so the fewer images there are; compare
    groups of one size only. A bin holds its lower end, and the last one its upper end too.

    >>> calibration_error(np.array([0.9, 0.9, 0.3, 0.3]), np.array([1, 1, 0, 1]))
    0.15
    """
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(which, correct - confidence, minlength=bins)
    return round(float(np.abs(gaps).sum() / len(confidence)), 12)


def area_under_roc(confidence: np.ndarray, correct: np.ndarray) -> float:
    """The chance that a right answer is given with more confidence than a wrong one, ties counting
    half (Mann and Whitney 1947). NaN where all answers are right, or all wrong.

    >>> area_under_roc(np.array([0.9, 0.8, 0.8, 0.1]), np.array([1, 1, 0, 0]))
    0.875
    """
    right = correct > 0.5
    many, few = int(right.sum()), int((~right).sum())
    if not many or not few:
        return float("nan")
    ranks = stats.rankdata(confidence)
    return float((ranks[right].sum() - many * (many + 1) / 2) / (many * few))


class Calibrated(Derived):
    """The table of :func:`calibration`, computed when it is first looked at."""

    def __init__(self, source: LazyTable, groups: int, bins: int) -> None:
        if groups < 2 or source.design.images < FEWEST * groups:
            raise BadInput(
                f"calibration(groups={groups}) of {source.design.images} images: two groups or"
                f" more, of {FEWEST} images or more each"
            )
        told = (f"{groups} disjoint groups, {bins} bins",)
        part = (*source.design.part, ("calibration", told))
        super().__init__(source, dataclasses.replace(source.design, part=part))
        self.groups, self.bins = groups, bins

    def compute(self) -> pd.DataFrame:
        """A row per group of images (in the column ``image``), draw, level and site."""
        frame = self.source.frame
        for name in ("confidence", "correct"):
            table.metric(name, frame)
        group = group_of(frame, self.groups)
        keys = [name for name in table.keys_of(frame) if name != "image"]
        clusters = table.clusters_of(frame)
        keys = [name for name in keys if name not in clusters]
        found = []
        for values, part in frame.assign(_group=group).groupby(
            [*keys, "_group"], observed=True, sort=False
        ):
            confidence = part["confidence"].to_numpy(float)
            correct = part["correct"].to_numpy(float)
            found.append(
                (
                    *values,
                    calibration_error(confidence, correct, self.bins),
                    area_under_roc(confidence, correct),
                )
            )
        out = pd.DataFrame(found, columns=[*keys, "image", "ece", "auroc"])
        for name in keys:
            out[name] = out[name].astype(frame[name].dtype)
        kept = {k: v for k, v in frame.attrs.items() if k not in (table.ASKED, "clusters")}
        out.attrs = kept | {"groups": True}
        if none := int(out["auroc"].isna().sum()):
            out = out.drop(columns="auroc")
            out.attrs["lacks"] = {
                **kept.get("lacks", {}),
                "auroc": f"{none} of {len(found)} groups have right answers only, or wrong ones"
                " only: take fewer groups",
            }
        return table.check(out)


def group_of(frame: pd.DataFrame, groups: int) -> pd.Series:
    """The group of each row by its image: sizes differ by one at most, drawn by the dataset's name
    from the images that there are, the same for all networks, draws and levels.
    """
    ids = np.sort(frame["image"].unique())
    name = str(frame["dataset"].iloc[0])
    order = seeds.permutation(len(ids), "calibration", name, len(ids))
    place = np.empty(len(ids), int)
    place[order] = np.arange(len(ids)) % groups
    return frame["image"].map(dict(zip(ids, place, strict=True)))


def calibration(asked: LazyTable, groups: int = 20, bins: int = BINS) -> Calibrated:
    """Calibration as a table for claims, of the table of ``lab.sweep(certainty, ...)``: ``ece``
    (:func:`calibration_error`) and ``auroc`` of confidence (:func:`area_under_roc`), a row for each
    of ``groups`` disjoint random groups of images.

    Judge it with ``unit="image group"``. ``auroc`` is there if each group has right and wrong
    answers at each level. Raises BadInput for groups of fewer than 20 images.

    >>> from probes import Lab, certainty, gaussian, rises
    >>> lab = Lab("resnet20@mnist5k", images=400, quiet=True)
    >>> table = calibration(lab.sweep(certainty, under=gaussian(0, 0.5)), groups=20)
    >>> rises(table, "ece", sesoi="1 point", unit="image group").overall
    'supported'
    """
    return Calibrated(asked, groups, bins)
