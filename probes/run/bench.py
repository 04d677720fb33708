"""A bench: subjects, images and a store; what a study asks for tables of its subjects, and what
evidence tells of them.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager as ContextManager
from functools import cached_property, partial
from typing import Self, TypeVar

from probes.errors import BadInput, Unavailable, UnknownName
from probes.judge.looks import sequential
from probes.judge.verdict import Verdicts
from probes.measure.protocol import Measure, measure_of
from probes.perturb.own import says_itself
from probes.perturb.protocol import Perturbation
from probes.run import engine
from probes.run.cells import Cell
from probes.run.forward import check
from probes.run.settings import Options, sized
from probes.run.sweeping import Sweep
from probes.run.work import Place, TrainingRun, runs_asked
from probes.run.working import Working
from probes.store import Store
from probes.subjects import data as datasets
from probes.subjects import hub, pretrained, training
from probes.subjects.dataset import Dataset
from probes.subjects.recipes import by_recipe
from probes.subjects.spec import Spec, parse
from probes.subjects.subject import Subject

T = TypeVar("T")


class Bench(Working):
    """One claim's laboratory: its subjects, the store, and what the options say.

    ``specs`` are the subjects of the claim (two of them for a pair), ``subjects`` the networks
    themselves where one has them, and ``load``, picklable, gives them to other processes by name.
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
        load: Callable[[str], Subject] | None = None,
    ) -> None:
        self.specs, self.store, self.options = list(specs), store, options or Options()
        self.quiet, self.say, self.watched = quiet or self.options.quiet, say, watched
        self._data: dict[str, Dataset] = {}
        self._subjects, self._given = (
            (dict(subjects) if subjects is not None else None),
            subjects is not None,
        )
        self._load_one = load
        self._clean: dict[tuple[str, str], tuple[int, int]] = {}
        self._sweeps: list[Sweep] = []

    def data(self, name: str) -> Dataset:
        """The images of a dataset: as many as the options say, else as the dataset gives a claim,
        else all; in the order in which they are looked at, where claims are decided as soon as they
        can be.

        Raises BadInput, with their names, for equal images in a user's own dataset, since images
        are judged as independent.
        """
        if name not in self._data:
            data = self._here(
                name,
                partial(datasets.load, name, self.options.split, self.store),
                partial(datasets.fetch, name),
            )
            until = self.options.until
            data = data.sample(
                until or self.options.images or data.claim_images, ordered=until is not None
            )
            if datasets.strange(name):
                data.refuse_duplicates()
            self._data[name] = data
        return self._data[name]

    @property
    def subjects(self) -> dict[str, Subject]:
        """The subjects by name, one per training run. Raises Unavailable for what is not here."""
        if self._subjects is None:
            self._subjects = self._load()
        self.options = sized(self.options, self._subjects, self.store, self.say)
        return self._subjects

    def _load(self) -> dict[str, Subject]:
        found = {}
        for spec in self.specs:
            if spec.dataset is None:
                raise BadInput(f"subject {spec} names no dataset: write {spec}@mnist5k")
            for one in pretrained.expand(spec, self.store):
                here = partial(pretrained.load, one, self.data(spec.dataset), self.store)
                found[str(one)] = self._here(str(one), here, partial(hub.fetch, one, say=self.say))
        return found

    def _here(self, what: str, load: Callable[[], T], fetch: Callable[[], object]) -> T:
        """What is on this machine. What is missing is fetched first if downloads are asked for."""
        try:
            return load()
        except Unavailable as missing:
            if not self.options.download:
                raise
            self.say(f"{what}: fetching it")
            try:
                fetch()
            except UnknownName:  # nothing can fetch this one
                raise missing from None
            return load()

    def sweep(
        self, measure: Measure, under: Perturbation, draws: int = 1, per_run: bool | None = None
    ) -> Sweep:
        """A table of ``measure`` for every subject, image and draw at every level of ``under``.

        The noise of an image at a draw is the same at every level and in every net; so is the
        direction of a draw of weight noise, which belongs to a training seed where several are
        compared (``per_run`` says so). Nothing is computed before the table is looked at. Options
        override levels and draws that the test wrote; the evidence then says "altered".
        """
        options, altered = self.options, []
        says_itself(under)
        measure = measure_of(measure)
        if options.levels is not None and sorted(options.levels) != sorted(under.levels):
            altered.append(
                f"levels {_listed(sorted(options.levels))} instead of {_listed(under.levels)}"
            )
            under = under.at(options.levels)
        if options.draws is not None and options.draws != draws:
            altered.append(f"draws {options.draws} instead of {draws}")
            draws = options.draws
        if not isinstance(draws, int) or isinstance(draws, bool) or draws < 1:
            raise BadInput(f"draws {draws!r}: allowed are whole numbers from 1 up")
        subjects = self.subjects
        under = under.fitted([s.model for s in subjects.values()])
        if per_run is None:
            arms = [(s.spec.net, s.spec.weights) for s in subjects.values()]
            per_run = len(arms) > len(set(arms))
        first = next(iter(subjects.values())).data
        runs: dict[str, int] = {}
        for s in subjects.values():
            arm = s.spec.net + (f":{s.spec.weights}" if by_recipe(s.spec) else "")
            runs[arm] = runs.get(arm, 0) + 1
        design = self.design(
            measure,
            under,
            draws,
            first,
            runs,
            max(measure.count(s.model) for s in subjects.values()),
        )
        cells = partial(self._cells, subjects, measure, under, draws, per_run)
        self._sweeps.append(Sweep(self, cells, subjects, design, under, measure, altered))
        return self._sweeps[-1]

    def _cells(
        self,
        subjects: Mapping[str, Subject],
        measure: Measure,
        under: Perturbation,
        draws: int,
        per_run: bool = False,
    ) -> list[Cell]:
        options = self.options
        return [
            Cell(
                name,
                s.sha256,
                s.code,
                s.data.sha256,
                s.data.name,
                measure,
                arm,
                level,
                draw,
                options.seed,
                start,
                stop,
                options.where,
                run=int(s.spec.seed) if per_run and s.spec.seed not in (None, "*") else None,
                training_sha256=training.sha256 if training is not None else "",
                arm=label,
                layout=check(s, options.where, self.store).layout,
            )
            for name, s in subjects.items()
            for training in [self.place.subject(name, under.training_images).training]
            for step in [max(1, under.images_per_cell(options.where.batch_size, len(s.data)))]
            for start, stop in self.pieces(len(s.data), step)
            for draw in range(draws)
            for label, arm in under.arms(s.model)
            for level in (under.levels if draw == 0 else under.levels[1:])
        ]

    def at_look(self, n: int, level: float) -> Self:
        """The same bench on the first n images, judging at a level: what it has loaded is shared.

        Raises BadInput where the claim is not decided as soon as it can be (``until``).
        """
        if self.options.until is None:
            raise BadInput("a look needs Options(until=...), the most images that are looked at")
        self.subjects  # noqa: B018 - a batch size that is found by trying is found before all looks
        other = copy.copy(self)
        other.options = dataclasses.replace(self.options, upto=n, alpha=level)
        other._clean, other._sweeps = {}, []
        return other

    def only(self, names: Sequence[str]) -> Self:
        """The same bench on some of its subjects, by name: what it has loaded is shared."""
        self.place  # noqa: B018 - one for all, with every subject
        other = copy.copy(self)
        other._subjects = {name: self.subjects[name] for name in names}
        return other

    def decide(self, ask: Callable[[Self], Verdicts]) -> Verdicts:
        """Ask as few images as decide: of 300 or more, of twice as many, and so on, up to
        ``Options(until=N)``, which is ``Lab(..., until=N)``. See
        :func:`probes.judge.looks.sequential`.

        >>> from probes import Lab, block_metrics, gaussian, rises
        >>> lab = Lab("resnet20@mnist5k", until=1000, quiet=True, say=lambda text: None)
        >>> found = lab.decide(lambda lab: rises(lab.sweep(block_metrics, under=gaussian(0, 0.2)),
        ...     "l2_h", by="site", sesoi="/2"))
        >>> found.overall, found.path[-1].n
        ('refuted', 500)
        """
        if self.options.until is None:
            raise BadInput("lab.decide(...) needs Lab(..., until=10_000): the most images to ask")
        return sequential(
            lambda n, level: ask(self.at_look(n, level)),
            self.options.until,
            self.options.alpha,
            self.say,
        )

    @cached_property
    def place(self) -> Place:  # type: ignore[override]
        """Where the work of this bench is done: its store, its subjects, and what is kept between
        pieces of work.
        """
        load, subjects = self._load_one, self.subjects  # which may decide the options
        if not self._given:
            load = partial(load_subject, str(self.store.folder), self.options)
        return Place(self.store, load, subjects)

    def train(self, seeds: int | Sequence[int]) -> Bench:
        """Train, where they are not on this machine, the runs of subjects that a recipe names, with
        these seeds (``8``: 0 to 7).

        ``net:noisy@dataset#*`` are then these runs. It goes before the sweep: short trainings
        belong in a claim, long ones are brought by ``probes train``. Raises BadInput for a claim
        without such subjects.
        """
        runs = runs_asked(self.specs, seeds)
        trained = [TrainingRun.of(one) for one in runs]
        with self.watched():
            engine.fill(trained, Place(self.store), self.engine, self.quiet, "training")
        found = {}
        for one, run in zip(runs, trained, strict=True):
            path, card = training.train(run.net, run.dataset, run.seed, self.store, run.recipe)
            data = self.data(run.dataset)
            model = training.initial(run.net, data, run.seed)
            found[str(one)] = pretrained.filled(one, model, data, path, str(one.weights), card)
        self.specs = [spec for spec in self.specs if not by_recipe(spec)]
        self._subjects = {**self._load(), **found}
        self.__dict__.pop("place", None)
        self.specs += runs
        return self


def load_subject(folder: str, options: Options, name: str) -> Subject:
    """A subject by its name, as a bench on this store and with these options has it: for other
    processes.
    """
    return Bench([parse(name)], Store(folder), options).subjects[name]


def _listed(levels: Sequence[float]) -> str:
    return " ".join(f"{v:g}" for v in levels)
