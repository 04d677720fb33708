"""SIGTERM, as a scheduler or a container sends it, ends work as Ctrl-C does: nothing that is
measured is lost.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes of ``probes`` after Ctrl-C and after SIGTERM: 128 and the number of the signal."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


def _raise(number: int, frame: FrameType | None) -> None:
    raise Terminated


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """A block in which SIGTERM raises :class:`Terminated`. It changes nothing outside the main
    thread, or where somebody else handles the signal.

    >>> with terminable():
    ...     signal.getsignal(signal.SIGTERM) is _raise
    True
    """
    mine = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if mine:
        signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        if mine:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def code_of(stop: KeyboardInterrupt) -> int:
    """The exit code after an interruption.

    >>> code_of(Terminated()), code_of(KeyboardInterrupt())
    (143, 130)
    """
    return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
