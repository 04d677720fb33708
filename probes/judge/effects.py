"""From a table to one effect per unit: pairing asserted, draws averaged first, nothing finer than
the unit counted.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from probes import table as tables
from probes.errors import BadInput
from probes.judge import rules
from probes.ranks import ranked
from probes.registry import unknown
from probes.table import Kind

BOTH = "image and draw"
GROUP = "image group"
UNITS = ("image", "train_seed", BOTH, GROUP)


MEANT = {
    "block": "site",
    "layer": "site",
    "module": "site",
    "stage": "site",
    "seed": "train_seed",
    "run": "train_seed",
    "model": "net",
    "network": "net",
    "sigma": "level",
    "alpha": "level",
}
"""What people call the key columns."""


def averaged(
    frame: pd.DataFrame,
    metric: str,
    unit: str,
    by: str | None,
    arm: str | None,
    pool: str | None = None,
) -> pd.DataFrame:
    """The metric, averaged over draws: a row per (arm, pool, train_seed, by, site, image), a column
    per level.

    Raises BadInput for a unit that is nested in another one, for several runs under
    ``unit="image"``, and where the same images were not measured at every level.
    """
    if unit not in UNITS:
        raise BadInput(
            f"unit {unit!r}: the units of replication are 'image', 'train_seed', {GROUP!r} for a"
            f" number that only many images have, and, where all images share the draws, {BOTH!r};"
            " pixels, channels, batches and an image's own draws are nested in it, and counting"
            " them is no evidence"
        )
    if unit == BOTH and not tables.common_draws(frame):
        raise BadInput(
            f"unit {BOTH!r}: here each image has draws of its own, which are nested in it; judge"
            " with unit='image'"
        )
    if (unit == GROUP) != tables.grouped(frame):
        whole = (
            "a row is of a group of images: judge"
            if tables.grouped(frame)
            else "a row is of one image: do not judge"
        )
        raise BadInput(f"unit {unit!r}: {whole} with unit={GROUP!r}")
    keys = tables.keys_of(frame)
    for name in filter(None, (by, arm, pool)):
        if name not in keys:
            meant = MEANT.get(name, "")
            raise unknown(
                "key column",
                name,
                keys,
                f"{name}s are told apart by {meant!r}" if meant in keys else "",
            )
    if pool and (unit != "train_seed" or by == pool or arm == pool):
        raise BadInput(
            f"pool={pool!r}: pooled are training runs, over a key column that is neither by nor arm"
        )
    index = list(
        dict.fromkeys(
            filter(
                None,
                (arm, pool, "train_seed", by, "site", "image", "draw" if unit == BOTH else None),
            )
        )
    )
    loose = [
        k
        for k in keys
        if k not in (*index, *tables.clusters_of(frame), "draw", "level", "weights")
        and frame[k].nunique() > 1
    ]
    if loose:
        raise BadInput(
            f"the table holds several values of {loose[0]!r}:"
            f" {', '.join(map(str, frame[loose[0]].unique()[:4]))}; compare two with between=(...),"
            " give by=..., or select one"
        )
    whose = list(dict.fromkeys(filter(None, ("net", "train_seed", arm, by, pool))))
    networks = frame[list(dict.fromkeys([*whose, "weights"]))].drop_duplicates()
    mixed = networks.loc[networks.duplicated(whose, keep=False), "weights"].unique()
    if len(mixed):
        raise BadInput(
            f"the table holds several values of 'weights' of one network:"
            f" {', '.join(map(str, mixed[:4]))}; compare two with between=(...), arm='weights', or"
            " select one"
        )
    runs = frame[["train_seed", *filter(None, [arm])]].drop_duplicates()
    if unit != "train_seed" and len(runs) > (frame[arm].nunique() if arm else 1):
        raise BadInput(
            f"the table holds {len(runs)} training runs: with unit={unit!r} a claim is about one"
            " checkpoint (select a seed, or judge over runs with unit='train_seed')"
        )
    if unit != "train_seed" and arm:
        index.remove("train_seed")  # two nets may have other seeds: what is paired is the image
    wide = (
        frame.groupby([*index, "level"], observed=True, sort=True)[metric]
        .mean()
        .astype(float)
        .unstack("level")
    )
    if (
        unit == BOTH and frame.loc[frame["level"] == 0, "draw"].nunique() == 1
    ):  # a clean pass has no draws: it stands for all
        wide[0.0] = (
            wide[0.0]
            .groupby(level=[n for n in wide.index.names if n != "draw"], observed=True)
            .transform("first")
        )
    if wide.isna().any(axis=None):
        lost = wide.index[wide.isna().any(axis=1)][0]
        where = ", ".join(f"{n} {v}" for n, v in zip(wide.index.names, lost, strict=True))
        raise BadInput(
            f"{metric}: not every image was measured at every level; the first without: {where}"
        )
    return wide


def clustered(frame: pd.DataFrame, cluster: str | None, unit: str) -> pd.DataFrame:
    """The table with the values of a key column, such as a patient, in the place of images: what
    is measured of the images of one is averaged, as draws are.

    Raises UnknownName for a column that the table does not have, BadInput for another unit than
    images.
    """
    if cluster is None:
        return frame
    own = tables.clusters_of(frame)
    if cluster not in own:
        raise unknown(
            "cluster",
            cluster,
            own,
            "Dataset(..., clusters={'patient': one number or name for each image}) declares some",
        )
    if unit != "image":
        raise BadInput(f"cluster={cluster!r} with unit={unit!r}: images are in clusters")
    spread = frame[["image", cluster]].drop_duplicates()
    if spread["image"].duplicated().any():
        twice = spread.loc[spread["image"].duplicated(), "image"].iloc[0]
        raise BadInput(
            f"cluster={cluster!r}: image {twice} has two values of it; an image is in one cluster"
        )
    codes = pd.factorize(frame[cluster], sort=True)[0]
    return frame.assign(image=codes)


def response(wide: pd.DataFrame, kind: Kind, level: float | None) -> pd.Series:
    """The effect of a level per row, against level 0: log-ratio or difference; the value itself
    without a level.
    """
    if level is None:
        only = wide.iloc[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(only) if kind == "ratio" else only
    clean, noisy = wide.iloc[:, 0], wide[level]
    if kind != "ratio":
        return noisy - clean
    with np.errstate(divide="ignore", invalid="ignore"):
        return pd.Series(np.log(noisy.to_numpy() / clean.to_numpy()), index=wide.index)


def per_unit(
    effect: pd.Series,
    kind: Kind,
    unit: str,
    by: str | None,
    arms: tuple[str, tuple[str, str]] | None,
) -> dict[str, pd.Series]:
    """One effect per unit for each member of the family; of two arms, the first minus the second,
    paired.

    Without ``by`` the sites of a unit are averaged. Raises BadInput where the arms were not
    measured on the same units.
    """
    arm = arms[0] if arms else None
    if unit == "train_seed":  # each run's own summary over its images comes first
        over = [n for n in effect.index.names if n != "image"]
        grouped = effect.groupby(level=over, observed=True)
        effect = (
            grouped.apply(lambda x: rules.trimmed_mean(known(x), 0).estimate)
            if kind == "ratio"
            else grouped.mean()
        )
    if by != "site" and arm != "site":
        effect = effect.groupby(
            level=[n for n in effect.index.names if n != "site"], observed=True
        ).mean()
    if arms is not None and arm is not None:
        here = list(effect.index.unique(arm))
        for name in arms[1]:
            if name not in here:
                raise unknown(arm, name, map(str, here))
        a, b = (effect.xs(name, level=arm) for name in arms[1])
        if not a.index.sort_values().equals(b.index.sort_values()):
            lost = a.index.symmetric_difference(b.index)
            raise BadInput(
                f"{arms[1][0]} and {arms[1][1]} are not paired: {len(lost)} units are in one arm"
                f" only, e.g. {unit} {lost[0]}"
            )
        effect = a - b
    if by is None:
        return {"": effect}
    return {
        str(label): part.droplevel(by) for label, part in effect.groupby(level=by, observed=True)
    }


def trends(wide: pd.DataFrame, unit: str, by: str | None) -> dict[str, pd.Series]:
    """Spearman's rho of each unit's metric with the level, for each member of the family; 0 where
    the metric never moves.

    A training run's metric is its mean over images; without ``by`` the sites of a unit are
    averaged.
    """
    keep = [
        n
        for n in wide.index.names
        if (n != "site" or by == "site") and (n != "image" or unit == "image")
    ]
    means = wide.groupby(level=keep, observed=True).mean()
    rho = pd.Series(_rho(means.to_numpy()), index=means.index)
    if by is None:
        return {"": rho}
    return {str(label): part.droplevel(by) for label, part in rho.groupby(level=by, observed=True)}


def _rho(values: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each row with its place: 0 for a row that never moves."""
    return ranked(values) @ ranked(np.arange(values.shape[1]))


def matrix(effects: pd.Series) -> np.ndarray:
    """The effects as images x draws; BadInput where an image was not measured at every draw."""
    wide = effects.unstack("draw")
    if wide.isna().any(axis=None):
        raise BadInput("not every image was measured at every draw, which all images share")
    return wide.to_numpy(float)


def known(effects: pd.Series) -> np.ndarray:
    """The effects without those that are 0/0."""
    values = effects.to_numpy(float)
    return values[~np.isnan(values)]


def trend(wide: pd.DataFrame) -> dict[str, float]:
    """Mean Spearman rho with the level over images, and Page's (1963) p for a rise and for a fall.

    Page's p goes to 0 with the number of images for any trend: it is printed and decides nothing.
    """
    values = wide.to_numpy()
    k = values.shape[1]
    ranks = stats.rankdata(values, axis=1)
    rho = _rho(values)[np.ptp(values, axis=1) > 0]
    up = stats.page_trend_test(ranks, ranked=True, method="asymptotic").pvalue
    down = stats.page_trend_test(k + 1 - ranks, ranked=True, method="asymptotic").pvalue
    return {
        "rho": float(rho.mean()) if len(rho) else 0.0,
        "page_up": float(up),
        "page_down": float(down),
    }
