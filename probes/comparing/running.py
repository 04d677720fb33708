"""A comparison from beginning to end, and what it found: ``probes.compare(old, new, ...)``."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from probes.comparing.answers import (
    Margin,
    Question,
    Row,
    level,
    margin_of,
    means_of,
    measure_for,
    overall,
)
from probes.comparing.arms import NEW, OLD, Arms, Seeds, bench_of
from probes.comparing.baseline import Baseline
from probes.comparing.conditions import Paired, Under
from probes.comparing.flips import Pictures, flips, pictured
from probes.comparing.insides import insides
from probes.comparing.planning import Plan, asked_of, beside, conditions_as_typed, grouped
from probes.comparing.telling import effect_of, in_words, line_of, shown_row
from probes.errors import BadInput
from probes.judge.wording import cover
from probes.run.bench import Bench
from probes.run.console import say as print_line
from probes.run.settings import Options
from probes.store import Store
from probes.tell import origins

CODES = {"not worse": 0, "better": 0, "worse": 1, "open": 2}
"""The exit code of each answer."""


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """What a comparison found. ``answer`` is *not worse*, *better*, *worse* or *open*; ``rows`` the
    answer under each condition, for each metric; ``code`` the exit code of the command.

    ``alpha`` bounds the chance of any false *worse* or *better*.
    ``flips`` counts images by condition and class, ``insides`` is the profile by layer,
    ``pictures`` the first flipped images, where pictures may be shown. ``questions`` hold the
    verdicts, ``notes`` say what a reader should know. It is no boolean.
    """

    old: str
    new: str
    answer: str
    rows: tuple[Row, ...]
    questions: tuple[Question, ...]
    alpha: float
    table: Paired
    flips: pd.DataFrame
    insides: pd.DataFrame
    pictures: Pictures | None
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        raise TypeError(
            "a comparison is no boolean: its answer is not worse, better, worse or open; read"
            " .answer"
        )

    @property
    def code(self) -> int:
        """0 for not worse and better, 1 for worse, 2 for open."""
        return CODES[self.answer]

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as a table."""
        return pd.DataFrame([dataclasses.asdict(row) for row in self.rows])

    def __str__(self) -> str:
        first = self.questions[0].held
        head = f"{self.answer}: {self.new} against {self.old}, {first.scope}"
        said = in_words(self.answer, self.rows)
        margins = ", ".join(f"{q.metric} {q.margin}" for q in self.questions)
        levels = dict.fromkeys(cover(q.held.level) for q in self.questions)
        told = f"margin {margins}; intervals of {', '.join(levels)}"
        wide = max(len(row.condition) for row in self.rows)
        rows = [f"  {shown_row(row, wide, len(self.questions) > 1)}" for row in self.rows]
        return "\n".join([head, *self.notes, told, *rows, said])

    def report(self, folder: Path | str, command: Sequence[str] | None = None) -> Path:
        """Write a report: page, figures, tables, evidence. ``probes verify FOLDER`` checks it.
        Returns the path of the page.
        """
        from probes.comparing.pages import write

        asked = {q.metric: q for q in self.questions}
        frame = self.frame
        tables = {
            "compare": frame.assign(
                margin=[str(asked[metric].margin) for metric in frame["metric"]],
                level=[asked[metric].held.level for metric in frame["metric"]],
                alpha=self.alpha,
                overall=self.answer,
                old_network=self.old,
                new_network=self.new,
                notes="; ".join(self.notes),
                said=in_words(self.answer, self.rows),
                effect=[effect_of(row) for row in self.rows],
            ),
            "flips": self.flips,
            **({"insides": self.insides} if len(self.insides) else {}),
            **({"flipped": self.pictures.told} if self.pictures else {}),
        }
        typed = command or [Path(sys.argv[0]).name or "python", *sys.argv[1:]]
        run = origins.provenance(Path.cwd(), typed, {})
        images = self.pictures.images if self.pictures else None
        return write(self.lines(), tables, images, Path(folder), run)

    def lines(self) -> list[dict[str, Any]]:
        """The evidence of its questions, a line each."""
        return [line for q in self.questions for line in line_of(self.table, self.arms, q)]

    @property
    def arms(self) -> Arms:
        """The two arms."""
        return self.table.arms


