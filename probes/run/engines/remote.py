"""The far side of the Ray engine: a worker with a store of its own, which asks the driver's store
for what it lacks and sends back what it makes. No file system is shared.
"""

from __future__ import annotations

import dataclasses
import importlib
import pickle
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from probes.atomic import sweep_up, temporary_name
from probes.errors import ProbesError
from probes.run.engines.pieces import portable
from probes.run.work import Place, Work, provide
from probes.store import Store
from probes.subjects import lent
from probes.subjects.subject import Subject

Entry = tuple[dict[str, Any], bytes]
SCRATCH = ("probes-worker", "store")
"""The name and the ending of the folder of a worker."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a worker needs for the pieces of one place: references to its subjects and datasets, by
    name, and the loader (pickled) of those that could not be sent.
    """

    subjects: Mapping[tuple[str, int], Any]
    datasets: Mapping[tuple[str, str], Any]
    load: bytes
    imports: tuple[str, ...]
    path: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Order:
    """A piece of work to be made: the piece, pickled, its key, and the name that the driver's store
    has for it.
    """

    work: bytes
    key: Mapping[str, Any]
    name: str


class Borrowing(Store):
    """A store that asks another one for what it lacks: ``ask(kind, name)`` gives an entry or
    None. ``lacking`` are names that the other one is known to lack.
    """

    def __init__(self, folder: str | Path, ask: Callable[[str, str], Entry | None]) -> None:
        super().__init__(folder)
        self._ask, self.lacking = ask, set[str]()

    def find(self, kind: str, key: Mapping[str, Any], suffix: str) -> Path | None:
        """The payload of an entry that is here, or that the other store has."""
        if found := super().find(kind, key, suffix):
            return found
        if (name := self.name(key, suffix)) in self.lacking:
            return None
        if (entry := self._ask(kind, name)) is None:
            self.lacking.add(name)
            return None
        return self.add(*entry)


class Lent(Place):
    """A place whose subjects come from elsewhere: ``get(reference)`` fetches one."""

    def __init__(self, store: Store, setup: Setup, get: Callable[[Any], Any]) -> None:
        load = pickle.loads(setup.load) if setup.load else None
        super().__init__(store, load, imports=setup.imports)
        self._setup, self._get = setup, get

    def subject(self, name: str, training: int = 0) -> Subject:
        """A subject by its name, with at most ``training`` training images."""
        known = self.trained if training else self.subjects
        place: Any = (name, training) if training else name
        reference = self._setup.subjects.get((name, training))
        if place not in known and reference is not None:
            known[place] = self._get(reference)
        return super().subject(name, training)


class Maker:
    """A worker: it makes the pieces that it is sent. Each answer is ``(None, entry)``, or an
    exception that can travel and None.

    ``get`` fetches a reference, ``ask`` an entry of the driver's store.
    """

    def __init__(
        self,
        path: tuple[str, ...],
        get: Callable[[Any], Any],
        ask: Callable[[str, str], Entry | None],
    ) -> None:
        sys.path[:] = [*sys.path, *(p for p in path if p not in sys.path)]
        torch.set_num_threads(1)
        self._get, self._store = get, Borrowing(scratch_folder(), ask)
        self._here: tuple[Any, Place | None] = (None, None)

    def make(self, reference: Any, order: Order) -> tuple[Exception | None, Entry | None]:
        """Make a piece and give its entry, or why it could not be made."""
        try:
            place = self._at(reference)
            work: Work = pickle.loads(order.work)
            store = self._store
            store.lacking.add(order.name)
            path = store.get_or_make(work.kind, order.key, work.suffix, partial(_make, work, place))
            entry = store.entry(work.kind, path.name)
            for left in (path, path.with_suffix(".json")):
                left.unlink()
            if path.name != order.name:
                raise ProbesError(
                    "a worker has other versions than this process: of the package, torch,"
                    " torchvision, scipy or numpy; install the same ones on every node"
                )
        except Exception as e:  # noqa: BLE001
            return portable(e), None
        return None, entry

    def _at(self, reference: Any) -> Place:
        known, place = self._here
        if place is None or known != reference:
            setup: Setup = self._get(reference)
            sys.path[:] = [*sys.path, *(p for p in setup.path if p not in sys.path)]
            for module in setup.imports:
                importlib.import_module(module)
            place = Lent(self._store, setup, self._get)
            lent.replace(
                {name: partial(self._get, found) for name, found in setup.datasets.items()}
            )
            self._here = reference, place
        return place


def scratch_folder() -> Path:
    """A folder for what this process makes before it is sent. Those of dead processes are
    removed.
    """
    above = Path(tempfile.gettempdir())
    sweep_up(above, *SCRATCH)
    folder = above / temporary_name(*SCRATCH)
    folder.mkdir(exist_ok=True)
    return folder


def _make(work: Work, place: Place, path: Path) -> object:
    provide(work, place)
    return work.make(place, path)
