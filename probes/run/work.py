"""A piece of work: what a crash may lose, what the store keeps, what one worker does alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from probes.kept import Kept
from probes.store import Store
from probes.subjects import data as datasets
from probes.subjects.pretrained import Subject


class Work(Protocol):
    """A piece of work, frozen and picklable: names, numbers and plans, never a network.

    ``kind`` is its folder in the store, ``suffix`` ends its file. Its result depends on its key and on nothing else, so
    it is the same from any process, and it is made once.
    """

    kind: str
    suffix: str

    def key(self, place: Place) -> dict[str, Any]:
        """All that the bytes of the result depend on, as JSON values."""

    def needs(self, place: Place) -> Sequence[Work]:
        """Pieces that must lie in the store first."""

    def make(self, place: Place, path: Path) -> object:
        """Compute the result and write it to a path."""


class Place:
    """Where work is done: a store, subjects that are loaded once, and what is kept in memory. One for each process.

    ``load(name)`` gives a subject by its name; it is picklable where other processes are to work, and None where the
    subjects exist in this process only. ``imports`` are modules that another process imports first.
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
        self._trained: dict[tuple[str, int], Subject] = {}

    def subject(self, name: str, training: int = 0) -> Subject:
        """A subject by its name, with so many training images at most."""
        if name not in self.subjects:
            assert self.load is not None, name
            self.subjects[name] = self.load(name)
        found = self.subjects[name]
        if not training:
            return found
        if (name, training) not in self._trained:
            data = datasets.load(found.data.name, "train", self.store)
            few = data.sample(min(training, len(data)))
            self._trained[name, training] = dataclasses.replace(found, training=few)
        return self._trained[name, training]


def done(work: Work, place: Place) -> Path:
    """Where the result of a piece of work lies in the store: made now, after what it needs, where it was not there."""
    for first in work.needs(place):
        done(first, place)
    return place.store.get_or_make(work.kind, work.key(place), work.suffix, lambda path: work.make(place, path))


def made(work: Work, place: Place) -> Path | None:
    """Where the result of a piece of work lies, None where it was not made yet."""
    return place.store.find(work.kind, work.key(place), work.suffix)
