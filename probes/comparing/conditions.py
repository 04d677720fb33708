"""The table of a comparison: both networks on the same images and draws, under each condition."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from probes import table
from probes.comparing.arms import NEW, OLD, Arms, arms_of
from probes.errors import BadInput
from probes.fingerprint import key_of
from probes.judge.lazytable import LazyTable, summarise
from probes.judge.power import Design
from probes.measure.protocol import Measure
from probes.perturb import gaussian
from probes.perturb.asked import asked
from probes.perturb.precision import FULL
from probes.perturb.protocol import Perturbation
from probes.run.bench import Bench
from probes.run.sweeping import Sweep

CLEAN = "clean"
COLUMN = "condition"
"""The key column of conditions."""
REALISED = ("sigma_realised", "mean_shift")
Under = str | Perturbation | Iterable[str | Perturbation]


def perturbations(under: Under) -> list[Perturbation]:
    """Perturbations as they were given: objects, and texts as :func:`probes.perturb.asked.asked`
    reads them. Nothing gives none.

    >>> [one.name for one in perturbations([gaussian(0, 0.1), "quantised:8"])]
    ['Gaussian noise', 'quantisation']
    """
    several = isinstance(under, Iterable) and not isinstance(under, str)
    given: list[Any] = list(under) if several else [under]  # type: ignore[arg-type]
    return [
        one
        for thing in given
        for one in (asked(thing).values() if isinstance(thing, str) else [thing])
    ]


def label(under: Perturbation, arm: str, level: float) -> str:
    """What a condition is called: the perturbation, its arm where it has several, and the level.

    >>> label(gaussian(0, 0.1), "", 0.1)
    'Gaussian noise, noise σ 0.1'
    """
    what = f"{under.name} {arm}" if arm else under.name
    if under.unit == "bits of 32":  # a level is how many are gone
        return f"{what}, {FULL - level:g} bits"
    return f"{what}, {under.varied} {level:g}"


class Paired(LazyTable):
    """The table of a comparison, computed when it is first looked at: a row per arm (``old`` and
    ``new``, in the column ``net``), condition, image, draw and site, with the values themselves.

    ``order`` are the conditions in the order in which they were named, the clean images first.
    ``kept`` are the rows of the old network, where it was measured before (a baseline), and
    ``before`` is what the evidence says of its weights.
    """

    def __init__(
        self,
        lab: Bench,
        arms: Arms,
        sweeps: Mapping[str, Sequence[Sweep]],
        kept: pd.DataFrame | None = None,
    ) -> None:
        self._sweeps, self.arms, self.lab, self._kept = sweeps, arms, lab, kept
        self.before: Mapping[str, Any] = {}
        self.alpha, self.say, self.under = lab.options.alpha, lab.say, None
        every = sweeps[NEW]
        self.altered = list(dict.fromkeys(text for sweep in every for text in sweep.altered))
        first = every[0].design
        told = [f"{s.design.perturbation} ({_levels(s.under)})" for s in every[1:]]
        self.design = Design(
            dataset=first.dataset,
            images=first.images,
            images_sha256=first.images_sha256,
            draws=max(s.design.draws for s in every),
            seed=first.seed,
            levels=(0.0,),
            runs=tuple((arm, len(arms.names[arm])) for arm in (OLD, NEW)),
            perturbation="; ".join([CLEAN, *told]),
            clamp=False,
            space="of two networks",
            precision=first.precision,
            split=first.split,
            varied=COLUMN,
            description=f"Compared: the old one is {arms.old}, the new one is {arms.new}; "
            + "; ".join(["clean images", *told]),
        )

    def compute(self) -> pd.DataFrame:
        """The table, from the store or computed now."""
        new = rows_of(self._sweeps[NEW]).assign(net=NEW)
        order = list(dict.fromkeys(new[COLUMN]))
        if self._kept is None:
            old = rows_of(self._sweeps[OLD])
        else:
            old = self._kept
            old = old[old[COLUMN].isin(order) & old["image"].isin(new["image"].unique())]
        parts = [old.assign(net=OLD), new]
        names = [c for c in new.columns if c in old.columns]
        out = pd.concat([part[names] for part in parts], ignore_index=True)
        out[COLUMN] = pd.Categorical(out[COLUMN], order)
        for name in ("net", "weights", "dataset"):
            out[name] = out[name].astype(str).astype("category")
        out["site"] = pd.Categorical(out["site"], list(dict.fromkeys(out["site"])), ordered=True)
        return table.check(_told(out, self._sweeps[NEW]))

    @property
    def order(self) -> list[str]:
        """The conditions, in their order."""
        return [str(name) for name in self.frame[COLUMN].cat.categories]

    def summary(self) -> pd.DataFrame:
        """Mean over images with a 90 % interval, by condition, arm and metric."""
        parts = [
            summarise(part.assign(net=part["net"].astype(str))).assign(**{COLUMN: str(name)})
            for name, part in self.frame.groupby(COLUMN, observed=True, sort=False)
        ]
        return pd.concat(parts, ignore_index=True)

    def conditions(self) -> dict[str, tuple[Perturbation, str, float]]:
        """The perturbation, its arm and the level of each condition but the clean one."""
        return conditions_of(self._sweeps[NEW])

    def keys(self) -> dict[str, Any]:
        """What the numbers under each condition depend on: :func:`keys_of`."""
        return keys_of(self._sweeps[NEW])


def conditions_of(sweeps: Sequence[Sweep]) -> dict[str, tuple[Perturbation, str, float]]:
    """The perturbation, its arm and the level of each condition of sweeps; the first one is of the
    clean images. Raises BadInput for two conditions of one name.
    """
    found = {}
    for sweep in sweeps[1:]:
        model = next(iter(sweep.subjects.values())).model
        arms = sweep.under.arms(model)
        for arm, one in arms:
            for level in (v for v in sweep.under.levels if v):
                name = label(sweep.under, arm if len(arms) > 1 else "", level)
                if name in found:
                    raise BadInput(
                        f"two conditions are both called {name!r}: take levels that differ in their"
                        " first six digits, or give one perturbation another name"
                    )
                found[name] = (one, arm, level)
    return found


def keys_of(sweeps: Sequence[Sweep]) -> dict[str, Any]:
    """What the numbers under each condition depend on, beside network and images, as JSON values:
    of somebody's own perturbation its code too.
    """
    found = {CLEAN: {"kind": "clean"}} | {
        name: one.key(level) | key_of(one)
        for name, (one, _, level) in conditions_of(sweeps).items()
    }
    return json.loads(json.dumps(found))


def rows_of(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """The rows of sweeps under each condition; the first sweep is of the clean images."""
    parts = [_labelled(sweep, place == 0) for place, sweep in enumerate(sweeps)]
    names = [c for c in parts[0].columns if all(c in part.columns for part in parts)]
    return pd.concat([part[names] for part in parts], ignore_index=True)


def _labelled(sweep: Sweep, clean: bool) -> pd.DataFrame:
    """The rows of a sweep, with the condition of each in place of its level and its arm."""
    frame, under = sweep.frame, sweep.under
    rows = (frame["level"] == 0) & (frame["draw"] == 0) if clean else frame["level"] != 0
    found = frame[rows].copy()
    column = under.column if under.column in found.columns else None
    several = column is not None and found[column].nunique() > 1
    if clean:
        found = found.drop_duplicates([k for k in table.keys_of(frame) if k != column])
        found[COLUMN] = CLEAN
    else:
        arms = found[column].astype(str) if several else [""] * len(found)
        pairs = zip(arms, found["level"], strict=True)
        names = {pair: label(under, *pair) for pair in set(pairs)}
        found[COLUMN] = [names[p] for p in zip(arms, found["level"], strict=True)]
    gone = [name for name in (*REALISED, column) if name in found.columns]
    return found.drop(columns=gone).assign(level=0.0)


def _told(out: pd.DataFrame, sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """The table with what it says of itself: its keys, its classes, what draws are."""
    first = sweeps[0].frame.attrs
    out.attrs = {name: first[name] for name in ("classes", "clusters") if name in first}
    out.attrs["keys"] = [COLUMN]
    common = {sweep.under.common for sweep in sweeps[1:]}
    if True in common:
        out.attrs["draws"] = "common" if common == {True} else "some common"
    shared = [s.frame.attrs["initial"] for s in sweeps if s.frame.attrs.get("initial")]
    return out if not shared else _with(out, "initial", min(shared))


def _with(out: pd.DataFrame, name: str, value: Any) -> pd.DataFrame:
    out.attrs[name] = value
    return out


def _levels(under: Perturbation) -> str:
    return f"{under.varied} " + " ".join(f"{v:g}" for v in under.levels if v)


def sweeps_of(
    lab: Bench, names: Sequence[str], measure: Measure, under: Under, draws: int, per_run: bool
) -> list[Sweep]:
    """The sweeps of an arm of a bench: the clean images, then each perturbation."""
    models = [s.model for s in lab.subjects.values()]
    every = [gaussian(0.0), *(one.fitted(models) for one in perturbations(under))]
    if twice := [a.name for i, a in enumerate(every) if a in every[:i]]:
        raise BadInput(f"{twice[0]} stands twice: name it once, with all its levels")
    mine = lab.only(names)
    found = [
        mine.sweep(measure, one, draws if i else 1, per_run=per_run) for i, one in enumerate(every)
    ]
    conditions_of(found)  # which refuses two of one name
    return found


def paired(
    lab: Bench,
    measure: Measure,
    under: Under = (),
    draws: int = 1,
    arms: Arms | None = None,
    kept: pd.DataFrame | None = None,
) -> Paired:
    """The table of a comparison of the two networks of a bench, on clean images and under each
    perturbation at each of its levels above 0.

    Both see the same images and the same draws; nothing is computed before the table is looked at.
    Where several training runs are compared, a draw of weight noise belongs to the training seed.
    ``kept`` are the rows of the old network, where it was measured before. Raises BadInput for a
    bench that has not two networks, and for a perturbation that stands twice.
    """
    arms = arms or arms_of(lab)
    sides = (NEW,) if kept is not None else (OLD, NEW)
    per_run = arms.unit == "train_seed"
    sweeps = {arm: sweeps_of(lab, arms.names[arm], measure, under, draws, per_run) for arm in sides}
    return Paired(lab, arms, sweeps, kept)
