"""A question as data, and how it is asked of a table: the rule by the kind of effect and the unit, then the verdicts.

An effect is the response to the highest level: a log-ratio to level 0 for norms and variances (SESOI in ``%``), a
difference for shares and accuracy (``points``). The verdict is ``supported`` when a one-sided test at alpha excludes
every effect up to the SESOI, ``refuted`` when it excludes every effect as large as the SESOI, else ``inconclusive``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import pandas as pd

from probes import table as tables
from probes.errors import BadInput
from probes.judge import effects, power, rules
from probes.judge.sesoi import sesoi_of
from probes.judge.verdict import Verdict, Verdicts, settle, shown
from probes.registry import unknown
from probes.table import Kind

TRENDS = ("increases", "decreases")
FLOORED = ("correct", "mask_lost")
"""Metrics of accuracy: of a network that names no more than chance does there is nothing to lose."""
ASKS = ("rises", "falls", "exceeds", "below", "equivalent", *TRENDS)
RULES: Mapping[str, Callable[..., rules.Ruling]] = {
    "trimmed mean": rules.trimmed_mean,
    "mean": rules.mean,
    "score": rules.score,
    "signed rank": rules.signed_rank,
    "two-way": rules.two_way,
    "group mean": rules.group_mean,
}


BY_UNIT: Mapping[str, str] = {"train_seed": "signed rank", effects.BOTH: "two-way", effects.GROUP: "group mean"}
"""The rule of a unit, where it needs no look at the values."""


class Sweepable(Protocol):
    """A table of a lab, which may not be computed yet: :class:`probes.run.lazytable.LazyTable`."""

    design: power.Design
    alpha: float
    say: Callable[[str], None]

    @property
    def frame(self) -> pd.DataFrame: ...


@dataclasses.dataclass(frozen=True)
class Question:
    """A question as data: what :func:`rises` and the others ask, so that anyone can ask it again of the same table."""

    ask: str
    metric: str
    sesoi: str | float
    by: str | None = None
    unit: str = "image"
    between: tuple[str, str] | None = None
    arm: str = "net"
    kind: Kind | None = None
    pool: str | None = None

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)

    def of(self, table: pd.DataFrame | Sweepable, alpha: float | None = None) -> Verdicts:
        """Judge a table; see the functions of this module for what is raised."""
        if self.ask not in ASKS:
            raise unknown("question", self.ask, ASKS)
        if self.between is not None and (len(self.between) != 2 or self.between[0] == self.between[1]):
            raise BadInput(f"between={self.between!r}: two different values of {self.arm!r}, the first minus the second")
        asked = table.attrs.get(tables.ASKED) if isinstance(table, pd.DataFrame) else table
        if alpha is None:
            alpha = 0.05 if asked is None else asked.alpha
        if not isinstance(table, pd.DataFrame):
            self.foresee(table, alpha)
            table = table.frame
        return dataclasses.replace(self._judge(tables.check(table), alpha), asked=(asked,))

    def foresee(self, sweep: Sweepable, alpha: float | None = None) -> None:
        """Say, before anything is computed, why the design of a table can't decide; nothing where it can."""
        alpha = sweep.alpha if alpha is None else alpha
        kind = tables.kind_of(self.metric)
        ternary = "score" if self.ask in TRENDS else None
        rule = BY_UNIT.get(self.unit) or ternary or {"ratio": "trimmed mean", "hit": "score"}.get(kind, "mean")
        design = sweep.design
        if self.pool:
            design = dataclasses.replace(design, runs=(("all", sum(n for _, n in design.runs) // (2 if self.between else 1)),))
        if problem := power.foresee(design, rule, alpha, sweep.design.sites if self.by == "site" else 1):
            sweep.say(f"{self.ask}({self.metric}): {problem}")

    def _judge(self, frame: pd.DataFrame, alpha: float) -> Verdicts:
        if self.ask in TRENDS:
            return self._trends(frame, alpha)
        kind = self.kind or tables.metric(self.metric, frame).kind
        sesoi = sesoi_of(self.sesoi, self.metric, kind)
        wide = effects.averaged(frame, self.metric, self.unit, self.by, self.arm if self.between else None, self.pool)
        levels = [float(v) for v in wide.columns]
        if len(levels) > 1 and levels[0] != 0:
            raise BadInput(f"{self.metric}: levels {levels} lack 0, which effects are measured from")
        if len(levels) == 1 and self.ask in ("rises", "falls"):
            raise BadInput(f"{self.ask}({self.metric}) needs level 0 and one more, the table has level {levels[0]:g} only")
        top = levels[-1] if len(levels) > 1 else None
        arms = (self.arm, self.between) if self.between else None
        units = {lv: effects.per_unit(effects.response(wide, kind, lv), kind, self.unit, self.by, arms)
                 for lv in ([top] if top is None else levels[1:])}  # fmt: skip
        labels = list(units[top])
        items = []
        for label in labels:
            one = self._one(label, {lv: found[label] for lv, found in units.items()}, top, kind, sesoi, alpha, len(labels))
            if self.unit == "image" and not self.between:
                here = wide if self.by is None else wide.xs(label, level=self.by)
                one = dataclasses.replace(one, notes={**one.notes, **self._beside(here, top, kind, one)})
            items.append(one)
        return self._settled(self._with_floor(items, frame), frame, kind, alpha)

    def _with_floor(self, items: list[Verdict], frame: pd.DataFrame) -> list[Verdict]:
        """The verdicts, open where a network is not above chance on clean images: there is no accuracy to lose."""
        if self.metric not in FLOORED or not (problem := effects.at_chance(frame)):
            return items
        return [dataclasses.replace(v, obstacle=v.obstacle or problem, p_supported=1.0, p_refuted=1.0) for v in items]

    def _settled(self, items: list[Verdict], frame: pd.DataFrame, kind: Kind, alpha: float) -> Verdicts:
        keep = [*tables.keys_of(frame), self.metric]
        if part := _part(frame):
            items = [dataclasses.replace(v, question=f"{v.question} ({part})", part=part) for v in items]
        scope = _scope(frame, self.unit, items[0].n, self.pool)
        used = frame[keep]
        used.attrs = {name: value for name, value in frame.attrs.items() if name != tables.ASKED}
        return Verdicts(settle(items, alpha), alpha, scope, self.json() | {"kind": kind}, (used,))

    def _trends(self, frame: pd.DataFrame, alpha: float) -> Verdicts:
        bound = sesoi_of(self.sesoi, "rho", "plain")
        if not 0 < bound < 1:
            raise BadInput(f"{self.ask}(rho={self.sesoi!r}): the bound of a correlation lies between 0 and 1")
        if self.unit in (effects.BOTH, effects.GROUP) or self.between or self.pool:
            raise BadInput(f"{self.ask}({self.metric}) is asked of images or of training runs, of one arm")
        wide = effects.averaged(frame, self.metric, self.unit, self.by, None)
        if len(wide.columns) < 3:
            raise BadInput(f"{self.ask}({self.metric}) needs three levels or more, the table has {len(wide.columns)}")
        found = effects.trends(wide, self.unit, self.by)
        if self.unit == "image":  # beyond the bound, within, below: the score test on -1, 0, 1
            found = {label: np.sign(rho).where(rho.abs() > bound, 0.0) for label, rho in found.items()}
        delta = 0.0 if self.unit == "image" else bound
        items = [self._one(label, {None: x}, None, "plain", delta, alpha, len(found)) for label, x in found.items()]
        return self._settled(self._with_floor(items, frame), frame, "plain", alpha)

    def _one(
        self,
        label: str,
        units: dict[float | None, pd.Series],
        top: float | None,
        kind: Kind,
        sesoi: float,
        alpha: float,
        k: int,
    ) -> Verdict:
        values = effects.matrix if self.unit == effects.BOTH else effects.known
        x = values(units[top])
        if len(x) == 0:
            raise BadInput(f"{self.metric} {label}: every ratio is 0/0, nothing is left to judge")
        each: dict[str, float] = {}
        rule = self._rule(x, kind, list(units.values()))
        run = RULES[rule]
        sign = -1.0 if self.ask in ("falls", "below", "decreases") else 1.0
        found = run(sign * x, sesoi, alpha)
        p_supported, p_refuted = found.p_up, found.p_down
        obstacle = found.obstacle
        if self.ask == "equivalent":
            other = run(x, -sesoi, alpha)
            p_supported = max(found.p_down, other.p_up)
            p_refuted = min(1.0, 2 * min(found.p_up, other.p_down))
        if rule == "signed rank" and not obstacle and (least := power.runs_needed(alpha, k)) > len(x):
            obstacle = f"a family of {k} needs {least} training runs, there are {len(x)}"
        if self.pool:
            parts = units[top].groupby(level=self.pool, observed=True)
            each = {str(name): sign * run(sign * part.to_numpy(float), sesoi, alpha).estimate for name, part in parts}
            against = [name for name, estimate in each.items() if estimate * sign * found.estimate <= 0]
            if against and not obstacle:
                obstacle = f"not pooled: {', '.join(against)} {'points' if len(against) == 1 else 'point'} the other way"
        if obstacle:
            p_supported = p_refuted = 1.0
        simultaneous = run(sign * x, sesoi, alpha / k)
        curve = [(lv, run(values(part), 0.0, alpha)) for lv, part in units.items() if lv is not None]
        notes: dict[str, Any] = {"excluded": len(units[top]) - len(x)} if x.ndim == 1 and len(units[top]) > len(x) else {}
        needed = power.needed(found.spread, sesoi, len(x), alpha, k, runs=rule == "signed rank", ternary=rule == "score")
        if self.unit == "train_seed":
            notes["runs"] = [round(float(v), 6) for v in x]
        if each:
            notes["pooled"] = {name: round(estimate, 6) for name, estimate in each.items()}
        if found.components:
            n, draws = x.shape
            needed, more = power.needed_crossed(found.components, sesoi, n, draws, alpha, k)
            images_limit = found.components[0] / n > found.components[1] / draws
            notes |= {"draws": draws, "needed_draws": more, "limit": "images" if images_limit else "draws"}
        return Verdict(
            label=label,
            question=self._sentence(kind, sesoi, top) if self.ask not in TRENDS else self._trend_sentence(),
            outcome="inconclusive",
            kind=kind,
            metric=self.metric,
            estimate=sign * found.estimate,
            low=min(sign * found.low, sign * found.high),
            high=max(sign * found.low, sign * found.high),
            wide=(
                min(sign * simultaneous.low, sign * simultaneous.high),
                max(sign * simultaneous.low, sign * simultaneous.high),
            ),
            sesoi=sign * sesoi,
            p_supported=p_supported,
            p_refuted=p_refuted,
            n=len(x),
            unit={"train_seed": "training seed", effects.GROUP: "image group"}.get(self.unit, "image"),
            rule=rule,
            spread=found.spread,
            needed=needed,
            obstacle=obstacle,
            notes=notes,
            curve=tuple((float(lv), r.estimate, r.low, r.high) for lv, r in curve),
            direction=0 if self.ask == "equivalent" else int(sign),
            top=top,
            between=self.between,
        )

    def _rule(self, x: np.ndarray, kind: Kind, all_units: list[pd.Series]) -> str:
        if self.unit == effects.BOTH and kind == "ratio":
            raise BadInput(f"{self.metric} is judged by log-ratios, which the two-way rule does not take: it averages differences")
        if self.unit in BY_UNIT:
            return BY_UNIT[self.unit]
        if self.ask in TRENDS:
            return "score"
        if kind == "ratio":
            return "trimmed mean"
        if kind == "hit" and all(np.isin(effects.known(u), (-1, 0, 1)).all() for u in all_units):
            return "score"
        return "mean"

    def _beside(self, wide: Any, top: float | None, kind: Kind, verdict: Verdict) -> dict[str, Any]:
        """What is printed beside a verdict and decides nothing: trend, ratio of the means, share beyond the SESOI."""
        found: dict[str, Any] = {}
        if len(wide.columns) > 2:
            found |= effects.trend(wide)
        if kind == "ratio" and top is not None:
            ratio = float(np.log(wide[top].mean() / wide.iloc[:, 0].mean()))
            beyond = np.sign(verdict.sesoi or 1) * effects.known(effects.response(wide, kind, top))
            found |= {
                "ratio_of_means": ratio,
                "signs_differ": bool(ratio * verdict.estimate < 0),
                "share_beyond": float(np.mean(beyond > abs(verdict.sesoi))),
            }
        return found

    def _trend_sentence(self) -> str:
        whose = "images that do" if self.unit == "image" else "runs"
        return f"{self.metric} {self.ask} with the level: {whose}, rho beyond {'minus ' * (self.ask == 'decreases')}{self.sesoi}"

    def _sentence(self, kind: Kind, sesoi: float, top: float | None) -> str:
        size = shown(abs(sesoi), kind, sign=False) if sesoi >= 0 else f"minus {shown(abs(sesoi), kind, sign=False)}"
        who = f", {self.between[0]} minus {self.between[1]}," if self.between else ""
        verb = {"rises": "rises by more than", "falls": "falls by more than", "exceeds": "exceeds", "below": "is below minus",
                "equivalent": "stays within plus or minus"}[self.ask]  # fmt: skip
        what = f"change of {self.metric}" if who and top is not None else self.metric  # a difference of changes
        return f"{what}{who} {verb} {size}"


def _part(frame: pd.DataFrame) -> str:
    """Which part of a sweep a table is, where a perturbation's own key column was narrowed to one of its values."""
    own = {key: frame[key] for key in frame.attrs.get("keys", ()) if isinstance(frame[key].dtype, pd.CategoricalDtype)}
    found = {key: str(c.iloc[0]) for key, c in own.items() if c.nunique() == 1 < len(c.cat.categories)}
    found |= {key: ", ".join(values) for key, values in frame.attrs.get("part", {}).items() if key not in ("level", "net")}
    return ", ".join(f"{key} = {value}" for key, value in found.items())


def _scope(frame: pd.DataFrame, unit: str, n: int, pool: str | None = None) -> str:
    images, draws = (frame.attrs.get(f"mean over {name}s", frame[name].nunique()) for name in ("image", "draw"))
    data = ", ".join(map(str, frame["dataset"].unique()))
    common = tables.common_draws(frame)
    plural = "s" if draws > 1 else ""
    noise = f"th{'ese' if draws > 1 else 'is'} {draws} draw{plural}, common to all images" if common else (
        f"{draws} noise draw{plural} per image"
    )  # fmt: skip
    checkpoints = "these checkpoints" if frame["net"].nunique() > 1 else "this checkpoint"
    if unit == effects.GROUP:
        return f"over {n} disjoint groups of images of {data}, for {checkpoints}"
    if unit == effects.BOTH:
        return f"over {n:,} images of {data} and over draws ({draws} of them, common to all images), for {checkpoints}"
    if unit == "image":
        return f"over {n:,} images of {data}, for {checkpoints} and {noise}"
    if common:
        noise = f"{draws} draw{plural} per training seed, common to all images"
    units = f"{n} training runs of {frame[pool].nunique()} networks" if pool == "net" else f"{n} training seeds"
    return f"over {units}, on these {images:,} images of {data} and {noise}"
