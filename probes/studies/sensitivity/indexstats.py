"""What maps of indices say together: whether they identify their variable, and whether measures
agree across the units of a module.

Channels are the unit: pixels of a map and variables of a channel are nested in it. Folds never
split a channel, labels are permuted within channels, and intervals come from resampling channels.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from threadpoolctl import threadpool_limits

from probes import seeds
from probes.errors import BadInput
from probes.ranks import ranked

COMPONENTS = 30
"""The number of principal components of the maps for the discriminant analysis: fewer than the maps
in a fold.
"""


@dataclasses.dataclass(frozen=True)
class Classification:
    """How well maps identify their variable: ``accuracy`` over folds and repeats, ``null``
    accuracies for permuted labels, and the p-value.

    ``confusion`` has a row per true variable; each row sums to 1. ``channels`` were used,
    ``left_out`` had dead units.
    """

    variables: tuple[str, ...]
    accuracy: float
    null: np.ndarray
    p: float
    confusion: np.ndarray
    channels: int
    left_out: int

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return 1 / len(self.variables)


def classify_maps(
    maps: np.ndarray,
    variables: tuple[str, ...],
    *name: str | int,
    folds: int = 5,
    repeats: int = 5,
    permutations: int = 199,
) -> Classification:
    """Classify index maps (variables, channels, H, W) by linear discriminant analysis: which
    variable does a channel's map belong to?

    The channels are split at random into ``folds``, ``repeats`` times. The maps of a fold are
    classified by an analysis of the other folds. The null permutes the variables' labels within
    each channel, with the folds of the first repeat. p is the share of permutations, counting the
    observed order, with an accuracy at least as high. Channels with a dead unit (NaN) are left out.
    Raises BadInput for fewer than two variables and for fewer channels than folds.

    >>> rng = np.random.Generator(np.random.Philox(0))
    >>> maps = rng.normal(size=(2, 20, 3, 3)) + np.array([0, 4])[:, None, None, None]
    >>> found = classify_maps(maps, ("a", "b"), "example", permutations=19)
    >>> found.accuracy > 0.9, found.p
    (True, 0.05)
    """
    if maps.ndim != 4 or len(maps) != len(variables) or len(variables) < 2:
        raise BadInput(
            f"maps of shape {maps.shape} of {len(variables)} variables: (variables, channels, H,"
            " W), two variables at least"
        )
    whole = np.isfinite(maps).all((0, 2, 3))
    flat = maps[:, whole].reshape(len(maps), int(whole.sum()), -1)
    channels = flat.shape[1]
    if channels < folds:
        raise BadInput(
            f"{channels} channels without dead units for {folds} folds: a fold needs a channel at"
            " least"
        )
    from sklearn import config_context
    from sklearn.metrics import confusion_matrix

    labels = np.repeat(np.arange(len(maps))[:, None], channels, 1)
    parts = [
        np.array_split(seeds.permutation(channels, "folds", *name, r), folds)
        for r in range(repeats)
    ]
    null = np.empty(permutations)
    # thousands of small fits: a second thread costs more than it saves, and so do checks
    with (
        threadpool_limits(1),
        config_context(assume_finite=True, skip_parameter_validation=True),
    ):
        ready = [_projected(flat, part) for part in parts]
        predicted = [_predicted(folds_of, labels) for folds_of in ready]
        for i in range(permutations):
            mixed = np.stack(
                [seeds.permutation(len(maps), "labels", *name, i, c) for c in range(channels)], 1
            )
            null[i] = (_predicted(ready[0], mixed) == mixed).mean()
    hits = [float((n == labels).mean()) for n in predicted]
    p = (1 + int((null >= hits[0]).sum())) / (1 + permutations)
    table = np.mean(
        [confusion_matrix(labels.ravel(), n.ravel(), normalize="true") for n in predicted], 0
    )
    return Classification(
        variables, float(np.mean(hits)), null, p, table, channels, int((~whole).sum())
    )


@dataclasses.dataclass(frozen=True)
class _Fold:
    """A fold of channels: the held-out channels, the others, and the principal components of the
    maps of both.
    """

    held: np.ndarray
    others: np.ndarray
    fitted: np.ndarray
    tested: np.ndarray


def _projected(flat: np.ndarray, folds: list[np.ndarray]) -> list[_Fold]:
    """The principal components of each fold. They do not depend on labels, so they are computed
    once for all permutations.
    """
    from sklearn.decomposition import PCA

    found = []
    for held in folds:
        others = np.setdiff1d(np.arange(flat.shape[1]), held)
        x = flat[:, others].reshape(-1, flat.shape[2])
        pca = PCA(min(COMPONENTS, x.shape[1], len(x) - 1), svd_solver="full")
        found.append(
            _Fold(
                held,
                others,
                pca.fit_transform(x),
                pca.transform(flat[:, held].reshape(-1, flat.shape[2])),
            )
        )
    return found


def _predicted(folds: list[_Fold], labels: np.ndarray) -> np.ndarray:
    """The predicted label (variables, channels) of each map, by an analysis of the channels of the
    other folds.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    out = np.empty_like(labels)
    for fold in folds:
        analysis = LinearDiscriminantAnalysis().fit(fold.fitted, labels[:, fold.others].ravel())
        out[:, fold.held] = analysis.predict(fold.tested).reshape(len(labels), -1)
    return out


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Spearman's rho across channels, pixel by pixel: ``mean`` and ``std`` over pixels and the 90 %
    interval of the mean.

    Each array is (variables of the first, variables of the second). ``pixels`` counts the pixels
    with enough channels, ``channels`` the channels of the module.
    """

    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray
    pixels: int
    channels: int


def agree(
    first: np.ndarray, second: np.ndarray, *name: str | int, resamples: int = 200
) -> Agreement:
    """Whether two sets of index maps, (variables, channels, H, W) each, rank the channels alike.

    At every pixel each variable of the first set is rank-correlated with each variable of the
    second, across channels. A channel is left out at a pixel where its unit is dead (NaN). Pixels
    with fewer than 5 channels are left out. The interval resamples channels with replacement
    (percentiles of 200 resamples). Raises BadInput for maps of other shapes and for fewer than 5
    channels.
    """
    if first.ndim != 4 or first.shape[1:] != second.shape[1:] or first.shape[1] < 5:
        raise BadInput(
            f"maps of shapes {first.shape} and {second.shape}: (variables, channels, H, W), the"
            " same units, 5 channels"
        )
    a, b = (m.reshape(*m.shape[:2], -1) for m in (first, second))
    channels = a.shape[1]
    rho = _rho(a, b)
    drawn = seeds.uniform(resamples * channels, "channels", *name).reshape(resamples, channels)
    means = np.stack(
        [np.nanmean(_rho(a[:, rows], b[:, rows]), 2) for rows in (drawn * channels).astype(int)]
    )
    low, high = np.nanquantile(means, (0.05, 0.95), 0)
    pixels = int(np.isfinite(rho).any((0, 1)).sum())
    return Agreement(np.nanmean(rho, 2), np.nanstd(rho, 2), low, high, pixels, channels)


def _rho(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rank correlations across channels: (variables, channels, pixels) twice -> (variables,
    variables, pixels). NaN for fewer than 5 channels.
    """
    known = np.isfinite(a).all(0) & np.isfinite(b).all(0)
    first, second = (ranked(values, 1, known) for values in (a, b))
    return np.where(known.sum(0) >= 5, np.einsum("icp,jcp->ijp", first, second), np.nan)


