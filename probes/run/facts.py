"""The facts about a bench's subjects for the evidence: weights, clean accuracy, summary,
pictures.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager as ContextManager
from itertools import pairwise
from typing import Any

import pandas as pd

from probes.errors import BadInput
from probes.judge.chance import ABOVE_CHANCE, above_chance
from probes.judge.lazytable import LazyTable
from probes.judge.looks import sizes
from probes.judge.power import Design
from probes.judge.wording import counted
from probes.measure import accuracy
from probes.measure.protocol import Measure
from probes.perturb import gaussian
from probes.perturb.protocol import Perturbation
from probes.run import engine
from probes.run.cells import Cell
from probes.run.forward import check
from probes.run.settings import Options
from probes.run.work import Place
from probes.store import Store
from probes.subjects import data as datasets
from probes.subjects.dataset import Dataset
from probes.subjects.recipes import by_recipe
from probes.subjects.subject import Subject
from probes.tell import evidence


class Facts(abc.ABC):
    """The part of a bench that the facts need: its subjects, its store and a way to measure."""

    store: Store
    options: Options
    quiet: bool
    say: Callable[[str], None]
    watched: Callable[[], ContextManager]
    _clean: dict[tuple[str, str], tuple[int, int]]

    @property
    @abc.abstractmethod
    def subjects(self) -> dict[str, Subject]:
        """The subjects by name."""

    @property
    @abc.abstractmethod
    def place(self) -> Place:
        """Where work is done."""

    @abc.abstractmethod
    def run(self, cells: Sequence[Cell]) -> pd.DataFrame:
        """The table of some cells."""

    @abc.abstractmethod
    def _cells(
        self,
        subjects: Mapping[str, Subject],
        measure: Measure,
        under: Perturbation,
        draws: int,
        per_run: bool = False,
    ) -> list[Cell]: ...

    def looked_at(self, data: Dataset) -> int:
        """How many images of a dataset are measured: all, or those of the present look."""
        return min(len(data), self.options.upto or len(data))

    def pieces(self, images: int, step: int) -> Iterator[tuple[int, int]]:
        """Runs of at most ``step`` images, (first, last + 1), up to those of the present look; none
        crosses the end of a look, so that a later look finds those of an earlier one.
        """
        until = self.options.until
        ends = sizes(min(until, images)) if until else (images,)
        here = min(images, self.options.upto or images)
        for first, last in pairwise((0, *(end for end in ends if end < here), here)):
            for start in range(first, last, step):
                yield start, min(start + step, last)

    def design(
        self,
        measure: Measure,
        under: Perturbation,
        draws: int,
        data: Dataset,
        runs: Mapping[str, int],
        sites: int = 1,
    ) -> Design:
        """The design of a sweep of these images, fixed before it runs. Expectations are bound to
        it.
        """
        return Design(
            dataset=data.title,
            images=self.looked_at(data),
            images_sha256=data.sha256,
            draws=draws,
            seed=self.options.seed,
            levels=under.levels,
            runs=tuple(sorted(runs.items())),
            **under.design(),
            precision=self.options.precision,
            split=self.options.split,
            sites=sites,
            varied=under.varied,
            unit=under.unit,
            description=under.describe(),
        )

    def clean(self, subject: Subject) -> tuple[int, int] | str:
        """How many clean images a subject classifies correctly, and out of how many; or why that
        can't be told, for a head of other classes.
        """
        if problem := self._other_classes(subject):
            return f"not measured: {problem}"
        name = subject.sha256, subject.data.sha256
        if name not in self._clean:
            one = {str(subject.spec): subject}
            with self.watched():
                found = engine.run(
                    self._cells(one, accuracy, gaussian(0), 1), self.place, quiet=self.quiet
                )
            self._clean[name] = int(found["correct"].sum()), len(found)
        return self._clean[name]

    def seen_clean(self, frame: pd.DataFrame, subjects: Mapping[str, Subject]) -> None:
        """Take the clean accuracy of subjects from a table that has it, so that it is not measured
        again.
        """
        clean = frame[(frame["level"] == 0) & (frame["draw"] == 0)].drop_duplicates(
            ["net", "weights", "train_seed", "image"]
        )
        for s in subjects.values():
            mine = clean
            for key in ("net", "weights", "train_seed"):
                mine = mine[mine[key] == s.labels[key]]
            if len(mine) == self.looked_at(s.data):
                self._clean[s.sha256, s.data.sha256] = int(mine["correct"].sum()), len(mine)

    def _other_classes(self, subject: Subject) -> str:
        if subject.data.targets is not None:
            return "targets that are numbers, not classes (measure probes.error)"
        if len(subject.data.classes) < 2:
            return "images of one class only, so that no answer is wrong (give images and labels)"
        looked = check(subject, self.options.where, self.store)
        outputs, classes = looked.outputs, len(subject.data.classes)
        if looked.probabilities:
            return "probabilities instead of logits (leave the softmax out of its forward)"
        if outputs == classes:
            return ""
        gives = f"no logits but {looked.gives}" if outputs is None else counted(outputs, "output")
        return f"{gives} for {classes:,} classes"

    def refuse_other_classes(self, subjects: Mapping[str, Subject]) -> None:
        """Raise BadInput for a network whose number of outputs is not the number of classes. Its
        accuracy would be about other labels.
        """
        for name, subject in subjects.items():
            if problem := self._other_classes(subject):
                classes = subject.data.classes
                if len(classes) < 2:
                    raise BadInput(f"{name}: accuracy is not asked of {problem}")
                some = ", ".join([*classes[:5], *(["..."] if len(classes) > 5 else [])])
                raise BadInput(
                    f"{name}: {problem} ({some}): accuracy needs a logit per class; a builder"
                    " gets (channels, classes) and returns a module that gives (images, classes)"
                )

    def floor(
        self, subjects: Mapping[str, Subject], margin: float = ABOVE_CHANCE
    ) -> dict[str, Any]:
        """Chance, the margin, and the correct clean images of each network and run. A claim about
        accuracy needs clean accuracy above these.
        """
        self.refuse_other_classes(subjects)
        rows = [
            [*(s.labels[key] for key in ("net", "weights", "train_seed")), *self.clean(s)]
            for s in subjects.values()
        ]
        return {
            "chance": round(next(iter(subjects.values())).data.chance, 6),
            "margin": margin,
            "clean": rows,
        }

    def facts(self, *asked: LazyTable | None) -> dict[str, Any]:
        """What the evidence says about the tables of a claim: weights, where it ran, the summary
        and examples, as deposits.
        """
        tables = [t.whole() for t in asked if t is not None]
        found = {
            "weights": {name: self._weights(name, s) for name, s in self.subjects.items()},
            "where": self.options.where.told(),
        }
        first = next(iter(self.subjects.values())).data
        if datasets.strange(first.name):
            found["classes"] = {
                str(name): int((first.labels == i).sum()) for i, name in enumerate(first.classes)
            }
        if not tables:
            return found
        found["summary"] = evidence.deposit(tables[0].summary(), self.store)
        under = tables[0].under
        if under is not None:
            found |= under.facts(
                {s.spec.net: s.model for s in self.subjects.values()}, self.options.seed
            )
        pictured = under is not None and under.acts_on == "images" and under.pictured
        if first.embeddable and pictured:
            shown = next(t for t in asked if t is not None).design.levels
            examples = engine.examples(first, under.at(shown), self.options.seed)
            found["examples"] = evidence.deposit(examples, self.store)
        return found

    def _weights(self, name: str, s: Subject) -> dict[str, Any]:
        hits, chance = self.clean(s), s.data.chance
        note = check(s, self.options.where, self.store).note
        told = (
            hits
            if isinstance(hits, str)
            else f"{hits[0] / hits[1]:.1%} of {hits[1]:,}"
            + ("" if above_chance(*hits, chance) else f", at chance ({chance:.1%})")
        )
        return {
            "origin": s.weights,
            **({"trained_here": True} if by_recipe(s.spec) else {}),
            "sha256": s.sha256,
            "history": s.card["history"] if s.card and len(self.subjects) <= 2 else None,
            "accuracy": told,
            "notes": [*s.notes, *([note] if note else [])],
        }
