"""Decides one member of a family: the rule, its finding, what is in the way, what is told."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from probes.errors import BadInput
from probes.judge import effects, power, rules, ruling
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
RULES: Mapping[str, Callable[..., ruling.Ruling]] = {
    "trimmed mean": rules.trimmed_mean,
    "mean": rules.mean,
    "score": rules.score,
    "signed rank": rules.signed_rank,
    "two-way": rules.two_way,
    "group mean": rules.group_mean,
}


BY_UNIT: Mapping[str, str] = {
    "train_seed": "signed rank",
    effects.BOTH: "two-way",
    effects.GROUP: "group mean",
}
"""The rule of a unit, where it needs no look at the values."""


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


def _unreached(x: np.ndarray, sesoi: float, rule: str, top: float | None) -> bool:
    """Whether no effect of a perturbation is a thousandth of the SESOI, and some are not 0."""
    if rule == "score" or top is None or not sesoi or not x.any():
        return False
    return bool(np.abs(x).max() < abs(sesoi) / 1000)


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
            p_refuted = _outside(found, other, sesoi, rule)
        excluded = len(units[top]) - len(x) if x.ndim == 1 else 0
        share = max(excluded / len(units[top]), lost[1])
        if share > rules.TRIM and not obstacle:
            inside = " of a training run" if lost[1] == share else ""
            obstacle = (
                f"{share:.0%} of the images{inside} are 0/0 and left out, at most 20 % may be"
            )
        if _unreached(x, sesoi, rule, top) and not obstacle:
            obstacle = (
                "the perturbation did not reach this metric: no effect is a thousandth of the SESOI"
            )
        if (
            rule == "signed rank"
            and not obstacle
            and (least := power.runs_needed(alpha, k)) > len(x)
        ):
            obstacle = f"a family of {k} needs {least} training runs, there are {len(x)}"
        if self.pool:
            parts = units[top].groupby(level=self.pool, observed=True)
            each = {
                str(name): sign * run(sign * part.to_numpy(float), sesoi, alpha).estimate
                for name, part in parts
            }
            against = [
                name for name, estimate in each.items() if estimate * sign * found.estimate <= 0
            ]
            if against and not obstacle:
                obstacle = (
                    f"not pooled: {', '.join(against)} {'points' if len(against) == 1 else 'point'}"
                    " the other way"
                )
        if obstacle:
            p_supported = p_refuted = 1.0
        simultaneous = run(sign * x, sesoi, alpha / k)
        curve = [
            (lv, run(values(part), 0.0, alpha)) for lv, part in units.items() if lv is not None
        ]
        notes: dict[str, Any] = {"excluded": many} if (many := excluded + lost[0]) else {}
        promised = top is not None or bool(self.between)  # else 0 is not what an effect may be
        needed = power.needed(
            found.spread,
            sesoi,
            len(x),
            alpha,
            k,
            runs=rule == "signed rank",
            ternary=rule == "score",
            both_sides=self.ask == "equivalent",
        )
        if not promised:
            needed = None
        if self.unit == "train_seed":
            notes["runs"] = [round(float(v), 6) for v in x]
        if each:
            notes["pooled"] = {name: round(estimate, 6) for name, estimate in each.items()}
        if found.components:
            n, draws = x.shape
            needed, more = power.needed_crossed(found.components, sesoi, n, draws, alpha, k)
            images_limit = found.components[0] / n > found.components[1] / draws
            notes |= {
                "draws": draws,
                "needed_draws": more,
                "limit": "images" if images_limit else "draws",
            }
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
            unit={"train_seed": "training seed", effects.GROUP: "image group"}.get(
                self.unit, "image"
            ),
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
            raise BadInput(
                f"{self.metric} is judged by log-ratios, which the two-way rule does not take: it"
                " averages differences"
            )
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
        if len(wide.columns) > 2:
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
        whose = "images that do" if self.unit == "image" else "runs"
        return (
            f"{self.metric} {self.ask} with the level: {whose}, rho beyond"
            f" {'minus ' * (self.ask == 'decreases')}{self.sesoi}"
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
