"""What is compared with what, and how each metric is asked: at once, as soon as it is decided, or
beside a baseline.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from probes.comparing.answers import GROUPED, Margin, Question, question
from probes.comparing.arms import NEW, OLD, Arms, Seeds, bench_with, names_of, refuse_copies
from probes.comparing.baseline import Baseline
from probes.comparing.conditions import Paired, Under, paired
from probes.errors import BadInput
from probes.judge import Verdicts, calibration, sequential
from probes.judge.lazytable import LazyTable
from probes.measure.protocol import Measure
from probes.run.bench import Bench
from probes.run.settings import Options
from probes.store import Store


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is compared with what: a bench, its arms, the measure, the conditions, and the baseline
    where there is one.
    """

    lab: Bench
    arms: Arms
    measure: Measure
    under: Under
    draws: int
    baseline: Baseline | None

    def table(self, look: Bench) -> Paired:
        """The table at a look. Raises BadInput where it is not that of the baseline."""
        kept = None if self.baseline is None else self.baseline.frame
        found = paired(look, self.measure, self.under, self.draws, self.arms, kept)
        if self.baseline is not None:
            self.baseline.refuse_other(found)
            found.before = self.baseline.weights()
        return found


def asked_of(plan: Plan, metric: str, margin: Margin) -> tuple[Question, Paired]:
    """A metric asked of two arms; as soon as it is decided, where that is asked for. Also the table
    of the images that were looked at.
    """
    lab, table = plan.lab, plan.table
    until, alpha = lab.options.until, lab.options.alpha
    if until is None or metric in GROUPED or plan.arms.unit == "train_seed":
        whole = table(lab if until is None else lab.at_look(until, alpha))
        return question(metric, margin, lambda q: q(whole), lambda q, _: q(whole)), whole

    def again(q: Callable[[Any], Verdicts], found: Verdicts) -> Verdicts:
        return sequential(
            lambda n, a: q(table(lab.at_look(n, a))), until, alpha, stop=found.path[-1].n
        )

    asked = question(metric, margin, lambda q: lab.decide(lambda look: q(table(look))), again)
    return asked, table(lab.at_look(asked.held.path[-1].n, alpha))


def beside(
    baseline: Baseline,
    new: Any,
    dataset: Any,
    seeds: Seeds,
    store: Store,
    options: Options,
    **how: Any,
) -> tuple[Bench, Arms]:
    """A bench with the new network, on the images of a baseline. Raises BadInput for others."""
    facts = baseline.facts
    if not isinstance(new, str):
        raise BadInput(f"baseline {baseline.name}: the new network is a subject, not one in memory")
    number = facts["images"]
    if options.images not in (None, number) or (options.until or 0) > number:
        raise BadInput(
            f"baseline {baseline.name} is of {number:,} images: {options.images or options.until:,}"
            " are asked for"
        )
    if dataset not in (None, facts["data"]):
        raise BadInput(f"baseline {baseline.name} is of {facts['data']}, and this is of {dataset}")
    names = names_of(new, facts["data"], seeds, store)
    whole = dataclasses.replace(options, images=number, until=None)
    lab = bench_with(names, store, whole, **how)
    baseline.refuse_other_images(lab)
    refuse_copies(lab, names)
    if options.until is not None:
        lab = bench_with(names, store, options, **how)
    return lab, Arms(f"baseline {baseline.name}", new, {OLD: baseline.names, NEW: names})


def conditions_as_typed(baseline: Baseline) -> Under:
    """The conditions of a baseline, as they were typed. Raises BadInput where they were objects."""
    typed = baseline.facts["under"]
    if typed is None:
        raise BadInput(
            f"baseline {baseline.name} was saved under perturbations that were not typed: name them"
            f" again, under=...; it has {', '.join(baseline.facts['conditions'])}"
        )
    return typed


def grouped(table: Paired, metric: str) -> LazyTable:
    """The table that a metric is read from: of groups of images, where only those have it."""
    return calibration(table) if metric in GROUPED else table
