"""The processes engine: several pieces of work at once. A process that dies takes no other
with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import multiprocessing
import pickle
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from probes.errors import BadInput, ProbesError
from probes.run.engine import Tick
from probes.run.engines.pieces import TRIES, given_up, missing, portable, provide_all, unread
from probes.run.work import Place, Work, done
from probes.store import Store


@dataclasses.dataclass
class _Worker:
    """A process, the end of its pipe, and the number of its current piece."""

    process: Any
    pipe: Connection
    has: int | None = None


class Processes:
    """Makes pieces of work in ``jobs`` processes. Each process loads a subject once and keeps its
    own things in memory.

    If a process dies, its piece is tried again twice; then it is an error. An exception in a
    process is raised here, after the other pieces are there. Raises ProbesError for a piece whose
    process died each time.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def fill(self, works: Sequence[Work], place: Place, tick: Tick) -> list[Path]:
        """The paths of the results, in the order of the works."""
        found, todo = missing(works, place, tick)
        if todo and place.load is None and place.subjects:
            raise BadInput(
                "these subjects exist in this process only, and other processes can't load them:"
                " use the serial engine"
            )
        if todo:
            self._spread(works, todo, place, tick)
        return [path or done(work, place) for work, path in zip(works, found, strict=True)]

    def _spread(self, works: Sequence[Work], todo: Sequence[int], place: Place, tick: Tick) -> None:
        """Hand pieces out to processes until each is made or has failed. Then raise the exception
        of the first one that failed.
        """
        provide_all(works, todo, place)
        queue, tries, failed = deque(todo), dict.fromkeys(todo, 0), dict[int, BaseException]()
        start = _starter(place)
        workers = [start() for _ in range(min(self.jobs, len(todo)))]
        try:
            while queue or any(w.has is not None for w in workers):
                for worker in workers:
                    if worker.has is None and queue:
                        worker.has = queue.popleft()
                        tries[worker.has] += 1
                        self._hand(worker, works[worker.has])
                busy = [w for w in workers if w.has is not None]
                ready = wait([w.pipe for w in busy] + [w.process.sentinel for w in busy])
                for worker in busy:
                    if worker.pipe in ready or worker.process.sentinel in ready:
                        self._hear(worker, works, queue, tries, failed, tick)
                workers = [w if w.process.is_alive() else start() for w in workers]
        finally:
            for worker in workers:
                worker.pipe.close()
            for worker in workers:
                worker.process.terminate()
                worker.process.join()
        if failed:
            raise failed[min(failed)]

    @staticmethod
    def _hand(worker: _Worker, work: Work) -> None:
        try:
            worker.pipe.send(work)
        except (pickle.PicklingError, AttributeError, TypeError) as e:
            raise unread(e) from e
        except OSError:
            # it died meanwhile; the next wait finds it
            pass

    @staticmethod
    def _hear(
        worker: _Worker,
        works: Sequence[Work],
        queue: deque[int],
        tries: dict[int, int],
        failed: dict[int, BaseException],
        tick: Tick,
    ) -> None:
        number, worker.has = worker.has, None
        assert number is not None
        try:
            problem = worker.pipe.recv()
        except (EOFError, OSError):  # it died
            worker.process.join()
            if tries[number] < TRIES:
                queue.appendleft(number)
            else:
                code = worker.process.exitcode
                failed[number] = given_up(works[number], f"exit code {code}")
            return
        if problem is None:
            tick(works[number])
        else:
            failed[number] = problem


def _starter(place: Place) -> Callable[[], _Worker]:
    """A function that starts a process with its own place."""
    context = _context()
    try:
        where = str(place.store.folder), place.store.purpose
        setup = pickle.dumps((where, place.load, place.imports, list(sys.path)))
    except (pickle.PicklingError, AttributeError, TypeError) as e:
        raise BadInput(
            f"the loader can't be sent to other processes: {e}; use the serial engine"
        ) from e

    def start() -> _Worker:
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(setup, theirs), daemon=True)
        try:
            with _without_main():
                process.start()
        except (EOFError, ConnectionError) as e:  # what forks them died
            raise ProbesError(
                f"no process can be started ({e}): there may be too little memory; use fewer of"
                " them (--jobs), or one (--engine serial)"
            ) from e
        theirs.close()
        return _Worker(process, ours)

    return start


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Processes that are started inside the block do not run the user's script again: they need
    nothing of it, and one without ``if __name__ == "__main__"`` would start processes itself.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@functools.cache
def _context() -> Any:
    """Processes are forked from one that has loaded torch and runs nothing, if the system can do
    that; else they start anew.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["probes.run.bench"])
    return context


def _work(setup: bytes, pipe: Connection) -> None:
    """A worker: it makes the pieces that it is sent until the pipe is closed."""
    where, load, imports, path = pickle.loads(setup)
    sys.path[:] = path
    for module in imports:
        importlib.import_module(module)
    torch.set_num_threads(1)
    place = Place(Store(*where), load)
    while True:
        try:
            work = pipe.recv()
        except (EOFError, OSError):
            return
        except Exception as e:  # noqa: BLE001 - the class of something lies where only the other one finds it
            pipe.send(unread(e))
            continue
        try:
            done(work, place)
            pipe.send(None)
        except Exception as e:  # noqa: BLE001
            pipe.send(portable(e))
