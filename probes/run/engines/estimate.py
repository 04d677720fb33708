"""What work will cost, before it is paid: pieces, images, bytes, time and memory, from a trial of
ten seconds.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from probes.cost import Cost, Estimate
from probes.errors import BadInput, Unfinished
from probes.run.cells import Cell
from probes.run.engine import Engine, Tick
from probes.run.engines.pieces import lacking
from probes.run.work import Place, Work, provide
from probes.store import digest

TRIAL = 10.0
"""Seconds that a trial takes at most, where its pieces tell their progress."""
SIDECAR = 1200
"""About how many bytes the store keeps beside each result."""


class Estimator:
    """Makes nothing but a trial in a store of its own. ``jobs`` is how many pieces the real run
    makes at once, each at the speed of the trial.

    Raises Unfinished with the estimate of what is missing.
    """

    def __init__(self, inner: Engine, jobs: int = 1) -> None:
        self.inner, self.jobs = inner, jobs

    def fill(self, works: Sequence[Work], place: Place, tick: Tick) -> list[Path]:
        """The paths of the results, where all of them are in the store."""
        found = estimated(works, place, self.jobs)
        if not found.missing:
            return self.inner.fill(works, place, tick)
        raise Unfinished(f"estimate: {found}", estimate=found)


class Guarded:
    """Makes pieces if they take at most so many hours by a trial before them; else ``ask(text)``
    is asked, and BadInput raised if it says no.
    """

    def __init__(
        self, inner: Engine, hours: float, jobs: int, ask: Callable[[str], bool] | None = None
    ) -> None:
        self.inner, self.hours, self.jobs = inner, hours, jobs
        self.ask = ask or on_terminal

    def fill(self, works: Sequence[Work], place: Place, tick: Tick) -> list[Path]:
        """The paths of the results, in the order of the works."""
        found = estimated(works, place, self.jobs)
        if found.total.seconds > 3600 * self.hours and not self.ask(str(found)):
            raise BadInput(
                f"more than {self.hours:g} hours: {found}; raise --max-hours"
                " (--probes-max-hours), or divide the work: --shard 1/8"
            )
        return self.inner.fill(works, place, tick)


def on_terminal(text: str) -> bool:
    """Ask on the terminal whether to go on; no where nobody can answer."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{text}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def estimated(works: Sequence[Work], place: Place, jobs: int = 1) -> Estimate:
    """The cost of pieces of work. One of each sort is tried: a cell on a batch of its images,
    another piece until the time is over, if it tells its progress.
    """
    missing = lacking(works, place)
    sorts: dict[Any, list[Work]] = {}
    for work in missing:
        sorts.setdefault(_sort(work), []).append(work)
    images = written = seconds = 0.0
    for alike in sorts.values():
        one = _tried(alike[0], place, TRIAL / len(sorts))
        images += one[0] * len(alike)
        written += (one[1] + SIDECAR) * len(alike)
        seconds += one[2] * -(-len(alike) // max(1, min(jobs, len(alike))))
    names = sorted(place.store.name(w.key(place), w.suffix) for w in works)
    return Estimate(
        {digest({"pieces": names}): Cost(len(works), len(missing), images, written, seconds)},
        peak_memory(),
    )


def _sort(work: Work) -> Any:
    """Pieces of one sort take equally long."""
    names = ("subject", "net", "dataset", "arm", "measure", "start", "stop")
    values = {name: str(getattr(work, name)) for name in names if hasattr(work, name)}
    if isinstance(work, Cell):
        values |= {"noisy": str(bool(work.level)), "start": "", "stop": str(work.stop - work.start)}
    return type(work).__name__, *sorted(values.items())


class _Enough(Exception):
    pass


def _tried(work: Work, place: Place, budget: float) -> tuple[float, float, float]:
    """Images passed, bytes written and seconds of one piece, from a part of it."""
    share = 1.0
    if isinstance(work, Cell):
        part = min(work.stop - work.start, work.where.batch_size)
        share = part / (work.stop - work.start)
        work = dataclasses.replace(work, stop=work.start + part)
    provide(work, place)
    tell = place.tell
    with tempfile.TemporaryDirectory(prefix="probes-trial-") as folder:
        path = Path(folder) / f"trial{work.suffix}"
        if isinstance(work, Cell):  # what a first pass loads is not counted
            work.make(place, path)
        began = time.perf_counter()
        reached = 1.0

        def watching(done: float) -> None:
            nonlocal reached
            if 0 < done < 1 and time.perf_counter() - began > budget:
                reached = done
                raise _Enough

        place.tell = watching
        model = place.subject(work.subject).model if hasattr(work, "subject") else None
        try:
            with _counted(model) as passed:
                work.make(place, path)
        except _Enough:
            pass
        finally:
            place.tell = tell
        share *= reached
        written = path.stat().st_size if path.exists() else 0
        return sum(passed) / share, written / share, (time.perf_counter() - began) / share


@contextmanager
def _counted(model: nn.Module | None) -> Iterator[list[int]]:
    """The number of images of each pass of a model inside the block."""
    passed: list[int] = []

    def seen(module: nn.Module, given: tuple[Any, ...]) -> None:
        if module is model and given and isinstance(given[0], Tensor):
            passed.append(len(given[0]))

    if model is None:
        yield passed
        return
    handle = torch.nn.modules.module.register_module_forward_pre_hook(seen)
    try:
        yield passed
    finally:
        handle.remove()


def peak_memory() -> int:
    """The largest memory that this process has taken, in bytes; 0 where the system can't tell."""
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