@dataclasses.dataclass(frozen=True)
class MapSimilarity:
    """How similar two maps of the same channel are, one number per channel: ``rho``, ``difference``
    and their p-values.

    ``p`` and ``difference_p`` are the share of channels, counting the channel itself, whose second
    maps are at least as similar to its first maps.
    """

    rho: np.ndarray
    p: np.ndarray
    difference: np.ndarray
    difference_p: np.ndarray


def map_similarity(first: np.ndarray, second: np.ndarray) -> MapSimilarity:
    """Whether index maps of the same channels, (variables, channels, H, W) twice, are more similar
    than those of different channels.

    ``rho`` is Spearman's rho over places between a variable's two maps, averaged over variables.
    ``difference`` is the mean absolute difference between the two matrices of rho (over places)
    between variables. A constant map and a dead unit (NaN, taken as 0) carry no information: rho is
    0. Raises BadInput for maps of other shapes, fewer than two channels or fewer than three places.
    """
    if (
        first.ndim != 4
        or first.shape != second.shape
        or first.shape[1] < 2
        or first.shape[2] * first.shape[3] < 3
    ):
        raise BadInput(
            f"maps of shapes {first.shape} and {second.shape}: (variables, channels, H, W), the"
            " same units, two channels and three places at least"
        )
    a, b = (ranked(np.nan_to_num(m).reshape(*m.shape[:2], -1)) for m in (first, second))
    across = np.einsum("vcp,vdp->cd", a, b) / len(first)
    inner = [np.einsum("vcp,wcp->cvw", m, m) for m in (a, b)]
    off = ~np.eye(len(first), dtype=bool)
    apart = (
        np.abs(inner[0][:, None] - inner[1][None])[..., off].mean(2)
        if off.any()
        else np.zeros_like(across)
    )
    own, own_apart = np.diag(across), np.diag(apart)
    p = (across >= own[:, None] - 1e-12).mean(1)
    return MapSimilarity(own, p, own_apart, (apart <= own_apart[:, None] + 1e-12).mean(1))
