"""Decides one member of a family: the rule, its finding, what is in the way, what is told."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from probes import table as tables
from probes.errors import BadInput
from probes.judge import crossed, effects, power, ranking, rules, ruling, unseen
from probes.judge.obstacles import in_the_way, pooled
from probes.judge.sesoi import LARGEST
from probes.judge.verdict import Verdict
from probes.judge.wording import shown
from probes.table import Kind

TRENDS = ("increases", "decreases")
FALLS = ("falls", "below")
FLOORED = ("correct", "mask_lost")
"""Metrics of accuracy: of a network that names no more than chance does there is nothing to lose.
"""
ASKS = ("rises", "falls", "exceeds", "below", "equivalent", *TRENDS)
LEAST = "5 points"
"""By how much the images that follow a trend outnumber those that go against it, where a claim
names no other share.
"""
RULES: Mapping[str, Callable[..., ruling.Ruling]] = {
    "trimmed mean": rules.trimmed_mean,
    "mean": rules.mean,
    "score": rules.score,
    "signed rank": ranking.signed_rank,
    "two-way": crossed.two_way,
    "typical draw": crossed.typical_draw,
    "typical group": ranking.typical_group,
}


BY_UNIT: Mapping[str, str] = {
    "train_seed": "signed rank",
    effects.BOTH: "two-way",
    effects.GROUP: "typical group",
}
"""The rule of a unit, where it needs no look at the values."""
UNIT_NAMES = {"train_seed": "training seed", effects.GROUP: "image group"}


def _outside(found: ruling.Ruling, other: ruling.Ruling, sesoi: float, rule: str) -> float:
    """The p-value of an effect beyond plus or minus the SESOI, from the rulings at either: the
    smaller one, and the chance that the estimate lies as far out on the other side.

    Exact where the effect is at an edge; twice the smaller p for ranks, whose law has no scale.
    """
    p = min(found.p_up, other.p_down)
    se = found.spread / math.sqrt(found.n)
    if rule == "signed rank" or not (se > 0 and math.isfinite(se)):
        return min(1.0, 2 * p)
    return min(1.0, p + float(stats.norm.sf(stats.norm.isf(p) + 2 * sesoi / se)))


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is asked of a table: the verb, the metric, the SESOI, and of which units and arms."""

    ask: str
    metric: str
    sesoi: str | float
    by: str | None = None
    unit: str = "image"
    between: tuple[str, str] | None = None
    arm: str = "net"
    kind: Kind | None = None
    pool: str | None = None
    least: str | float = LEAST
    typical: str | None = None
    cluster: str | None = None

    def decide(
        self,
        label: str,
        units: dict[float | None, pd.Series],
        top: float | None,
        kind: Kind,
        sesoi: float,
        alpha: float,
        k: int,
        lost: tuple[int, float] = (0, 0.0),
    ) -> Verdict:
        """The verdict of one of ``k`` members, from its effects at each level; Holm comes later.

        ``lost`` is how many images are 0/0 inside training runs, and the largest share in one.
        """
        values = effects.matrix if self.unit == effects.BOTH else effects.known
        x = values(units[top])
        if len(x) == 0:
            raise BadInput(f"{self.metric} {label}: every ratio is 0/0, nothing is left to judge")
        rule = self._rule(x, kind, list(units.values()))
        run = RULES[rule]
        sign = -1.0 if self.ask in ("falls", "below", "decreases") else 1.0
        found = run(sign * x, sesoi, alpha)
        p_supported, p_refuted = found.p_up, found.p_down
        other = run(x, -sesoi, alpha) if self.ask == "equivalent" else found
        if self.ask == "equivalent":
            p_supported = max(found.p_down, other.p_up)
            p_refuted = _outside(found, other, sesoi, rule)
        excluded = len(units[top]) - len(x) if x.ndim == 1 else 0
        share = max(excluded / len(units[top]), lost[1])
        against, each = pooled(units[top], self.pool, sign, found.estimate, sesoi, run)
        obstacle = found.obstacle or in_the_way(
            x, rule, sesoi, alpha, k, reached_at=top, share=share, inside=lost[1] == share
        )
        obstacle = obstacle or against
        notes: dict[str, Any] = {"excluded": many} if (many := excluded + lost[0]) else {}
        if bound := tables.bound_of(self.metric):
            notes["bound"] = bound
            if (bound == "lower") == (sign > 0):
                p_refuted = 1.0
            else:
                p_supported = 1.0
            if self.ask == "equivalent":
                p_supported, p_refuted = 1.0, found.p_up if bound == "lower" else other.p_down
            if top is not None or self.between:
                obstacle = obstacle or f"{self.metric} is a {bound} bound, a difference is none"
        if obstacle:
            p_supported = p_refuted = 1.0
        if self.unit == "train_seed":
            notes["runs"] = [round(float(v), 6) for v in x]
        if each:
            notes["pooled"] = {name: round(estimate, 6) for name, estimate in each.items()}
        needed, more = self._needed(found, x, rule, top, sesoi, alpha, k)
        notes |= more
        of_images = self.unit == "image" and not self.cluster
        if of_images and kind in ("share", "hit") and min(p_supported, p_refuted) <= alpha:
            side = 1 if p_supported <= alpha else -1
            edge = sesoi * side if self.ask == "equivalent" and side < 0 else sesoi
            if (undone := unseen.fragility(sign * x, run, edge, alpha, side)) is not None:
                notes["fragility"] = undone
        simultaneous = run(sign * x, sesoi, alpha / k)
        curve = [
            (lv, run(values(part), 0.0, alpha)) for lv, part in units.items() if lv is not None
        ]
        return Verdict(
            label=label,
            question=(
                self._sentence(kind, sesoi, top)
                if self.ask not in TRENDS
                else self._trend_sentence()
            ),
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
            unit=UNIT_NAMES.get(self.unit, self.cluster or "image"),
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

    def _needed(
        self,
        found: ruling.Ruling,
        x: np.ndarray,
        rule: str,
        top: float | None,
        sesoi: float,
        alpha: float,
        k: int,
    ) -> tuple[int | None, dict[str, Any]]:
        """How many units would decide, and what limits where draws are common to all images."""
        if found.components:
            n, draws = x.shape
            needed, more = power.needed_crossed(found.components, sesoi, n, draws, alpha, k)
            images_limit = found.components[0] / n > found.components[1] / draws
            limit = "images" if images_limit else "draws"
            return needed, {"draws": draws, "needed_draws": more, "limit": limit}
        balance = self.ask in TRENDS and self.unit == "image"
        if top is None and not self.between and not balance:
            return None, {}  # 0 is not what such an effect may be
        return (
            power.needed(
                found.spread,
                sesoi,
                len(x),
                alpha,
                k,
                runs=rule == "signed rank",
                ternary=rule == "score",
                both_sides=self.ask == "equivalent",
            ),
            {},
        )

    def _rule(self, x: np.ndarray, kind: Kind, all_units: list[pd.Series]) -> str:
        if self.unit == effects.BOTH and kind == "ratio":
            raise BadInput(
                f"{self.metric} is judged by log-ratios, which the two-way rule does not take: it"
                " averages differences"
            )
        if self.unit == effects.BOTH and self.typical == "draw":
            return "typical draw"
        if self.unit in BY_UNIT:
            return BY_UNIT[self.unit]
        if self.ask in TRENDS:
            return "score"
        if kind == "ratio":
            return "trimmed mean"
        if kind == "hit" and all(np.isin(effects.known(u), (-1, 0, 1)).all() for u in all_units):
            return "score"
        return "mean"

    def beside(self, wide: Any, top: float | None, kind: Kind, verdict: Verdict) -> dict[str, Any]:
        """What is printed beside a verdict and decides nothing: trend, ratio of the means, share
        beyond the SESOI.
        """
        found: dict[str, Any] = {}
        if len(wide.columns) > 2 and len(wide) > 1:
            found |= effects.trend(wide)
        if kind == "ratio" and top is not None:
            ratio = float(np.log(wide[top].mean() / wide.iloc[:, 0].mean()))
            side = verdict.direction or 1
            beyond = side * (effects.known(effects.response(wide, kind, top)) - verdict.sesoi)
            found |= {
                "ratio_of_means": ratio,
                "signs_differ": bool(ratio * verdict.estimate < 0),
                "share_beyond": float(np.mean(beyond > 0)),
            }
        return found

    def _trend_sentence(self) -> str:
        beyond = f"rho beyond {'minus ' * (self.ask == 'decreases')}{self.sesoi}"
        if self.unit == "train_seed":
            return f"{self.metric} {self.ask} with the level: runs, {beyond}"
        return (
            f"{self.metric} {self.ask} with the level: images that do, {beyond}, outnumber those"
            f" that go the other way by more than {self.least} of all"
        )

    def _sentence(self, kind: Kind, sesoi: float, top: float | None) -> str:
        size = (
            shown(abs(sesoi), kind, sign=False)
            if sesoi >= 0
            else f"minus {shown(abs(sesoi), kind, sign=False)}"
        )
        if kind == "ratio" and abs(math.expm1(sesoi)) > LARGEST / 100 and self.ask in FALLS:
            size = f"a factor of {math.exp(sesoi):.3g} ({math.expm1(-sesoi) * 100:.3g} %)"
        who = f", {self.between[0]} minus {self.between[1]}," if self.between else ""
        verb = {
            "rises": "rises by more than",
            "falls": "falls by more than",
            "exceeds": "exceeds",
            "below": "is below minus",
            "equivalent": "stays within plus or minus",
        }[self.ask]
        what = (
            f"change of {self.metric}" if who and top is not None else self.metric
        )  # a difference of changes
        return f"{what}{who} {verb} {size}"
