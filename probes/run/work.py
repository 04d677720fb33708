"""A piece of work: one worker makes it alone, the store keeps it, and a crash loses at most one."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from probes.errors import BadInput
from probes.kept import Kept
from probes.store import Store, digest
from probes.subjects import data as datasets
from probes.subjects import training
from probes.subjects.recipes import Recipe, by_recipe
from probes.subjects.spec import Spec
from probes.subjects.subject import Subject


class Work(Protocol):
    """A piece of work, frozen and picklable: names, numbers and plans, never a network.

    ``kind`` is its folder in the store, ``suffix`` the ending of its file. Its result depends on
    its key and on nothing else. So it is the same from any process, and it is made once. A subclass
    needs no other pieces unless it says so. ``loads`` are datasets that it loads by name, beside
    the images of its subject.
    """

    kind: str
    suffix: str
    loads: tuple[str, ...] = ()

    def key(self, place: Place) -> dict[str, Any]:
        """All that the bytes of the result depend on, as JSON values."""

    def needs(self, place: Place) -> Sequence[Work]:
        """The pieces that must lie in the store first."""
        return []

    def make(self, place: Place, path: Path) -> object:
        """Compute the result and write it to a path."""


class Place:
    """Where work is done: a store, subjects that are loaded once, and what is kept in memory. Each
    process has one.

    ``load(name)`` gives a subject by its name. It is picklable if other processes are to work, and
    None if the subjects exist in this process only. ``imports`` are modules that another process
    imports first. ``trained`` are the subjects with training images that were asked for. A long
    piece calls ``tell(share)`` with its progress, between 0 and 1.
    """

    def __init__(
        self,
        store: Store,
        load: Callable[[str], Subject] | None = None,
        subjects: Mapping[str, Subject] | None = None,
        imports: Sequence[str] = (),
    ) -> None:
        self.store, self.load, self.kept, self.imports = store, load, Kept(), tuple(imports)
        self.subjects = dict(subjects or {})
        self.tell: Callable[[float], object] = lambda share: None
        self.trained: dict[tuple[str, int], Subject] = {}

    def subject(self, name: str, training: int = 0) -> Subject:
        """A subject by its name, with at most ``training`` training images."""
        if name not in self.subjects:
            assert self.load is not None, name
            self.subjects[name] = self.load(name)
        found = self.subjects[name]
        if not training:
            return found
        if (name, training) not in self.trained:
            data = datasets.load(found.dataset, "train", self.store)
            sampled = data.sample(min(training, len(data)))
            self.trained[name, training] = dataclasses.replace(found, training=sampled)
        return self.trained[name, training]


def done(work: Work, place: Place) -> Path:
    """The path of the result of a piece of work in the store. If it is not there, the pieces that
    it needs and the piece itself are made now.
    """

    def make(path: Path) -> object:
        provide(work, place)
        return work.make(place, path)

    return place.store.get_or_make(work.kind, work.key(place), work.suffix, make, about(work))


def about(work: Work) -> str:
    """What a piece of work is about, in the store: its subject, or the network that it trains."""
    if isinstance(work, TrainingRun):
        return f"{work.net}@{work.dataset}#{work.seed}"
    return str(getattr(work, "subject", ""))


def provide(work: Work, place: Place) -> None:
    """Make sure that what a piece of work needs lies in the store. A place looks once for each
    piece.
    """
    for first in work.needs(place):
        name = "there", first.kind, digest(first.key(place))
        place.kept.get(name, partial(done, first, place))


def made(work: Work, place: Place) -> Path | None:
    """The path of the result of a piece of work, None if it was not made yet."""
    return place.store.find(work.kind, work.key(place), work.suffix)


@dataclasses.dataclass(frozen=True)
class TrainingRun(Work):
    """A network trained on a dataset with a seed. :func:`probes.subjects.training.train` finds its
    result too.
    """

    net: str
    dataset: str
    seed: int
    recipe: Recipe | None = None
    device: str = "cpu"

    kind = "weights"
    suffix = ".safetensors"

    @property
    def loads(self) -> tuple[str, ...]:  # type: ignore[override]
        """The dataset that it trains on."""
        return (self.dataset,)

    @classmethod
    def of(cls, spec: Spec) -> TrainingRun:
        """The training run of a subject that names a recipe."""
        seed = int(str(spec.seed or 0))
        return cls(spec.net, str(spec.dataset), seed, training.recipes[str(spec.weights)])

    def key(self, place: Place) -> dict[str, Any]:
        """The network's code, the images, the seed and the recipe."""
        return self._run(place).key

    def make(self, place: Place, path: Path) -> dict[str, Any]:
        """Train, resuming after the last finished epoch. The card is the note of the result."""
        run, said = self._run(place), itertools.count(1)

        def tell(_: str) -> None:
            place.tell(min(1.0, next(said) / run.recipe.epochs))

        return run.make(path, tell)

    def _run(self, place: Place) -> training.Run:
        return training.run_of(
            self.net, self.dataset, self.seed, place.store, self.recipe, self.device
        )


def runs_asked(specs: Sequence[Spec], seeds: int | Sequence[int]) -> list[Spec]:
    """The training runs of subjects that a recipe names, with these seeds (``8``: 0 to 7).

    Raises BadInput where there are none.
    """
    wanted = range(seeds) if isinstance(seeds, int) else list(seeds)
    if not any(by_recipe(spec) for spec in specs):
        names = ", ".join(map(str, specs))
        raise BadInput(
            f"lab.train({seeds}): no recipe is named in {names}; write e.g."
            " mlp_small:clean@mnist5k#*"
        )
    runs = [
        dataclasses.replace(spec, seed=seed)
        for spec in specs
        if by_recipe(spec)
        for seed in (wanted if spec.seed == "*" else [int(spec.seed or 0)])
    ]
    if not runs:
        raise BadInput(f"lab.train({seeds}): no training seeds; a number from 1 up, or seeds")
    return runs
