"""The questions of a comparison and their answers: *not worse*, *worse*, *better*, *open*."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from probes import table as tables
from probes.comparing.arms import NEW, OLD
from probes.comparing.conditions import COLUMN, Paired, Under, paired
from probes.errors import BadInput
from probes.judge import Verdicts, calibration, exceeds
from probes.judge.chance import ABOVE_CHANCE
from probes.judge.effects import GROUP
from probes.judge.lazytable import LazyTable
from probes.judge.sesoi import UNIT_OF, quantity
from probes.judge.verdict import Verdict
from probes.measure.confidence import Certainty
from probes.measure.predictions import Predictions
from probes.measure.protocol import Measure
from probes.registry import unknown
from probes.run.bench import Bench

SIDE: Mapping[str, int] = {
    **{"correct": 1, "margin": 1, "auroc": 1},
    **{"loss": -1, "brier": -1, "ece": -1},
}
"""Metrics that have a better side: 1 where more is better, -1 where less is."""
GROUPED = ("ece", "auroc")
"""Metrics that only many images have: a row is a group of them."""
WHOLE = 100.0
"""What a share can change by, in points."""
ANSWERS = ("worse", "open", "not worse", "better")
Margin = str | float


def measure_for(metrics: Sequence[str]) -> Measure:
    """What measures these metrics in one pass. It has no floor: a new network at chance is worse,
    not open.

    Raises UnknownName for a metric without a better side, BadInput for none, or one twice.
    """
    for name in metrics:
        if name not in SIDE:
            raise unknown("metric with a better side", name, SIDE)
    if not metrics or len(set(metrics)) < len(metrics):
        raise BadInput(f"metrics {', '.join(metrics) or 'none'}: one or several different ones")
    plain = all(name in ("correct", "loss") for name in metrics)
    return Predictions(floor=None) if plain else Certainty(floor=None)


def margin_of(margin: Margin, metric: str) -> tuple[float, str]:
    """A margin as typed, for a metric: the number and its unit. 0 needs no unit.

    Raises BadInput for a margin below 0, for one of another unit than the metric's, and for one
    that no difference can reach.

    >>> margin_of("1 point", "correct"), margin_of(0, "brier")
    ((1.0, 'points'), (0.0, ''))
    """
    value, unit = quantity(margin, 'e.g. "1 point"', "margin")
    wanted = UNIT_OF[tables.kind_of(metric)]
    if not value >= 0:
        raise BadInput(f"margin {margin!r}: how much worse would not matter, a number from 0 up")
    if value and unit != wanted:
        example = '"1 point"' if wanted else "0.01"
        raise BadInput(
            f"margin {margin!r}: {metric} is judged in {wanted or 'plain numbers'}, so write e.g."
            f" {example}; with several metrics one for each, correct='1 point' brier=0.01"
        )
    if wanted and value >= WHOLE:
        raise BadInput(
            f"margin {margin!r}: {metric} can't change by more than 100 points, so that nothing"
            ' would be worse; write e.g. "1 point"'
        )
    return value, wanted


def not_worse(
    asked: Bench | LazyTable,
    metric: str = "correct",
    *,
    margin: Margin,
    under: Under = (),
    draws: int = 1,
) -> Verdicts:
    """Is the new network not worse than the old one by the margin, under each condition? A question
    of non-inferiority, with Holm over conditions.

    ``asked`` is a lab of ``pair(old, new)``, or a table of
    :func:`probes.comparing.conditions.paired`. The effect is the difference on the same images and
    draws, turned so that above 0 is better; the question is supported where it lies above minus the
    margin, refuted where it lies below that. Several training runs of each make the unit the run.
    Raises what the judge raises, and UnknownName for a metric without a better side.

    >>> from probes import Lab, pair
    >>> lab = Lab(pair("resnet20@mnist5k#0", "resnet20@mnist5k#1"), quiet=True)
    >>> not_worse(lab, margin="5 points").overall
    'supported'
    """
    return _asked(_table(asked, metric, under, draws), metric, margin, -1)


def better(
    asked: Bench | LazyTable,
    metric: str = "correct",
    *,
    margin: Margin,
    under: Under = (),
    draws: int = 1,
) -> Verdicts:
    """Is the new network better than the old one by more than the margin, under each condition? As
    :func:`not_worse`.
    """
    return _asked(_table(asked, metric, under, draws), metric, margin, 1)


def _table(asked: Bench | LazyTable, metric: str, under: Under, draws: int) -> LazyTable:
    table: Any = asked
    if isinstance(asked, Bench):
        table = paired(asked, measure_for([metric]), under, draws)
    elif under != () or draws != 1:
        raise BadInput("a table has its conditions and draws: name them where it is made")
    grouped = metric in GROUPED and isinstance(table, Paired)
    return calibration(table) if grouped else table


def _asked(table: LazyTable, metric: str, margin: Margin, side: int) -> Verdicts:
    value, unit = margin_of(margin, metric)
    several = max(n for _, n in table.design.runs) > 1
    if several and metric in GROUPED:
        raise BadInput(
            f"{metric} of several training runs: it is a number of groups of images of one network;"
            " compare a run of each, or ask for brier"
        )
    arms = (NEW, OLD) if SIDE[metric] > 0 else (OLD, NEW)
    return exceeds(
        table,
        metric,
        between=arms,
        by=COLUMN,
        unit=GROUP if metric in GROUPED else "train_seed" if several else "image",
        sesoi=f"{side * value + 0.0:.17g} {unit}".strip() if value else f"0 {unit}".strip(),
    )


@dataclasses.dataclass(frozen=True)
class Row:
    """The answer under one condition, for one metric: the difference with its interval, in working
    units (shares as such), above 0 where the new network is better; the mean of either network.

    ``low_wide`` and ``high_wide`` are the simultaneous interval over conditions; ``why`` says what
    an open answer lacks, or what else a reader should know.
    """

    metric: str
    condition: str
    answer: str
    difference: float
    low: float
    high: float
    low_wide: float
    high_wide: float
    old: float
    new: float
    n: int
    unit: str
    p_worse: float
    p_not_worse: float
    p_better: float
    why: str = ""


@dataclasses.dataclass(frozen=True)
class Question:
    """A metric of a comparison, its margin, and what was found: ``held`` is *not worse* (supported)
    or *worse* (refuted), ``gained`` is *better*. At a margin of 0 they are one question.
    """

    metric: str
    margin: Margin
    held: Verdicts
    gained: Verdicts

    @property
    def shared(self) -> bool:
        """Whether both are one question."""
        return self.held is self.gained

    def rows(self, means: pd.DataFrame, chance: float) -> list[Row]:
        """A row for each condition; ``means`` are those of the metric by condition and arm, and
        ``chance`` is the accuracy of guessing.
        """
        return [self._row(v, means, chance) for v in self.held]

    def _row(self, v: Verdict, means: pd.DataFrame, chance: float) -> Row:
        gain = self.gained[v.label]
        answer = "open"
        if v.outcome == "refuted":
            answer = "worse"
        elif gain.outcome == "supported":
            answer = "better"
        elif v.outcome == "supported":
            answer = "not worse"
        why = v.obstacle or (v.advice().removeprefix("open: ") if answer == "open" else "")
        old, new = (float(means[arm][v.label]) for arm in (OLD, NEW))
        if self.metric == "correct" and max(old, new) < chance + ABOVE_CHANCE:
            why = f"both are near chance ({chance:.1%}): there is nothing to lose"
        return Row(
            self.metric,
            v.label,
            answer,
            v.estimate,
            v.low,
            v.high,
            *v.wide,
            old,
            new,
            v.n,
            v.unit,
            v.p_refuted,
            v.p_supported,
            gain.p_supported,
            "" if why == "open" else why,
        )


def question(
    metric: str,
    margin: Margin,
    ask: Callable[[Callable[[Any], Verdicts]], Verdicts],
    again: Callable[[Callable[[Any], Verdicts], Verdicts], Verdicts],
) -> Question:
    """A metric asked of a table: ``ask(q)`` answers a question q of it, ``again(q, found)`` another
    one on the same images.
    """
    held = ask(lambda asked: not_worse(asked, metric, margin=margin))
    if not margin_of(margin, metric)[0]:
        return Question(metric, margin, held, held)
    gained = again(lambda asked: better(asked, metric, margin=margin), held)
    return Question(metric, margin, held, gained)


def overall(questions: Sequence[Question], rows: Sequence[Row]) -> str:
    """The answer over all conditions and metrics: *worse* if any is, after Holm; *not worse* if all
    are, each at the level of a single one (an intersection-union test); *better* if one is besides;
    else *open*.
    """
    found = [row.answer for row in rows]
    if "worse" in found:
        return "worse"
    if not all(q.held.overall == "supported" for q in questions):
        return "open"
    return "better" if "better" in found else "not worse"


def level(alpha: float, metrics: int) -> float:
    """The level at which each direction of each metric is judged, so that any false *worse* or
    *better* has at most the chance alpha.

    Holm corrects over conditions within a direction. Over the two directions, and over metrics,
    alpha is divided evenly (Bonferroni): each question, *worse* and *better*, is a family of its
    own at alpha / (2 M) for M metrics. So at any margin P(any false worse or any false better) is
    at most alpha, whatever the dependence of conditions and metrics, and the interval that is shown
    is that of 1 - alpha / M. A false *not worse* under any condition has at most half of alpha.

    >>> level(0.05, 1)
    0.025
    """
    return alpha / (2 * metrics)


def means_of(table: LazyTable, metric: str) -> pd.DataFrame:
    """The mean of a metric over images, draws and runs: a row per condition, a column per arm."""
    found = table.frame.groupby([COLUMN, "net"], observed=True)[metric].mean()
    wide = found.unstack("net")
    wide.index = wide.index.astype(str)
    wide.columns = wide.columns.astype(str)
    return wide
