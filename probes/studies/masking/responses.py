"""How a network responds to masks: the effect of guidance beyond a mask's size, and whether masks
with a meaning respond alike.

The table of responses has a row per input and mask: ``input, kind, variable, measure, q, alpha,
draw, module, top1, top5``. The effect of a mask's size is the mean of the random masks of that q
and alpha on that input; the rest is its excess. Random masks are the null: they have the size and
no meaning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from probes import seeds
from probes.errors import BadInput
from probes.ranks import ranked

SETTING = ["q", "alpha"]
FEWEST = 20
"""The smallest number of random masks that can show chance similarity."""


def beside(table: pd.DataFrame) -> pd.DataFrame:
    """Every guided mask, compared with the random and the matched masks of its size on its input.

    The columns are ``input, variable, measure, q, alpha, module, top1``; then ``random, low, high``
    (mean and 90 % band of the random masks), ``excess`` (accuracy minus that of the random masks),
    ``p`` (share of the random masks, counting the mask itself, with no more accuracy); and
    ``matched, matched_low, matched_high, p_matched`` if there are matched masks.
    """
    by = ["input", *SETTING, "module"]
    guided = table[table["kind"] == "guided"]
    random = table[table["kind"] == "random"].groupby(by)["top1"]
    bands = random.agg(
        random="mean", low=lambda x: x.quantile(0.05), high=lambda x: x.quantile(0.95)
    ).reset_index()
    found = guided[["input", "variable", "measure", *SETTING, "module", "top1"]].merge(bands, on=by)
    found["excess"] = found["top1"] - found["random"]
    found["p"] = _shares(found, {key: values.to_numpy() for key, values in random}, by)
    same = [*by, "variable", "measure"]
    matched = table[table["kind"] == "matched"].groupby(same)["top1"]
    some = matched.agg(
        matched="mean",
        matched_low=lambda x: x.quantile(0.05),
        matched_high=lambda x: x.quantile(0.95),
    ).reset_index()
    found["p_matched"] = _shares(found, {key: values.to_numpy() for key, values in matched}, same)
    return found.merge(some, on=same, how="left")


def _shares(found: pd.DataFrame, drawn: Mapping[Any, np.ndarray], by: list[str]) -> list[float]:
    """The share of drawn masks, counting the mask itself, with no more accuracy than the mask. NaN
    if none was drawn.
    """
    shares = []
    for key, top1 in zip(zip(*(found[c] for c in by), strict=True), found["top1"], strict=True):
        values = drawn.get(key)
        shares.append(
            np.nan
            if values is None
            else (1 + int((values <= top1 + 1e-9).sum())) / (1 + len(values))
        )
    return shares


def response_similarity(
    table: pd.DataFrame, clean: str = "clean", permutations: int = 999
) -> pd.DataFrame:
    """Whether masks do the same on an input and on clean images: as published, and without the
    effect of a mask's size.

    There is a row per measure and input. ``published`` is Spearman's rho between a mask variable's
    accuracies on clean images and on the input, over its settings (q and alpha, full and inverse),
    averaged over variables. ``rho`` is the same for the excesses of all guided masks together.
    ``p`` is the one-sided share of permutations of the variables with a rho at least as large.
    """
    whole = table[table["module"] == ""]
    own = beside(whole)
    rows = []
    for measure in dict.fromkeys(own["measure"]):
        wide = own[own["measure"] == measure].pivot_table(
            index="variable", columns=["input", *SETTING], values="excess"
        )
        raw = whole[
            whole["kind"].isin(["guided", "full", "inverse"]) & (whole["measure"] == measure)
        ]
        accuracies = raw.pivot_table(
            index="variable", columns=["input", "kind", *SETTING], values="top1"
        )
        for name in (n for n in dict.fromkeys(own["input"]) if n != clean):
            both = wide[name].dropna().index.intersection(wide[clean].dropna().index)
            a, b = (
                ranked(wide.loc[both, n].to_numpy().ravel()).reshape(len(both), -1)
                for n in (clean, name)
            )
            pairs, places = (
                a @ b.T,
                np.arange(len(both)),
            )  # a permutation of variables moves whole rows of ranks
            rho = float(np.trace(pairs))
            drawn = np.stack(
                [seeds.permutation(len(b), "alike", measure, name, i) for i in range(permutations)]
            )
            p = (1 + int((pairs[places, drawn].sum(1) >= rho - 1e-12).sum())) / (1 + permutations)
            published = [
                np.vdot(*(ranked(accuracies.loc[v, n].to_numpy()) for n in (clean, name)))
                for v in both
            ]
            rows.append((measure, name, len(both), float(np.mean(published)), rho, p))
    return pd.DataFrame(rows, columns=["measure", "input", "variables", "published", "rho", "p"])


@dataclasses.dataclass(frozen=True)
class Tree:
    """Masks clustered by their responses: rho between masks, its linkage, and the similarity of
    random masks of the same sizes.

    ``names`` are measure and variable of each mask. ``linkage`` is scipy's average linkage on 1 -
    rho. ``cut`` is the 5 % quantile of the distances between random masks. ``p`` of a pair is the
    share of random masks that are at least as similar to the first mask as the second mask is.
    ``features`` is the number of responses of a mask. ``published`` is the mean size of rho between
    the masks' accuracies themselves.
    """

    names: tuple[tuple[str, str], ...]
    rho: np.ndarray
    p: np.ndarray
    linkage: np.ndarray
    cut: float
    features: int
    published: float

    @property
    def mean(self) -> float:
        """The mean rho between two masks."""
        return float(self.rho[np.triu_indices(len(self.rho), 1)].mean())

    @property
    def clusters(self) -> np.ndarray:
        """The cluster of each mask, from 1, below the cut."""
        return hierarchy.fcluster(self.linkage, self.cut, "distance")


def tree(table: pd.DataFrame) -> Tree:
    """Cluster masks by their excesses over inputs and settings. Opposite responses are far apart,
    not near.

    Half of the random masks estimate the effect of mask size; the other half are the null
    distribution. Raises BadInput for fewer than two guided masks, fewer than 20 random ones, or
    responses with fewer than three numbers.
    """
    whole = table[table["module"] == ""]
    own = beside(whole)
    wide = own.pivot_table(
        index=["measure", "variable"], columns=["input", *SETTING], values="top1"
    ).dropna()
    random = whole[whole["kind"] == "random"].pivot_table(
        index="draw", columns=["input", *SETTING], values="top1"
    )
    random = random.reindex(columns=wide.columns).dropna()
    if len(wide) < 2 or len(random) < FEWEST or wide.shape[1] < 3:
        raise BadInput(
            f"{len(wide)} guided and {len(random)} random masks with {wide.shape[1]} responses"
            f" each: two guided, {FEWEST} random and three responses at least, to tell which are"
            " alike"
        )
    size, random = (
        random.iloc[::2].mean(),
        random.iloc[1::2],
    )  # those that are compared have no part in what is subtracted
    every, n_guided = (
        _rhos(np.concatenate([(wide - size).to_numpy(), (random - size).to_numpy()])),
        len(wide),
    )
    plain = _rhos(wide.to_numpy())
    rho, null, among = (
        every[:n_guided, :n_guided],
        every[:n_guided, n_guided:],
        every[n_guided:, n_guided:],
    )
    p = (1 + (null[:, None] >= rho[..., None] - 1e-12).sum(2)) / (1 + len(random))
    distance = np.clip(1 - rho, 0, None)
    np.fill_diagonal(distance, 0)
    linkage = hierarchy.linkage(
        squareform((distance + distance.T) / 2, checks=False), "average", optimal_ordering=True
    )
    cut = float(np.quantile(1 - among[np.triu_indices(len(among), 1)], 0.05))
    published = float(np.abs(plain[np.triu_indices(n_guided, 1)]).mean())
    return Tree(tuple(wide.index), rho, p, linkage, cut, wide.shape[1], published)


def _rhos(rows: np.ndarray) -> np.ndarray:
    """Spearman's rho between rows; 0 for a constant row."""
    units = ranked(rows)
    return units @ units.T


