"""The table of a comparison: both networks on the same images and draws, under each condition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from probes import table
from probes.comparing.arms import NEW, OLD, Arms, arms_of
from probes.errors import BadInput
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
    """

    def __init__(self, lab: Bench, arms: Arms, sweeps: Mapping[str, Sequence[Sweep]]) -> None:
        self._sweeps, self.arms, self.lab = sweeps, arms, lab
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
        parts: list[pd.DataFrame] = []
        order: dict[str, None] = {CLEAN: None}
        for arm in (OLD, NEW):
            for place, sweep in enumerate(self._sweeps[arm]):
                part = _labelled(sweep, place == 0)
                order |= dict.fromkeys(part[COLUMN])
                parts.append(part.assign(net=arm))
        names = [c for c in parts[0].columns if all(c in part.columns for part in parts)]
        out = pd.concat([part[names] for part in parts], ignore_index=True)
        out[COLUMN] = pd.Categorical(out[COLUMN], list(order))
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
        found = {}
        for sweep in self._sweeps[NEW][1:]:
            arms = _arms(sweep)
            for arm, one in arms:
                for level in (v for v in sweep.under.levels if v):
                    found[label(sweep.under, arm if len(arms) > 1 else "", level)] = (
                        one,
                        arm,
                        level,
                    )
        return found


def _arms(sweep: Sweep) -> Sequence[tuple[str, Any]]:
    model = next(iter(sweep._subjects.values())).model
    return sweep.under.arms(model)


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


def paired(
    lab: Bench, measure: Measure, under: Under = (), draws: int = 1, arms: Arms | None = None
) -> Paired:
    """The table of a comparison of the two networks of a bench, on clean images and under each
    perturbation at each of its levels above 0.

    Both see the same images and the same draws; nothing is computed before the table is looked at.
    Where several training runs are compared, a draw of weight noise belongs to the training seed.
    Raises BadInput for a bench that has not two networks, and for two perturbations whose
    conditions have one name.
    """
    arms = arms or arms_of(lab)
    models = [s.model for s in lab.subjects.values()]
    every = [gaussian(0.0), *(one.fitted(models) for one in perturbations(under))]
    if twice := [a.name for i, a in enumerate(every) if a in every[:i]]:
        raise BadInput(f"{twice[0]} stands twice: name it once, with all its levels")
    sweeps = {
        arm: [
            lab.only(arms.names[arm]).sweep(
                measure, one, draws if i else 1, per_run=arms.unit == "train_seed"
            )
            for i, one in enumerate(every)
        ]
        for arm in (OLD, NEW)
    }
    return Paired(lab, arms, sweeps)
