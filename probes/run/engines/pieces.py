"""What engines share that work in other processes: which pieces are missing, how often one is
tried, and errors that travel.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Sequence
from pathlib import Path

from probes.errors import BadInput, ProbesError
from probes.run.engine import Tick
from probes.run.work import Place, Work, made, provide

TRIES = 3
"""The number of attempts at a piece of work whose process dies: once, and twice again."""


def missing(works: Sequence[Work], place: Place, tick: Tick) -> tuple[list[Path | None], list[int]]:
    """The paths of the results that the store has, None elsewhere, and the numbers of the pieces
    that it lacks. ``tick`` hears of those that it has.
    """
    found = [made(work, place) for work in works]
    for work, path in zip(works, found, strict=True):
        if path is not None:
            tick(work)
    return found, [i for i, path in enumerate(found) if path is None]


def lacking(works: Sequence[Work], place: Place) -> list[Work]:
    """The pieces whose results are not in the store. The bytes of the others are not looked at."""
    return [w for w in works if not place.store.has(w.kind, w.key(place), w.suffix)]


def provide_all(works: Sequence[Work], todo: Sequence[int], place: Place) -> None:
    """Make, in this process, what the missing pieces need: several of them need the same."""
    for i in todo:
        provide(works[i], place)


def told(work: Work) -> str:
    """A piece of work in words: its kind, its subject, its level and draw."""
    names = [
        str(getattr(work, name)) for name in ("subject", "level", "draw") if hasattr(work, name)
    ]
    return f"{work.kind}: {', '.join(names)}" if names else work.kind


def given_up(work: Work, how: str) -> ProbesError:
    """The error of a piece whose process died each time; ``how`` tells the last death."""
    return ProbesError(
        f"a process died {TRIES} times at one piece of work ({told(work)}; {how}): it is left out,"
        " and the others stand; --probes-engine serial shows what happens"
    )


def unread(problem: Exception) -> BadInput:
    """The error of a piece that another process can't read."""
    return BadInput(
        "this piece of work can't be sent to another process"
        f" ({type(problem).__name__}: {problem}): define perturbations and measures in a module of"
        " their own, not in the test or the script, or use the serial engine"
    )


def portable(problem: Exception) -> Exception:
    """An exception that another process can read: its own class if it is one of ours, else its
    traceback in a ProbesError.
    """
    text = "".join(traceback.format_exception(problem))
    if isinstance(problem, ProbesError):
        try:
            again = pickle.loads(pickle.dumps(problem))
        except Exception:  # noqa: BLE001
            again = ProbesError(str(problem))
        again.add_note(text)
        return again
    return ProbesError(
        f"a piece of work failed in another process: {type(problem).__name__}: {problem}\n{text}"
    )