def top_class_overlap(
    topk: np.ndarray, index: np.ndarray, *name: str | int, resamples: int = 999
) -> dict[str, float | str]:
    """Are the classes whose units are most sensitive predicted more often than other classes?

    ``topk`` are the predicted classes of each image, best first, (images, at most five); ``index``
    has one number per class. With 100 classes or more the value is the Jaccard index of the five
    classes with the largest index and the five predicted ones. With fewer it is how often the class
    with the largest index is predicted first. ``chance`` is the mean over random sets of classes,
    ``p`` the share of these sets with a value at least as large; ``low`` and ``high`` are a 90 %
    interval over images (Student's t).

    >>> topk, index = np.array([[0], [0], [1], [2]]), np.array([0.9, 0.1, 0.0])
    >>> top_class_overlap(topk, index, "example")["value"]
    0.5
    """
    classes = len(index)
    k = 5 if classes >= 100 else 1
    values = _overlap(topk[:, :k], np.argsort(-np.nan_to_num(index), kind="stable")[:k])
    null = np.array(
        [
            _overlap(topk[:, :k], seeds.permutation(classes, "classes", *name, i)[:k]).mean()
            for i in range(resamples)
        ]
    )
    mean, half = (
        values.mean(),
        (
            stats.t.isf(0.05, max(len(values) - 1, 1)) * stats.sem(values)
            if len(values) > 1
            else np.nan
        ),
    )
    p = (1 + int((null >= mean - 1e-12).sum())) / (1 + resamples)
    what = "Jaccard of five" if k == 5 else "top-1"
    return {
        "what": what,
        "value": float(mean),
        "low": float(mean - half),
        "high": float(mean + half),
        "chance": float(null.mean()),
        "p": p,
    }


def _overlap(topk: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    shared = np.isin(topk, chosen).sum(1)
    return shared / (topk.shape[1] + len(chosen) - shared)


def ties(index: np.ndarray, q: float) -> float:
    """The share of units that the published rule scales: indices are cut to 0 and 1, and all units
    at or beyond the quantile ``q`` are taken (trap S10).

    >>> ties(np.array([0.0, 0.0, 0.0, 0.5]), 0.5)  # "the top half" is all of them
    1.0
    """
    values = np.nan_to_num(index).clip(0, 1).ravel()
    return float((values >= np.quantile(values, q)).mean())
