"""A bench: subjects, images and a store; what a study asks for tables of its subjects, and what evidence tells of them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager as ContextManager
from functools import cached_property, partial
from typing import Any, TypeVar

import pandas as pd
from tqdm import tqdm

from probes.errors import BadInput, Unavailable, UnknownName
from probes.judge import effects
from probes.judge.power import Design
from probes.judge.verdict import counted
from probes.measure import accuracy
from probes.measure.protocol import Measure
from probes.perturb import gaussian
from probes.perturb.own import says_itself
from probes.perturb.protocol import Perturbation
from probes.run import engine
from probes.run.cells import Cell
from probes.run.forward import check
from probes.run.lazytable import LazyTable
from probes.run.pools import engine_of
from probes.run.settings import Options
from probes.run.work import Place
from probes.store import Store
from probes.subjects import data as datasets
from probes.subjects import pretrained, training
from probes.subjects.dataset import Dataset
from probes.subjects.pretrained import Subject
from probes.subjects.spec import Spec, parse
from probes.tell import evidence

T = TypeVar("T")


class Sweep(LazyTable):
    """The table that a sweep gives, computed when it is first looked at: one row per image, draw, level and site."""

    def __init__(
        self, lab: Bench, cells: Callable[[], Sequence[Cell]], subjects: dict[str, Subject], design: Design, under: Perturbation,
        measure: Measure, altered: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._lab, self._make, self._subjects, self._measure = lab, cells, subjects, measure
        self.design, self.under, self.altered = design, under, altered
        self.alpha = lab.options.alpha
        self.say = lab.say

    @cached_property
    def cells(self) -> Sequence[Cell]:
        """The pieces of work: a network is looked at for them (its memory layout is part of their keys)."""
        return self._make()

    def compute(self) -> pd.DataFrame:
        """The table, from the store or computed now."""
        measure = self._measure
        if measure.answers:
            self._lab.refuse_other_classes(self._subjects)
        with self._lab.watched():
            found = self._lab.run(self.cells)
        if measure.answers:
            self._lab.seen_clean(found, self._subjects)
        if measure.floor is not None:
            found.attrs["floor"] = self._lab.floor(self._subjects, measure.floor)
        return found


class Bench:
    """One claim's laboratory: its subjects, the store, and what the options say.

    ``specs`` are the subjects of the claim (two of them for a pair), ``subjects`` the networks themselves where one has them.
    """

    def __init__(
        self,
        specs: Sequence[Spec],
        store: Store,
        options: Options | None = None,
        quiet: bool = True,
        say: Callable[[str], None] = lambda _: None,
        watched: Callable[[], ContextManager] = contextlib.nullcontext,
        subjects: Mapping[str, Subject] | None = None,
    ) -> None:
        self.specs, self.store, self.options = list(specs), store, options or Options()
        self.quiet, self.say, self.watched = quiet, say, watched
        self._data: dict[str, Dataset] = {}
        self._subjects, self._given = dict(subjects) if subjects is not None else None, subjects is not None
        self._clean: dict[tuple[str, str], tuple[int, int]] = {}

    def data(self, name: str) -> Dataset:
        """The images of a dataset: as many as the options say, else as the dataset gives a claim, else all.

        Raises BadInput, with their names, for images of a user's own that are equal: they are judged as independent.
        """
        if name not in self._data:
            data = self._here(name, partial(datasets.load, name, self.options.split, self.store), partial(datasets.fetch, name))
            data = data.sample(self.options.images or data.claim_images)
            if datasets.strange(name):
                data.refuse_duplicates()
            self._data[name] = data
        return self._data[name]

    @property
    def subjects(self) -> dict[str, Subject]:
        """The subjects by name, one per training run; Unavailable for what is not on this machine."""
        if self._subjects is None:
            self._subjects = self._load()
        return self._subjects

    def _load(self) -> dict[str, Subject]:
        found = {}
        for spec in self.specs:
            if spec.dataset is None:
                raise BadInput(f"subject {spec} names no dataset: write {spec}@mnist5k")
            for one in pretrained.expand(spec, self.store):
                here = partial(pretrained.load, one, self.data(spec.dataset), self.store)
                found[str(one)] = self._here(str(one), here, partial(pretrained.fetch, one))
        return found

    def _here(self, what: str, load: Callable[[], T], fetch: Callable[[], object]) -> T:
        """What is on this machine; where it is not and downloads are asked for, fetched first."""
        try:
            return load()
        except Unavailable as missing:
            if not self.options.download:
                raise
            self.say(f"{what}: fetching it")
            try:
                fetch()
            except UnknownName:  # nobody brings this one
                raise missing from None
            return load()

    def sweep(self, measure: Measure, under: Perturbation, draws: int = 1, per_run: bool | None = None) -> Sweep:
        """A table of ``measure`` for every subject, image and draw at every level of ``under``.

        The noise of an image at a draw is the same at every level and in every net; so is the direction of a draw of weight
        noise, which belongs to a training seed where several are compared (``per_run`` says so). Nothing is computed before the
        table is looked at. Options override levels and draws that the test wrote; the evidence then says "altered".
        """
        options, altered = self.options, []
        says_itself(under)
        if not issubclass(type(measure), Measure):
            raise BadInput(f"{type(measure).__name__} is no measure: derive it from probes.Measure (name, key, count, open)")
        if options.levels is not None and sorted(options.levels) != sorted(under.levels):
            altered.append(f"levels {_listed(sorted(options.levels))} instead of {_listed(under.levels)}")
            under = under.at(options.levels)
        if options.draws is not None and options.draws != draws:
            altered.append(f"draws {options.draws} instead of {draws}")
            draws = options.draws
        subjects = self.subjects
        if per_run is None:
            arms = [(s.spec.net, s.spec.weights) for s in subjects.values()]
            per_run = len(arms) > len(set(arms))
        first = next(iter(subjects.values())).data
        runs: dict[str, int] = {}
        for s in subjects.values():
            arm = s.spec.net + (f":{s.spec.weights}" if pretrained.by_recipe(s.spec) else "")
            runs[arm] = runs.get(arm, 0) + 1
        design = self.design(measure, under, draws, first, runs, max(measure.count(s.model) for s in subjects.values()))
        cells = partial(self._cells, subjects, measure, under, draws, per_run)
        return Sweep(self, cells, subjects, design, under, measure, altered)

    def _cells(
        self, subjects: Mapping[str, Subject], measure: Measure, under: Perturbation, draws: int, per_run: bool = False
    ) -> list[Cell]:
        options = self.options
        return [
            Cell(name, s.sha256, s.code, s.data.sha256, s.data.name, measure, arm, level, draw, options.seed, start,
                 min(start + step, len(s.data)), options.where,
                 run=int(s.spec.seed) if per_run and s.spec.seed not in (None, "*") else None,
                 training_sha256=training.sha256 if training is not None else "", arm=label,
                 layout=check(s, options.where, self.store).layout)
            for name, s in subjects.items()
            for training in [self.place.subject(name, under.training_images).training]
            for step in [max(1, under.images_per_cell(options.batch_size, len(s.data)))]
            for start in range(0, len(s.data), step)
            for draw in range(draws)
            for label, arm in under.arms(s.model)
            for level in (under.levels if draw == 0 else under.levels[1:])
        ]  # fmt: skip

    @cached_property
    def place(self) -> Place:
        """Where the work of this bench is done: its store, its subjects, and what is kept between pieces of work."""
        load = None if self._given else partial(load_subject, str(self.store.folder), self.options)
        return Place(self.store, load, self.subjects)

    def run(self, cells: Sequence[Cell]) -> pd.DataFrame:
        """The table of some cells, by the engine that the options ask for."""
        workers = 1 if self._given else self.options.workers
        return engine.run(cells, self.place, engine_of(workers), self.quiet)

    def design(
        self, measure: Measure, under: Perturbation, draws: int, data: Dataset, runs: Mapping[str, int], sites: int = 1
    ) -> Design:
        """What is fixed before a sweep of these images: what an expectation is bound to."""
        return Design(
            dataset=data.title, images=len(data), images_sha256=data.sha256, draws=draws, seed=self.options.seed,
            levels=under.levels, runs=tuple(sorted(runs.items())), **under.design(),
            precision=self.options.precision, split=self.options.split, sites=sites,
            varied=under.varied, unit=under.unit, description=under.describe(),
        )  # fmt: skip

    def train(self, seeds: int | Sequence[int]) -> Bench:
        """Train, where they are not on this machine, the runs of subjects that a recipe names, with these seeds (``8``: 0 to 7).

        ``net:noisy@dataset#*`` are then these runs. It goes before the sweep: short trainings belong in a claim, long ones
        are brought by ``probes train``. Raises BadInput for a claim without such subjects.
        """
        wanted = range(seeds) if isinstance(seeds, int) else list(seeds)
        if not any(pretrained.by_recipe(spec) for spec in self.specs):
            names = ", ".join(map(str, self.specs))
            raise BadInput(f"lab.train({seeds}): no recipe is named in {names}; write e.g. mlp_small:clean@mnist5k#*")
        runs = [dataclasses.replace(spec, seed=seed) for spec in self.specs if pretrained.by_recipe(spec)
                for seed in (wanted if spec.seed == "*" else [int(spec.seed or 0)])]  # fmt: skip
        if not runs:
            raise BadInput(f"lab.train({seeds}): no training seeds; a number from 1 up, or seeds")
        found = {}
        with self.watched(), tqdm(runs, desc="training", unit="run", disable=True if self.quiet else None, leave=False) as bar:
            for one in bar:
                bar.set_postfix_str(str(one))
                recipe = training.recipes[str(one.weights)]
                path, card = training.train(one.net, str(one.dataset), int(str(one.seed)), self.store, recipe)
                data = self.data(str(one.dataset))
                model = training.initial(one.net, data, int(str(one.seed)))
                found[str(one)] = pretrained.filled(one, model, data, path, str(one.weights), card)
        self.specs = [spec for spec in self.specs if not pretrained.by_recipe(spec)]
        self._subjects = {**self._load(), **found}
        self.__dict__.pop("place", None)
        self.specs += runs
        return self

    # --- what the evidence tells ----------------------------------------------------------------------------------------

    def clean(self, subject: Subject) -> tuple[int, int] | str:
        """How many clean images a subject names right, and of how many; why that can't be told, for a head of other classes."""
        if problem := self._other_classes(subject):
            return f"not measured: {problem}"
        name = subject.sha256, subject.data.sha256
        if name not in self._clean:
            one = {str(subject.spec): subject}
            with self.watched():
                found = engine.run(self._cells(one, accuracy, gaussian(0), 1), self.place, quiet=self.quiet)
            self._clean[name] = int(found["correct"].sum()), len(found)
        return self._clean[name]

    def seen_clean(self, frame: pd.DataFrame, subjects: Mapping[str, Subject]) -> None:
        """Take the clean accuracy of subjects from a table that has it, instead of measuring it again."""
        clean = frame[(frame["level"] == 0) & (frame["draw"] == 0)].drop_duplicates(["net", "weights", "train_seed", "image"])
        for s in subjects.values():
            mine = clean
            for key in ("net", "weights", "train_seed"):
                mine = mine[mine[key] == s.labels[key]]
            if len(mine) == len(s.data):
                self._clean[s.sha256, s.data.sha256] = int(mine["correct"].sum()), len(mine)

    def _other_classes(self, subject: Subject) -> str:
        looked = check(subject, self.options.where, self.store)
        outputs, classes = looked.outputs, len(subject.data.classes)
        if looked.probabilities:
            return "probabilities instead of logits (leave the softmax out of its forward)"
        if outputs == classes:
            return ""
        return f"{'no logit per class' if outputs is None else counted(outputs, 'output')} for {classes:,} classes"

    def refuse_other_classes(self, subjects: Mapping[str, Subject]) -> None:
        """Raise BadInput for a network whose outputs are not as many as the classes: its accuracy would be of other labels."""
        for name, subject in subjects.items():
            if problem := self._other_classes(subject):
                some = ", ".join(subject.data.classes[:5])
                raise BadInput(f"{name}: {problem} ({some}, ...): accuracy needs a logit per class; a builder gets"
                               " (channels, classes) and returns a module that gives (images, classes)")  # fmt: skip

    def floor(self, subjects: Mapping[str, Subject], margin: float = effects.ABOVE_CHANCE) -> dict[str, Any]:
        """Chance, the margin, and the clean hits of each network and run: what a claim about accuracy needs to be above."""
        self.refuse_other_classes(subjects)
        rows = [[*(s.labels[key] for key in ("net", "weights", "train_seed")), *self.clean(s)] for s in subjects.values()]
        return {"chance": round(next(iter(subjects.values())).data.chance, 6), "margin": margin, "clean": rows}

    def facts(self, *asked: LazyTable | None) -> dict[str, Any]:
        """What the evidence says of the tables that a claim asked: weights, where it ran, the summary and examples, as deposits."""
        tables = [t.whole() for t in asked if t is not None]
        found = {
            "weights": {name: self._weights(name, s) for name, s in self.subjects.items()},
            "where": dataclasses.asdict(self.options.where),
        }
        first = next(iter(self.subjects.values())).data
        if datasets.strange(first.name):
            found["classes"] = {str(name): int((first.labels == i).sum()) for i, name in enumerate(first.classes)}
        if not tables:
            return found
        found["summary"] = evidence.deposit(tables[0].summary(), self.store)
        under = tables[0].under
        if under is not None:
            found |= under.facts({s.spec.net: s.model for s in self.subjects.values()}, self.options.seed)
        if first.embeddable and under is not None and under.acts_on == "images":
            shown = next(t for t in asked if t is not None).design.levels
            examples = engine.examples(first, under.at(shown), self.options.seed)
            found["examples"] = evidence.deposit(examples, self.store)
        return found

    def _weights(self, name: str, s: Subject) -> dict[str, Any]:
        hits, chance = self.clean(s), s.data.chance
        note = check(s, self.options.where, self.store).note
        told = hits if isinstance(hits, str) else f"{hits[0] / hits[1]:.1%} of {hits[1]:,}" + (
            "" if effects.above_chance(*hits, chance) else f", at chance ({chance:.1%})")  # fmt: skip
        return {
            "origin": s.weights,
            "sha256": s.sha256,
            "history": s.card["history"] if s.card and len(self.subjects) <= 2 else None,
            "accuracy": told,
            "notes": [*s.notes, *([note] if note else [])],
        }


def load_subject(folder: str, options: Options, name: str) -> Subject:
    """A subject by its name, as a bench on this store and with these options has it: for other processes."""
    return Bench([parse(name)], Store(folder), options).subjects[name]


def _listed(levels: Sequence[float]) -> str:
    return " ".join(f"{v:g}" for v in levels)
