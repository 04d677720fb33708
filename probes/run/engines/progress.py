"""The progress of work: a bar with rate and remaining time on a terminal, in a log a line a minute;
once, of work that takes longer, how to stop it and go on.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from probes.cost import GO_ON, LONG, duration
from probes.judge.wording import counted

BAR = (
    "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
)
MINUTE = 60.0
"""Seconds between the lines in a log."""
_said: list[str] = []
"""What this process has said of how to stop and go on: it is said once."""


def go_on() -> str:
    """How to stop and go on; empty where it was said."""
    if _said:
        return ""
    _said.append(GO_ON)
    return GO_ON


class Progress:
    """How much of some pieces of work is done. ``reach`` is called with it, in pieces and parts of
    them, and with what is worked on.
    """

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what, self.at, self.saying = total, what, 0.0, ""
        self.began = time.monotonic()

    @property
    def long(self) -> bool:
        """Whether this is work that has taken long already, and is not done."""
        return time.monotonic() - self.began >= LONG and self.at < self.total

    def reach(self, at: float, saying: str = "") -> None:
        """So many pieces are done."""
        self.at, self.saying = max(self.at, at), saying or self.saying


class _Bar(Progress):
    def __init__(self, total: int, what: str, bar: Any) -> None:
        super().__init__(total, what)
        self.bar = bar

    def reach(self, at: float, saying: str = "") -> None:
        if saying:
            self.bar.set_postfix_str(saying, refresh=False)
        super().reach(at, saying)
        self.bar.update(max(0.0, at - self.bar.n))
        if self.long and (told := go_on()):
            self.bar.write(f"{self.what}: {told}", file=sys.stderr)


class _Log(Progress):
    def __init__(self, total: int, what: str) -> None:
        super().__init__(total, what)
        self.last = self.began

    def reach(self, at: float, saying: str = "") -> None:
        super().reach(at, saying)
        now = time.monotonic()
        told = go_on() if self.long and self.at else ""
        if (told or now - self.last >= MINUTE) and self.at:
            self.last = self.last if told else now
            rate = self.at / (now - self.began)
            left = duration((self.total - self.at) / rate)
            about = f" ({self.saying})" if self.saying else ""
            about += f"; {told}" if told else ""
            print(
                f"{self.what}: {self.at:,.1f} of {counted(self.total, 'piece')},"
                f" {60 * rate:.3g} a minute, about {left} left{about}",
                file=sys.stderr,
                flush=True,
            )


@contextlib.contextmanager
def progress(total: int, what: str, quiet: bool) -> Iterator[Progress]:
    """The progress of so many pieces, shown where somebody looks: nothing if ``quiet``."""
    if quiet or not total:
        yield Progress(total, what)
    elif not sys.stderr.isatty():
        yield _Log(total, what)
    else:
        with tqdm(total=total, desc=what, unit="piece", bar_format=BAR, leave=False) as bar:
            yield _Bar(total, what, bar)
