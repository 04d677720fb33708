"""The studies, a folder each. They are found by their records; other packages add theirs by the
entry point ``probes.studies``.
"""

from __future__ import annotations

import argparse
import functools
import logging
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from probes.errors import BadInput
from probes.run.console import Asked, say
from probes.run.parsing import command
from probes.studies.dynamics import STUDY as dynamics
from probes.studies.features import STUDY as features
from probes.studies.layer_noise import STUDY as layer_noise
from probes.studies.masking import STUDY as masking
from probes.studies.robustness import STUDY as robustness
from probes.studies.segments import STUDY as segments
from probes.studies.sensitivity import STUDY as sensitivity
from probes.studies.study import Study, loaded
from probes.studies.weight_noise import STUDY as weight_noise
from probes.tell.reportfolder import Sections

OWN = (dynamics, features, weight_noise, layer_noise, sensitivity, masking, segments, robustness)
GROUP = "probes.studies"
"""The entry point by which a package adds a study of its own: ``flips = "flips:STUDY"``."""


EVERY = "*"
"""Asks for every study, as the help does."""
log = logging.getLogger("probes.studies")


def _points() -> list[Any]:
    points = metadata.entry_points(group=GROUP)
    return sorted(points, key=lambda p: (p.name, p.value))


def _whose(point: Any) -> str:
    return f"the study {point.name!r} of {point.dist.name if point.dist else point.value}"


def _load(point: Any) -> Study:
    whose = _whose(point)
    try:
        one = point.load()
    except Exception as e:
        raise BadInput(f"{whose} can't be imported: {type(e).__name__}: {e}") from e
    if not isinstance(one, Study):
        raise BadInput(
            f"{whose} is a {type(one).__name__}: {point.value} names no probes.studies.Study"
        )
    return one


@functools.cache
def studies(asked: str = EVERY) -> dict[str, Study]:
    """The package's own studies by name, then of those that installed packages add the one that is
    asked for, or every one, sorted. Of no other package anything is imported.

    Raises BadInput, naming the package, for an entry point that is asked for and is no
    :class:`Study` or has the name of another study.
    """
    found = {one.name: one for one in OWN}
    for point in _points():
        if asked not in (EVERY, point.name):
            continue
        one, whose = _load(point), _whose(point)
        if one.name in found:
            raise BadInput(
                f"{whose} is called {one.name!r}, as another study is: give it a name of its own"
            )
        found[one.name] = one
    return found


def asked_in(words: Sequence[str]) -> str:
    """Which study a command line asks for: one by its name, every one, or none of others.

    >>> asked_in(["run", "flips", "resnet20"]), asked_in(["run", "--help"]), asked_in(["verify"])
    ('flips', '*', '')
    """
    if not words or words[0] != "run":
        return ""
    return words[1] if len(words) > 1 and not words[1].startswith("-") else EVERY


def add_to(parsers: Any, asked: str = EVERY) -> None:
    """Add the studies that are asked for, with their options, to the parsers of ``probes run``."""
    for one in studies(asked).values():
        head = loaded(one.command)
        examples = getattr(head, "EXAMPLES", ())
        head.options(command(parsers, one.name, one.sentence, examples))


def run(given: argparse.Namespace) -> int:
    """Run the study that was asked for."""
    head = loaded(studies(given.study)[given.study].command)
    if not getattr(given, "estimate", False):
        head.run(Asked(given, ["probes", *given.argv], say))
        return 0
    with tempfile.TemporaryDirectory(prefix="probes-estimate-") as folder:
        given.out = Path(folder) / "out"  # where everything is in the store, nothing is replaced
        head.run(Asked(given, ["probes", *given.argv], lambda text: None))
    say("estimate: all results are in the store")
    return 0


def sections() -> Sections:
    """What all studies add to a report. A function is imported when there is something to
    report.

    A study of an installed package that can't be imported adds nothing, and a warning says so: it
    takes no report with it.
    """
    every = list(OWN)
    for point in _points():
        try:
            every.append(_load(point))
        except BadInput as e:
            log.warning("%s; its sections of reports are left out", e.args[0])

    def later(name: str) -> Any:
        return lambda *args: loaded(name)(*args)

    return Sections(
        front=tuple((file, later(name)) for one in every for file, name in one.sections.items()),
        below=tuple(later(one.below) for one in every if one.below),
        files=tuple(name for one in every for name in one.files),
    )
