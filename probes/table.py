"""The tidy table: one row per image, draw, level and site; key columns first, then one column per
metric.

A table is a pandas DataFrame. What a metric *is* (a ratio scale, a share, a hit) is declared here,
since the judge reads it and the probes that measure it live above both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa

from probes.errors import BadInput, ProbesError, UnknownName
from probes.registry import unknown

KEYS = ("net", "weights", "dataset", "train_seed", "image", "draw", "level", "site")
"""Key columns of every table, in this order: names as strings, ``train_seed``, ``image`` and
``draw`` as integers (-1 where there is no training seed), ``level`` as float; ``site`` is ordered
by depth."""

ASKED = "asked"
"""The attribute (``attrs``) that ties a DataFrame to the lab's table: its design, alpha and looks.
It is not written to files.
"""
Kind = Literal["ratio", "share", "hit", "plain"]
Bound = Literal["", "lower", "upper"]


@dataclasses.dataclass(frozen=True)
class Metric:
    """What a column of a table measures. ``kind`` decides the effect, and with it the unit of a
    SESOI.

    ``ratio``: positive, compared by log-ratio, SESOI in ``%``. ``share``: in [0, 1], compared by
    difference, SESOI in ``points``. ``hit``: 0 or 1, likewise. ``plain``: compared by difference,
    SESOI a bare number. ``bound`` is ``lower`` or ``upper`` for a number that the true one lies
    above or below: a question is then decided on that side only.
    """

    name: str
    kind: Kind
    label: str
    bound: Bound = ""


_METRICS: dict[str, Metric] = {}


def declare_metric(name: str, kind: Kind, label: str, bound: Bound = "") -> Metric:
    """Declare a column that a measure fills; declaring it again otherwise is a BadInput.

    >>> declare_metric("example_norm", "ratio", "an example").kind
    'ratio'
    """
    metric = Metric(name, kind, label, bound)
    if _METRICS.setdefault(name, metric) != metric:
        raise BadInput(f"metric {name!r} is already declared as {_METRICS[name]}")
    return metric


# What the project's own probes measure, declared here so that a report can be drawn and verified
# without them.
declare_metric("l2_h", "ratio", "L2 norm of h(x)")
declare_metric("var_h", "ratio", "variance of h(x)")
declare_metric("mean_sum", "plain", "mean of x + h(x), the ReLU's input")
declare_metric("mean_abs_sum", "ratio", "mean |x + h(x)|")
declare_metric("sparsity", "share", "share of zeros after the ReLU")
declare_metric("linearity", "share", "share of slopes near 0 or 1")
declare_metric("ratio_hx", "ratio", "||h(x)|| / ||x||")
declare_metric("correct", "hit", "accuracy")
declare_metric("loss", "plain", "cross-entropy loss")
declare_metric("brier", "plain", "Brier score")
declare_metric("confidence", "share", "confidence, the largest share")
declare_metric("margin", "plain", "share of the label less the largest other share")
declare_metric("entropy", "plain", "entropy of the shares, in nats")
declare_metric("absolute_error", "plain", "absolute error")
declare_metric("squared_error", "plain", "squared error")
declare_metric("agreement", "hit", "label as on the clean image")
declare_metric("ece", "share", "expected calibration error")
declare_metric("auroc", "share", "area under the ROC curve of confidence")
declare_metric(
    "relative_accuracy", "plain", "accuracy, in units of the net's calibrated clean drop"
)
declare_metric("map_distance", "plain", "distance to the clean maps, relative to their norm")
declare_metric("map_cosine", "plain", "cosine with the clean maps")
declare_metric("map_zeros", "share", "share of zeros in the maps")
declare_metric("map_mean", "plain", "mean of the maps")
declare_metric("map_std", "ratio", "standard deviation of the maps")
declare_metric("mask_lost", "share", "accuracy lost to the mask")
declare_metric(
    "index_peak", "plain", "largest share of a unit, beyond that of units whose shares have no tie"
)
declare_metric(
    "index_rho", "plain", "rank correlation of total indices and Shapley effects", bound="lower"
)
declare_metric(
    "index_named", "plain", "share of maps whose augmentation is told right, beyond permuted labels"
)
declare_metric("index_pattern", "plain", "the same of maps without their level")
declare_metric(
    "index_shift",
    "plain",
    "squared distance of the mean shares from those of the first module",
)


def metric(name: str, table: pd.DataFrame) -> Metric:
    """The declaration of a metric of the table. Raises UnknownName, with the nearest columns, if
    the table does not have it; with the reason, if its measure has one (``attrs["lacks"]``).
    """
    columns = metrics_of(table)
    if name not in columns:
        if why := table.attrs.get("lacks", {}).get(name):
            raise UnknownName(f"no metric {name!r} here: {why}")
        raise unknown("metric", name, columns)
    return _METRICS.get(name, Metric(name, "plain", name))


def kind_of(name: str) -> Kind:
    """The kind of a metric by name; ``plain`` if it was not declared."""
    return _METRICS[name].kind if name in _METRICS else "plain"


def bound_of(name: str) -> Bound:
    """Of which side a metric is a bound; empty where it is an estimate."""
    return _METRICS[name].bound if name in _METRICS else ""


def label_of(name: str) -> str:
    """The label of a metric in plots."""
    return _METRICS[name].label if name in _METRICS else name


def keys_of(table: pd.DataFrame) -> list[str]:
    """The key columns of a table: those of every table, those that a perturbation declared, and
    those of clusters that images are nested in (``table.attrs``).
    """
    own = (*table.attrs.get("keys", ()), *table.attrs.get("clusters", ()))
    return [k for k in (*KEYS, *own) if k in table.columns]


def clusters_of(table: pd.DataFrame) -> list[str]:
    """The key columns that images are nested in, such as a patient (``attrs["clusters"]``, set by
    the dataset).
    """
    return [k for k in table.attrs.get("clusters", ()) if k in table.columns]


def common_draws(table: pd.DataFrame) -> bool:
    """Whether all images share a draw (``attrs["draws"] == "common"``, set by the perturbation).
    Otherwise each image has its own.
    """
    return table.attrs.get("draws") == "common"


def grouped(table: pd.DataFrame) -> bool:
    """Whether ``image`` numbers disjoint groups of images instead of images (``attrs["groups"]``,
    set by the measurement).
    """
    return bool(table.attrs.get("groups"))


def metrics_of(table: pd.DataFrame) -> list[str]:
    """The metric columns of a table, in its order."""
    keys = set(keys_of(table))
    return [str(c) for c in table.columns if c not in keys]


def check(table: pd.DataFrame) -> pd.DataFrame:
    """The table itself if it is one. A ProbesError names what is wrong with it.

    Every key column is there, no key stands twice, metrics are numbers and none is NaN.
    """
    if missing := [k for k in KEYS if k not in table.columns]:
        raise ProbesError(
            f"a table needs the key columns {', '.join(KEYS)}; missing: {', '.join(missing)}"
        )
    if table.empty:
        raise ProbesError("the table has no rows: were there any images?")
    keys = keys_of(table)
    if (twice := table.duplicated(keys)).any():
        raise ProbesError(
            f"a key stands twice in the table: {table.loc[twice, keys].iloc[0].to_dict()}"
        )
    for name in metrics_of(table):
        if not pd.api.types.is_numeric_dtype(table[name].dtype):
            raise ProbesError(f"metric {name!r} holds {table[name].dtype}, not numbers")
        if (bad := table[name].isna()).any():
            raise ProbesError(f"metric {name!r} is NaN at {table.loc[bad, keys].iloc[0].to_dict()}")
    return table


def join(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Stack tables, keep the order of sites and the metrics that all tables have, and check the
    result.
    """
    tables = list(tables)
    common = [c for c in tables[0].columns if all(c in t.columns for t in tables)]
    columns = [_by_depth(t["site"]) for t in tables]
    sites = list(dict.fromkeys(site for column in columns for site in column.cat.categories))
    ordered = pd.CategoricalDtype(sites, ordered=True)
    out = pd.concat(
        [
            t[common].assign(site=column.astype(ordered))
            for t, column in zip(tables, columns, strict=True)
        ],
        ignore_index=True,
    )
    out.attrs = dict(tables[0].attrs)
    for name in ("net", "weights", "dataset", *out.attrs.get("keys", ()), *clusters_of(out)):
        out[name] = out[name].astype("category")
    return check(out)


