"""A question as data, and how it is asked of a table: the rule by the kind of effect and the unit,
then the verdicts.

An effect is the response to the highest level: a log-ratio to level 0 for norms and variances
(SESOI in ``%``), a difference for shares and accuracy (``points``). The verdict is ``supported``
when a one-sided test at alpha excludes every effect up to the SESOI, ``refuted`` when it excludes
every effect as large as the SESOI, else ``inconclusive``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import pandas as pd

from probes import table as tables
from probes.errors import BadInput
from probes.judge import effects, leftout, power
from probes.judge.chance import at_chance
from probes.judge.deciding import ASKS, BY_UNIT, FALLS, FLOORED, TRENDS, Asked
from probes.judge.scope import part_of, scope_of
from probes.judge.sesoi import sesoi_of
from probes.judge.verdict import Verdict, Verdicts, settle
from probes.registry import unknown
from probes.table import Kind


class Sweepable(Protocol):
    """A table of a lab, which may not be computed yet: :class:`probes.judge.lazytable.LazyTable`."""  # noqa: E501

    design: power.Design
    alpha: float
    say: Callable[[str], None]

    @property
    def frame(self) -> pd.DataFrame: ...


@dataclasses.dataclass(frozen=True)
class Question(Asked):
    """A question as data: what :func:`rises` and the others ask, so that anyone can ask it again of
    the same table.
    """

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)

    def of(self, table: pd.DataFrame | Sweepable, alpha: float | None = None) -> Verdicts:
        """Judge a table; see the functions of this module for what is raised."""
        if self.ask not in ASKS:
            raise unknown("question", self.ask, ASKS)
        if self.between is not None and (
            len(self.between) != 2 or self.between[0] == self.between[1]
        ):
            raise BadInput(
                f"between={self.between!r}: two different values of {self.arm!r}, the first minus"
                " the second"
            )
        # Its design tells: to ask for its frame would compute it.
        if not isinstance(table, pd.DataFrame) and not hasattr(table, "design"):
            raise BadInput(
                f"{self.ask}({table!r:.60}, ...): a question is asked of a table, as"
                " lab.sweep(...) gives, or of a DataFrame with its columns"
            )
        asked = table.attrs.get(tables.ASKED) if isinstance(table, pd.DataFrame) else table
        if self.typical not in (None, "draw") or (self.typical and self.unit != effects.BOTH):
            raise BadInput(
                f"typical={self.typical!r} with unit={self.unit!r}: the typical draw is"
                f" typical='draw' with unit={effects.BOTH!r}"
            )
        if alpha is None:
            alpha = 0.05 if asked is None else asked.alpha
        if not isinstance(table, pd.DataFrame):
            self.foresee(table, alpha)
            table = table.frame
        return dataclasses.replace(self._judge(tables.check(table), alpha), asked=(asked,))

    def foresee(self, sweep: Sweepable, alpha: float | None = None) -> None:
        """Say, before anything is computed, why the design of a table can't decide; nothing where
        it can.
        """
        alpha = sweep.alpha if alpha is None else alpha
        kind = tables.kind_of(self.metric)
        design = sweep.design
        ternary = "score" if self.ask in TRENDS else None
        if kind == "hit" and (
            self.cluster or design.draws > 1 or (self.between and len(design.levels) > 1)
        ):
            kind = "share"  # means over draws, and drops compared, are not -1, 0 or 1
        rule = (
            ("typical draw" if self.typical == "draw" else BY_UNIT.get(self.unit))
            or ternary
            or {"ratio": "trimmed mean", "hit": "score"}.get(kind, "mean")
        )
        if self.pool:
            design = dataclasses.replace(
                design,
                runs=(("all", sum(n for _, n in design.runs) // (2 if self.between else 1)),),
            )
        if problem := power.foresee(
            design, rule, alpha, sweep.design.sites if self.by == "site" else 1
        ):
            sweep.say(f"{self.ask}({self.metric}): {problem}")

    def _judge(self, frame: pd.DataFrame, alpha: float) -> Verdicts:
        if self.ask in TRENDS:
            return self._trends(frame, alpha)
        kind = self.kind or tables.metric(self.metric, frame).kind
        sesoi = sesoi_of(self.sesoi, self.metric, kind, -1 if self.ask in FALLS else 1)
        wide = effects.averaged(
            effects.clustered(frame, self.cluster, self.unit),
            self.metric,
            self.unit,
            self.by,
            self.arm if self.between else None,
            self.pool,
        )
        levels = [float(v) for v in wide.columns]
        if len(levels) > 1 and levels[0] != 0:
            raise BadInput(
                f"{self.metric}: levels {levels} lack 0, which effects are measured from"
            )
        if len(levels) == 1 and self.ask in ("rises", "falls"):
            raise BadInput(
                f"{self.ask}({self.metric}) needs level 0 and one more, the table has level"
                f" {levels[0]:g} only"
            )
        top = levels[-1] if len(levels) > 1 else None
        arms = (self.arm, self.between) if self.between else None
        if kind == "ratio":
            leftout.refuse_no_ratio(wide, self.metric)
        responses = {
            lv: leftout.whole(effects.response(wide, kind, lv), self.by, arms[0] if arms else None)
            for lv in ([top] if top is None else levels[1:])
        }
        units = {
            lv: effects.per_unit(found, kind, self.unit, self.by, arms)
            for lv, found in responses.items()
        }
        lost = leftout.lost(responses[top], self.by) if self.unit == "train_seed" else {}
        labels = list(units[top])
        items = []
        for label in labels:
            one = self.decide(
                label,
                {lv: found[label] for lv, found in units.items()},
                top,
                kind,
                sesoi,
                alpha,
                len(labels),
                lost.get(label, (0, 0.0)),
            )
            if self.unit == "image" and not self.between:
                here = wide if self.by is None else wide.xs(label, level=self.by)
                one = dataclasses.replace(
                    one, notes={**one.notes, **self.beside(here, top, kind, one)}
                )
            items.append(one)
        return self._settled(self._with_floor(items, frame), frame, kind, alpha)

    def _with_floor(self, items: list[Verdict], frame: pd.DataFrame) -> list[Verdict]:
        """The verdicts, open where a network is not above chance on clean images: there is no
        accuracy to lose.
        """
        if self.metric not in FLOORED or not (problem := at_chance(frame)):
            return items
        return [
            dataclasses.replace(v, obstacle=v.obstacle or problem, p_supported=1.0, p_refuted=1.0)
            for v in items
        ]

    def _settled(
        self, items: list[Verdict], frame: pd.DataFrame, kind: Kind, alpha: float
    ) -> Verdicts:
        keep = [*tables.keys_of(frame), self.metric]
        if part := part_of(frame):
            items = [
                dataclasses.replace(v, question=f"{v.question} ({part})", part=part) for v in items
            ]
        scope = scope_of(frame, self.unit, items[0].n, self.pool, self.cluster, self.typical)
        used = frame[keep]
        used.attrs = {name: value for name, value in frame.attrs.items() if name != tables.ASKED}
        return Verdicts(settle(items, alpha), alpha, scope, self.json() | {"kind": kind}, (used,))

    def _trends(self, frame: pd.DataFrame, alpha: float) -> Verdicts:
        bound = sesoi_of(self.sesoi, "rho", "plain")
        if not 0 < bound < 1:
            raise BadInput(
                f"{self.ask}(rho={self.sesoi!r}): the bound of a correlation lies between 0 and 1"
            )
        if self.unit in (effects.BOTH, effects.GROUP) or self.between or self.pool:
            raise BadInput(
                f"{self.ask}({self.metric}) is asked of images or of training runs, of one arm"
            )
        wide = effects.averaged(
            effects.clustered(frame, self.cluster, self.unit), self.metric, self.unit, self.by, None
        )
        if len(wide.columns) < 3:
            raise BadInput(
                f"{self.ask}({self.metric}) needs three levels or more, the table has"
                f" {len(wide.columns)}"
            )
        found = effects.trends(wide, self.unit, self.by)
        if self.unit == "image":  # beyond the bound, within, below: the score test on -1, 0, 1
            found = {
                label: np.sign(rho).where(rho.abs() > bound, 0.0) for label, rho in found.items()
            }
        images = self.unit == "image"
        delta = sesoi_of(self.least, self.metric, "share") if images else bound
        if images and not 0 < delta < 1:
            raise BadInput(
                f"{self.ask}(least={self.least!r}): a share of the images between 0 and 100 points"
            )
        kind: Kind = "share" if images else "plain"
        items = [
            self.decide(label, {None: x}, None, kind, delta, alpha, len(found))
            for label, x in found.items()
        ]
        return self._settled(self._with_floor(items, frame), frame, kind, alpha)
