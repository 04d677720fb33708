"""The errors a user can meet. Each one repeats what was typed, says what is allowed, and names a
way out.
"""

from typing import Any

from probes.explaining import page_of, topic_here


class ProbesError(Exception):
    """Trouble in preparing (no data, bad weights, NaN): an ERROR, never evidence against a claim.

    ``topic`` is the page that explains it (``probes explain TOPIC``), which a note on the error
    names. It is None for an error that other code than Probes raised.
    """

    topic: str | None = None

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        if topic := topic_here():
            self.topic = topic
            self.add_note(page_of(topic))


class UnknownName(ProbesError):
    """A name that no registry knows; the message offers the nearest ones."""


class Unavailable(ProbesError):
    """Something known that is not on this machine. The message carries the command that brings it.
    A claim that needs it is skipped.
    """


class BadInput(ProbesError, ValueError):
    """A value outside what is allowed."""


class Unfinished(ProbesError):
    """Work that was left out as asked: pieces of other shards, those after the time was over, or
    all of it where only an estimate was asked for. A claim that needs it is skipped.

    ``over`` says that the time was over, ``estimate`` what was asked for instead of the work;
    ``lines`` is the evidence of the claims that were judged all the same. The sum of two is one
    that says both.
    """

    def __init__(self, message: str, over: bool = False, estimate: Any = None) -> None:
        super().__init__(message)
        self.over, self.estimate = over, estimate
        self.lines: list[dict[str, Any]] = []

    def __add__(self, other: "Unfinished") -> "Unfinished":
        if self.estimate is not None and other.estimate is not None:
            both = self.estimate + other.estimate
            return Unfinished(f"estimate: {both}", estimate=both)
        mine = str(self).split("\n")
        message = "\n".join(dict.fromkeys([*mine, *str(other).split("\n")]))
        return Unfinished(message, self.over or other.over)
