"""What can't be judged of a table: values that are no ratio, and images of 0/0."""

from __future__ import annotations

import numpy as np
import pandas as pd

from probes.errors import BadInput


def refuse_no_ratio(wide: pd.DataFrame, metric: str) -> None:
    """Raise BadInput, naming the image, where a metric that is judged by ratios is negative or
    infinite.
    """
    values = wide.to_numpy()
    for bad, word in ((values < 0, "below 0"), (np.isinf(values), "infinite")):
        if bad.any():
            row, column = np.argwhere(bad)[0]
            names = wide.index.names
            key = wide.index[row] if len(names) > 1 else (wide.index[row],)
            where = ", ".join(
                f"{n} {v}" for n, v in zip(names, key, strict=True) if n in ("site", "image")
            )
            raise BadInput(
                f"{metric} is {values[row, column]:g} ({word}) for {where} at level"
                f" {wide.columns[column]:g}: a metric that is judged by ratios is 0 or positive;"
                " declare it as 'plain', which is judged by differences"
            )


def whole(effect: pd.Series, by: str | None, arm: str | None) -> pd.Series:
    """Effects per site, without the images of which one of the sites that will be averaged is
    0/0.
    """
    if "site" in (by, arm) or not effect.isna().any():
        return effect
    rest = [n for n in effect.index.names if n != "site"]
    return effect.mask(effect.isna().groupby(level=rest, observed=True).transform("any"))


def lost(effect: pd.Series, by: str | None) -> dict[str, tuple[int, float]]:
    """How many images are 0/0 inside training runs, and the largest share in one of them, for each
    member of the family.
    """
    names = [n for n in effect.index.names if n != "image"]
    none = effect.isna().groupby(level=names, observed=True).agg(["sum", "mean"])
    labels = [""] * len(none) if by is None else list(map(str, none.index.get_level_values(by)))
    each = none.assign(label=labels).groupby("label", sort=False)
    many, share = each["sum"].sum(), each["mean"].max()
    return {str(name): (int(many[name]), float(share[name])) for name in many.index}