def compare(
    old: str | nn.Module | Baseline,
    new: str | nn.Module,
    dataset: Any = None,
    *,
    margin: Margin | Mapping[str, Margin] = 0,
    under: Under | None = None,
    metrics: str | Sequence[str] = "correct",
    draws: int | None = None,
    until: int | None = None,
    seeds: Seeds = None,
    out: Path | str | None = None,
    store: Store | Path | str | None = None,
    options: Options | None = None,
    quiet: bool = True,
    say: Callable[[str], None] = print_line,
    command: Sequence[str] | None = None,
    **given: Any,
) -> Comparison:
    """Is the new network worse than the old one, on the same images and draws?

    ``old`` and ``new`` are subjects ``net[:weights][@dataset][#seed]``, or versions of one,
    ``net+quantised:8`` and ``net+pruned:.5``; or two networks in memory, with ``dataset`` as
    ``Lab(model, data)`` takes it. ``old`` may be a baseline
    (:func:`probes.comparing.baseline.load`), whose dataset, conditions and draws are then those
    that are not given. ``under`` are perturbations, or texts as on the command line;
    clean images always belong to it. ``margin`` is how much worse would not matter, for all metrics
    or by metric; ``metrics`` are ``correct``, ``loss``, ``brier``, ``margin``, ``ece``, ``auroc``.
    ``seeds`` (``"*"`` or numbers) compares training runs, paired by seed; ``until`` looks at as few
    images as tell whether it is worse, at most so many. ``out`` is a folder for the report, and
    ``given`` are fields of :class:`probes.run.settings.Options`.

    Under a condition the answer is *worse* if the difference lies below minus the margin, *not
    worse* if above it, *better* if above the margin, else *open*. Any false *worse* or *better* has
    at most the chance ``alpha`` (:func:`probes.comparing.answers.level`). Raises BadInput for a
    network compared with itself, another margin or metric, and what a lab raises.

    >>> found = compare("resnet20#0", "resnet20+quantised:8", "mnist5k", margin="1 point")
    >>> found.answer, found.code
    ('not worse', 0)
    """
    wanted = [metrics] if isinstance(metrics, str) else list(metrics)
    measure, margins = measure_for(wanted), _margins(margin, wanted)
    options = options or Options()
    if until is not None:
        given = {**given, "until": until}
    options = dataclasses.replace(options, **given)
    alpha = options.alpha
    options = dataclasses.replace(options, alpha=level(alpha, len(wanted)))
    place = store if isinstance(store, Store) else Store(Path(store)) if store else Store.default()
    how: dict[str, Any] = {"quiet": quiet, "say": say}
    baseline = old if isinstance(old, Baseline) else None
    if baseline is None:
        lab, arms = bench_of(old, new, dataset, seeds, place, options, **how)  # type: ignore[arg-type]
    else:
        lab, arms = beside(baseline, new, dataset, seeds, place, options, **how)
        under = conditions_as_typed(baseline) if under is None else under
        draws = baseline.facts["draws"] if draws is None else draws
    under, draws = () if under is None else under, 1 if draws is None else draws
    plan = Plan(lab, arms, measure, under, draws, baseline)
    asked = [asked_of(plan, m, margins[m]) for m in wanted]
    questions = tuple(q for q, _ in asked)
    table = max((t for _, t in asked), key=lambda t: t.design.images)
    chance = next(iter(lab.subjects.values())).data.chance
    rows = tuple(
        row for q, t in asked for row in q.rows(means_of(grouped(t, q.metric), q.metric), chance)
    )
    found = Comparison(
        arms.old,
        arms.new,
        overall(questions, rows),
        rows,
        questions,
        alpha,
        table,
        flips(table),
        insides(table.lab, arms) if baseline is None else pd.DataFrame(),
        pictured(table),
        _notes(baseline, lab, arms),
    )
    if out is not None:
        found.report(out, command)
    return found


def _margins(margin: Margin | Mapping[str, Margin], metrics: Sequence[str]) -> dict[str, Margin]:
    """The margin of each metric, checked."""
    if isinstance(margin, Mapping):
        if other := [name for name in margin if name not in metrics]:
            raise BadInput(
                f"margin of {other[0]!r}, which is not asked for: metrics {', '.join(metrics)}"
            )
        found: dict[str, Margin] = {name: margin.get(name, 0) for name in metrics}
    else:
        found = dict.fromkeys(metrics, margin)
    for name, value in found.items():
        margin_of(value, name)
    return found


def _notes(baseline: Baseline | None, lab: Bench, arms: Arms) -> tuple[str, ...]:
    subjects = lab.subjects
    new = [subjects[name].sha256 for name in arms.names[NEW]]
    if baseline is None:
        old = [subjects[name].sha256 for name in arms.names[OLD]]
    else:
        old = [baseline.facts["weights"][name]["sha256"] for name in arms.names[OLD]]
    same = ("old and new have the same weights",) if sorted(old) == sorted(new) else ()
    if baseline is None:
        return same
    other = baseline.otherwise(lab)
    return (
        *same,
        f"baseline {baseline.name}: {baseline.age()}",
        *([f"the last digits may differ: {', '.join(other)}"] if other else []),
    )
