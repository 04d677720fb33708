"""A table of a lab, computed when it is first looked at: it keeps its design, its alpha and the
warning before the work.
"""

from __future__ import annotations

import abc
import dataclasses
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from probes import table
from probes.errors import BadInput
from probes.judge.power import Design
from probes.registry import unknown


class LazyTable(abc.ABC):
    """What ``lab.sweep``, ``lab.sensitivity`` and ``lab.masking`` give.

    ``frame`` is the DataFrame (:mod:`probes.table`), ``design`` what is known before any compute:
    images, draws, training seeds, levels. A question asks the design first, so one that can't be
    decided says so before it costs. ``where`` narrows it; ``altered`` says what options changed of
    what the test wrote; ``under`` is the perturbation, where there is one.
    """

    design: Design
    alpha: float
    say: Callable[[str], None]
    under: Any = None
    altered: Sequence[str] = ()

    @abc.abstractmethod
    def compute(self) -> pd.DataFrame:
        """The table, from the store or computed now."""

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The table, which knows what it was asked under, also where it is filtered or joined."""
        found = self.compute()
        found.attrs[table.ASKED] = self
        return found

    def where(self, **values: Any) -> LazyTable:
        """The rows with these values of key columns: ``table.where(layers="3")``,
        ``table.where(site=("layer1", "fc"))``.

        It keeps alpha, looks and design. Raises UnknownName for a column or a value that the table
        does not have.
        """
        return Narrowed(self, values)

    def along(self, key: str) -> LazyTable:
        """The rows at the highest level, along the values of a key column as levels: see
        :func:`probes.table.along`.
        """
        return Along(self, key)

    def whole(self) -> LazyTable:
        """The table that this one is a part of."""
        return self

    def summary(self) -> pd.DataFrame:
        """Mean over units (draws averaged first) with a 90 % interval, per subject, level, site and
        metric.
        """
        return summarise(self.frame)

    def _repr_html_(self) -> str:
        from probes.judge import rich

        return rich.table(self)

    def __deepcopy__(
        self, memo: object
    ) -> LazyTable:  # pandas copies the attributes of a table with every filter
        return self


class Derived(LazyTable):
    """A table that is made from another one: it is asked as that one is."""

    def __init__(self, source: LazyTable, design: Design) -> None:
        self.source, self.design = source, design
        self.alpha, self.say, self.under, self.altered = (
            source.alpha,
            source.say,
            source.under,
            source.altered,
        )

    def whole(self) -> LazyTable:
        """The table that this one is made from."""
        return self.source.whole()


class Along(Derived):
    """A table whose levels are the places of a key column's values; see :meth:`LazyTable.along`."""

    def __init__(self, source: LazyTable, key: str) -> None:
        super().__init__(source, source.design)
        self.key = key

    def compute(self) -> pd.DataFrame:
        """The rows at the highest level, a level for each value of the key column."""
        return table.along(self.source.frame, self.key)


class Narrowed(Derived):
    """The part of a table with some values of its key columns; see :meth:`LazyTable.where`."""

    def __init__(self, source: LazyTable, values: Mapping[str, Any]) -> None:
        if not values:
            raise BadInput("where(): name a key column and its value, e.g. table.where(layers='3')")
        self.values = {key: _several(value) for key, value in values.items()}
        for key, given in self.values.items():
            if not given:
                raise BadInput(f"where({key}=...): no value is left; name one or several")
        part = tuple(
            sorted(
                (
                    *source.design.part,
                    *((key, tuple(map(_text, value))) for key, value in self.values.items()),
                )
            )
        )
        was = source.design
        wanted = {key: set(map(_text, value)) for key, value in self.values.items()}
        design = dataclasses.replace(
            was,
            part=part,
            sites=len(wanted["site"]) if "site" in wanted else was.sites,
            levels=(
                tuple(v for v in was.levels if _text(v) in wanted["level"])
                if "level" in wanted
                else was.levels
            ),
            runs=_runs(was.runs, wanted),
            draws=len(wanted["draw"]) if "draw" in wanted else was.draws,
            images=len(wanted["image"]) if "image" in wanted else was.images,
        )
        super().__init__(source, design)

    def compute(self) -> pd.DataFrame:
        """The rows of the table that are asked for."""
        frame = self.source.frame
        rows = pd.Series(True, index=frame.index)
        for key, wanted in self.values.items():
            if key not in table.keys_of(frame):
                raise unknown("key column", key, table.keys_of(frame))
            have = {_text(value): value for value in frame[key].unique()}
            for value in map(_text, wanted):
                if value not in have:
                    raise unknown(f"value of {key!r}", value, list(have)[:20])
            chosen = frame[key].isin([have[_text(value)] for value in wanted])
            rows &= (
                chosen | (frame["level"] == 0) if key == "draw" else chosen
            )  # a clean pass has no draws: it stands for all
        found = frame[rows]
        if "site" in self.values:
            found = found.assign(site=found["site"].cat.remove_unused_categories())
        found.attrs["part"] = {
            **frame.attrs.get("part", {}),
            **{key: [_text(v) for v in vs] for key, vs in self.values.items()},
        }
        return found


def _several(value: Any) -> list[Any]:
    """The values that are asked for: one, or those of anything that gives several."""
    return (
        list(value)
        if isinstance(value, Iterable) and not isinstance(value, str | bytes)
        else [value]
    )


def _runs(
    runs: tuple[tuple[str, int], ...], wanted: Mapping[str, set[str]]
) -> tuple[tuple[str, int], ...]:
    if "net" in wanted:
        runs = tuple(run for run in runs if run[0].partition(":")[0] in wanted["net"])
    if "train_seed" in wanted:
        runs = tuple((name, min(n, len(wanted["train_seed"]))) for name, n in runs)
    return runs


def _text(value: Any) -> str:
    """A value as it is told; two numbers have one text only where they are equal."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return str(value)
    return short if float(short := f"{float(value):g}") == float(value) else repr(float(value))


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean over images (draws averaged first), its 90 % interval by Student's t, and the number of
    images.

    One row per net, training seed, level, site and metric: columns ``n, mean, low, high``.
    """
    by = ["net", "weights", "dataset", "train_seed", "level", "site"]
    metrics = table.metrics_of(frame)
    images = frame.groupby([*by, "image"], observed=True)[metrics].mean()
    groups = images.groupby(by, observed=True)
    n, mean, sd = groups.size(), groups.mean(), groups.std(ddof=1)
    half = sd.mul(stats.t.isf(0.05, n - 1) / np.sqrt(n), axis=0)
    parts = [
        pd.DataFrame(
            {
                "metric": m,
                "n": n,
                "mean": mean[m],
                "low": mean[m] - half[m],
                "high": mean[m] + half[m],
            }
        )
        for m in metrics
    ]
    return pd.concat(parts).reset_index()
