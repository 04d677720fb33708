"""Indices and contrasts as arrays and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from probes.measure.contrast import Contrast
from probes.measure.indices import Replicates
from probes.studies.sensitivity.plots import MEASURES

CONVERGED = 0.05
"""A unit's index has converged if half of its 90 % interval over scramblings is at most this."""


DISCOVERY = 0.05
"""The false discovery rate at which a unit counts as moved."""


COLUMNS = [
    "module",
    "measure",
    "group",
    "units",
    "dead",
    "mean",
    "q05",
    "median",
    "q95",
    "half",
    "converged",
]


def arrays(one: Replicates, shape: Sequence[int]) -> dict[str, np.ndarray]:
    """Every index of a module by name, in the shape of the module; float32 to 3 decimals, NaN for
    dead units.

    Mean and variance have a physical unit and are rounded to 3 significant digits.
    """
    out = {"groups": np.array(one.groups), "dead": one.dead.numpy().reshape(*shape)}
    for name in one.measured:
        found = one.estimate(name)
        own = name in ("mean", "variance")
        for end, value in (("", found.value), ("_half", found.half)):
            short = _significant(value.numpy()) if own else np.round(value.numpy(), 3)
            out[name + end] = short.astype(np.float32).reshape(*(() if own else (-1,)), *shape)
    return out


def _significant(values: np.ndarray, digits: int = 3) -> np.ndarray:
    """Values rounded to significant digits. The digits beyond them would take half of a compressed
    file.
    """
    size = np.abs(values)
    scale = 10.0 ** (digits - 1 - np.floor(np.log10(np.where(size > 0, size, 1.0))))
    return np.round(values * scale) / scale


def contrast_arrays(found: Mapping[str, Contrast], shape: Sequence[int]) -> dict[str, np.ndarray]:
    """The contrasts of a module by name, (augmentations, *shape); NaN for dead units.

    Effects have 3 decimals, p-values 2 significant digits, in float32. A p-value below 1e-38
    becomes 0.
    """
    out = {"augmentations": np.array(list(found))}
    for field in ("share", "rank_biserial", "point_biserial", "p", "adjusted"):
        values = np.stack([getattr(one, field).reshape(*shape) for one in found.values()])
        short = (
            _significant(np.where(values < 1e-38, 0, values), 2)
            if field in ("p", "adjusted")
            else np.round(values, 3)
        )
        out[field] = short.astype(np.float32)
    return out


def summary(module: str, one: Replicates) -> pd.DataFrame:
    """A row per index and group: mean and quantiles over the units that are not dead, and the
    number of converged units.

    The columns are ``module, measure, group, units, dead, mean, q05, median, q95, half,
    converged``. ``half`` is the median half interval.
    """
    rows = []
    alive = ~one.dead.numpy()
    for measure in MEASURES:
        if measure not in one.measured or not alive.any():
            continue
        estimate = one.estimate(measure)
        for j, group in enumerate(one.groups):
            value, half = (t[j].numpy()[alive] for t in (estimate.value, estimate.half))
            low, median, high = np.quantile(value, (0.05, 0.5, 0.95))
            rows.append(
                (
                    module,
                    measure,
                    group,
                    len(alive),
                    int((~alive).sum()),
                    value.mean(),
                    low,
                    median,
                    high,
                    np.median(half),
                    float((half <= CONVERGED).mean()),
                )
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def contrast_summary(moved: Moved) -> pd.DataFrame:
    """A row per module and augmentation: the mean sizes of the two effects over units that are not
    dead, and the share of discoveries.
    """
    rows = []
    for module, contrasts in moved.items():
        for name, one in contrasts.items():
            alive = ~one.dead
            if alive.any():
                sizes = [
                    float(np.abs(v[alive]).mean()) for v in (one.rank_biserial, one.point_biserial)
                ]
                up, found = (
                    float((one.share[alive] > 0.5).mean()),
                    float((one.adjusted[alive] <= DISCOVERY).mean()),
                )
                rows.append(
                    (module, name, one.images, len(alive), int((~alive).sum()), *sizes, up, found)
                )
    columns = [
        "module",
        "augmentation",
        "images",
        "units",
        "dead",
        "rank_biserial",
        "point_biserial",
        "up",
        "discovered",
    ]
    return pd.DataFrame(rows, columns=columns)


Moved = Mapping[str, Mapping[str, Contrast]]
