"""What a comparison says: a row in words, and the evidence of its questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from probes import table as tables
from probes.comparing.answers import SIDE, Question, Row
from probes.comparing.arms import Arms
from probes.comparing.conditions import Paired
from probes.judge import Verdicts
from probes.judge.wording import counted, p_shown, shown
from probes.run.judging import told


def effect_of(row: Row) -> str:
    """The difference with its interval, in the unit that people read."""
    kind = tables.kind_of(row.metric)
    value = shown(row.difference, kind)
    low, high = (shown(v, kind).split(" ")[0] for v in (row.low, row.high))
    return f"{value} [{low}, {high}]"


def value_of(row: Row, value: float) -> str:
    """The mean of a network: a share in percent, any other number as it is."""
    share = tables.kind_of(row.metric) in ("share", "hit")
    return f"{value:.2%}" if share else f"{value:.4g}"


def p_of(row: Row) -> str:
    """The p-value that the answer rests on; of an open one the smallest."""
    given = {"worse": row.p_worse, "better": row.p_better, "not worse": row.p_not_worse}
    return p_shown(given.get(row.answer, min(row.p_worse, row.p_not_worse, row.p_better)))


def shown_row(row: Row, wide: int, named: bool) -> str:
    """A row for the terminal; ``named`` says that there are several metrics."""
    metric = f"{row.metric:8} " if named else ""
    values = f"{value_of(row, row.old)} -> {value_of(row, row.new)}"
    text = f"{metric}{row.condition:{wide}}  {row.answer:9}  {effect_of(row):32}  {values}"
    return f"{text}; {row.why}" if row.why else text


def line_of(table: Paired, arms: Arms, q: Question) -> list[dict[str, Any]]:
    """The evidence lines of a metric: *not worse*, and, where the margin is above 0, *better*."""
    label = tables.label_of(q.metric) + ("" if SIDE[q.metric] > 0 else " (less is better)")
    if q.shared:
        sentence = f"{arms.new} is better than {arms.old} in {label}, under every condition."
        return [_line(table, arms, f"BETTER-{q.metric}", sentence, q.held)]
    held = (
        f"{arms.new} is not {q.margin} or more worse than {arms.old} in {label}, under any"
        " condition."
    )
    gained = (
        f"{arms.new} is better than {arms.old} by more than {q.margin} in {label}, under every"
        " condition."
    )
    return [
        _line(table, arms, f"NOT-WORSE-{q.metric}", held, q.held),
        _line(table, arms, f"BETTER-{q.metric}", gained, q.gained),
    ]


def _line(table: Paired, arms: Arms, ident: str, sentence: str, found: Verdicts) -> dict[str, Any]:
    line = told(table.lab, found, (ident, sentence, ""), str(arms))
    return line | {"weights": {**table.before, **line["weights"]}}


def in_words(answer: str, rows: Sequence[Row]) -> str:
    """The answer in one sentence, with the conditions that decide it."""

    def some(which: str) -> str:
        mine = [row for row in rows if row.answer == which]
        metrics = len({row.metric for row in rows}) > 1
        named = [f"{row.metric}, {row.condition}" if metrics else row.condition for row in mine]
        more = f" and {len(mine) - 3} more" if len(mine) > 3 else ""
        return f"{len(mine)} of {counted(len(rows), 'condition')} ({'; '.join(named[:3])}{more})"

    if answer == "worse":
        return f"worse under {some('worse')}"
    if answer == "better":
        return f"worse under no condition, better under {some('better')}"
    if answer == "not worse":
        left = [row for row in rows if row.answer == "open"]
        alone = f", all together; by themselves, after Holm, {len(left)} of {len(rows)} are open"
        return f"not worse under any condition{alone if left else ''}"
    return f"not decided: open under {some('open')}"
