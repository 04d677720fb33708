"""What the commands share: the request, the options of every study, lines printed at once, names
between commas.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probes.errors import BadInput
from probes.run.options import batch_size, ranges

if TYPE_CHECKING:
    from probes.run.settings import Options
    from probes.store import Store


@dataclasses.dataclass(frozen=True)
class Asked:
    """The request for a study: the values of its options (``given``), the command as typed, and
    ``say``, which reports progress.

    ``store`` and ``options`` are made from those values when they are first used.
    """

    given: argparse.Namespace
    command: Sequence[str]
    say: Callable[[str], None]

    @cached_property
    def store(self) -> Store:
        """The store that the command names, else the default store."""
        return store_of(self.given)

    @cached_property
    def options(self) -> Options:
        """The command's values for images, device, threads, precision and batch size. An option
        that a study lacks keeps its default.
        """
        from probes.run.settings import Options

        names = ("images", "until", "device", "threads", "precision")
        given = {name: getattr(self.given, name) for name in names if hasattr(self.given, name)}
        return Options(**given, **self.passes, **self.engine)

    @property
    def passes(self) -> dict[str, Any]:
        """The command's number of images per pass, as an option; none where it names none."""
        size = getattr(self.given, "pass_size", None)
        return {} if size is None else {"batch_size": size}

    @property
    def engine(self) -> dict[str, Any]:
        """The command's values for processes, as options."""
        jobs = self.given.jobs
        return {"engine": "serial" if jobs == 1 else "processes", "jobs": jobs}

    @property
    def common(self) -> dict[str, Any]:
        """The arguments that all studies share: ``options``, ``command`` and ``say``."""
        return {"options": self.options, "command": self.command, "say": self.say}


def store_of(given: argparse.Namespace) -> Store:
    """The store that a command names, else the default one."""
    from probes.store import Store

    return Store(given.store) if given.store else Store.default()


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def common(study: argparse.ArgumentParser, passes: bool = True) -> None:
    """Add the options of every study: device, threads, store and the folder with datasets; images
    per pass, unless the study has a ``--batch-size`` of its own.
    """
    if passes:
        study.add_argument(
            "--batch-size",
            type=batch_size,
            dest="pass_size",
            metavar="N",
            help="images per forward pass, or auto: as many as fit, found by trying (default: 250)",
        )
    study.add_argument("--device", help="cuda, mps or cpu (default: the best one here)")
    study.add_argument(
        "--threads",
        type=int,
        help="CPU threads (default: torch's); use 1 for each of two studies at the same time",
    )
    study.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="number of processes that measure at once and share the threads (default: 1)",
    )
    study.add_argument("--data", help="folder with datasets (default: PROBES_DATA)")
    study.add_argument("--store", help="the store (default: PROBES_STORE, else .probes)")


def judged(study: argparse.ArgumentParser) -> None:
    """Add the option of a study whose claims are over images."""
    study.add_argument(
        "--until",
        type=int,
        help="judge claims as soon as they are decided, at the latest at this number of images",
    )


def listed(text: str | None) -> list[str] | None:
    """Names between commas, None if there are none."""
    return [name.strip() for name in text.split(",")] if text else None


def print_verdicts(folder: Path) -> None:
    """Print every claim of a report with its verdicts, and where the report is."""
    from probes.tell import evidence

    for line in evidence.read(folder / "evidence.jsonl"):
        print(f"{line['id']} on {line['subject']}: {line['overall']}")
        for member in line["verdicts"]:
            print(f"  {evidence.sentence(member)}")
    print(f"report: {folder / 'report.md'}")


def evidence_lines(folder: Path) -> list[dict]:
    """The evidence of a report."""
    from probes.tell import evidence

    return evidence.read(folder / "evidence.jsonl")


def seed_range(text: str) -> list[int]:
    """Training seeds as typed: ``3``, ``0-7``, ``0,2,5-6``; BadInput for anything else.

    >>> seed_range("0-2,5")
    [0, 1, 2, 5]
    """
    found = ranges(text)
    if found is None or any(last - first > 10_000 for first, last in found):
        raise BadInput(f"seeds {text!r}: numbers and ranges from small to large, e.g. 0-7 or 0,2,5")
    return list(dict.fromkeys(seed for first, last in found for seed in range(first, last + 1)))
