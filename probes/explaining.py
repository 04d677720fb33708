"""What stands behind an error: its cause and the way out, by the place in the package that raised
it.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
PASSED_ON = ("probes.errors", "probes.explaining")


@dataclasses.dataclass(frozen=True)
class Topic:
    """A page about errors: ``where`` names modules below ``probes``, ``module:function`` for a
    part.
    """

    name: str
    title: str
    where: tuple[str, ...]
    cause: str
    way_out: str

    def text(self) -> str:
        """The page for a terminal."""
        return f"{self.title}\n\nCause: {self.cause}\n\nWay out: {self.way_out}"


@functools.cache
def topics() -> dict[str, Topic]:
    """All topics by name: those of the package, then those of its studies."""
    found = {}
    for path in [HERE / "errors.toml", *sorted(HERE.glob("studies/*/errors.toml"))]:
        for name, row in tomllib.loads(path.read_text(encoding="utf-8")).items():
            found[name] = Topic(name, **row | {"where": tuple(row["where"])})
    return found


@functools.cache
def topic_of(module: str, function: str) -> str | None:
    """The topic of a function of Probes, the most specific one. None for other code.

    >>> topic_of("probes.subjects.spec", "parse")
    'subjects'
    """
    if not module.startswith("probes."):
        return None
    place, names = module.removeprefix("probes."), function.split(".")
    best, size = None, 0
    for topic in topics().values():
        for where in topic.where:
            room, _, part = where.partition(":")
            inside = place == room or place.startswith(f"{room}.")
            if inside and (not part or part in names) and len(where) > size:
                best, size = topic.name, len(where)
    return best


def page_of(topic: str) -> str:
    """Where a topic is explained, in words."""
    return f"explained in docs/errors/{topic}.md, or by `probes explain {topic}`"


def topic_here() -> str | None:
    """The topic of the function that makes an error."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__") in PASSED_ON:
        frame = frame.f_back
    return topic_of(str(frame.f_globals.get("__name__")), frame.f_code.co_qualname)