def along(table: pd.DataFrame, key: str) -> pd.DataFrame:
    """The rows at the highest level, with the level replaced by the position of their value of a
    key column: 0 for the first, 1, 2, ...

    A question can then ask whether a metric increases along layers that were perturbed one at a
    time. Raises UnknownName for a key that the table does not have.

    >>> t = pd.DataFrame({"layer": ["a", "b"] * 2, "level": [0.0, 0.0, 0.5, 0.5], "site": "output"})
    >>> t.attrs["keys"] = ["layer"]
    >>> along(t, "layer")["level"].tolist()
    [0.0, 1.0]
    """
    own = list(table.attrs.get("keys", ()))
    if key not in own:
        raise unknown("key column", key, own)
    top = table[table["level"] == table["level"].max()]
    places = {value: float(i) for i, value in enumerate(dict.fromkeys(table[key]))}
    out = top.assign(level=top[key].map(places).astype(float)).drop(columns=key)
    out.attrs = {**table.attrs, "keys": [name for name in own if name != key]}
    return out


def _by_depth(site: pd.Series) -> pd.Series:
    """Sites as a categorical of those that occur, in their order. Sites without an order keep the
    one in which they come.
    """
    if not isinstance(site.dtype, pd.CategoricalDtype):
        names = site.fillna("").astype(str)
        return names.astype(pd.CategoricalDtype(list(dict.fromkeys(names)), ordered=True))
    first = site.drop_duplicates()
    return site.cat.set_categories([str(name) for name in first], ordered=True)


def written(table: pd.DataFrame) -> pd.DataFrame:
    """The table without the attributes that can't be written."""
    out = table.copy(deep=False)
    out.attrs = {name: value for name, value in table.attrs.items() if name != ASKED}
    return out


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet or CSV, by the ending of ``path``."""
    table = written(table)
    if path.suffix == ".csv":
        table.to_csv(path, index=False, float_format="%.9g", lineterminator="\n")
    else:
        table.to_parquet(path, index=False, compression="zstd")


NAMES = ("net", "weights", "dataset", "site", "metric")
"""Columns that hold names, which may look like numbers: the blocks ``1`` and ``2``."""


def from_csv(path: Path) -> pd.DataFrame:
    """A table or a summary that was written as CSV: names are text, whatever they look like."""
    text = dict.fromkeys(NAMES, str)
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])


def read(path: Path) -> pd.DataFrame:
    """Read and check a table that :func:`write` wrote. Raises ProbesError if the file is none."""
    try:
        table = from_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        if path.suffix != ".csv":  # Arrow reads any bytes as text
            pa.Table.from_pandas(table, preserve_index=False).validate(full=True)
    except Exception as e:  # a damaged file meets a fault anywhere in a library
        raise ProbesError(f"{path} is no table: {type(e).__name__}: {e}") from e
    if "site" in table.columns and not isinstance(table["site"].dtype, pd.CategoricalDtype):
        table["site"] = _by_depth(table["site"])
    return check(table)
