"""What the commands share: the request, the options of every study, lines printed at once, names
between commas.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probes.errors import BadInput, Unfinished
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
        store = store_of(self.given)
        store.purpose = getattr(self.given, "study", "")
        return store

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
        """The command's values for how work is done, as options."""
        return how_asked(self.given)

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
    study.add_argument(
        "--device", metavar="NAME", help="cuda, mps or cpu (default: the best one here)"
    )
    study.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads (default: torch's); use 1 for each of two studies at the same time",
    )
    engines(study, "number of processes that measure at once and share the threads (default: 1)")
    data_and_store(study)


def dataset(study: argparse.ArgumentParser) -> None:
    """Add the option of the dataset."""
    study.add_argument(
        "--dataset",
        metavar="NAME",
        default="mnist5k",
        help="images, e.g. cifar10, imagefolder:photos: see `probes list` (default: mnist5k)",
    )


def images(
    study: argparse.ArgumentParser,
    text: str = "largest number of test images, e.g. 300 (default: all)",
) -> None:
    """Add the option of the number of images."""
    study.add_argument("--images", type=int, metavar="N", help=text)


def precision(study: argparse.ArgumentParser) -> None:
    """Add the option of the precision."""
    study.add_argument(
        "--precision",
        default="fp32",
        choices=("fp32", "bf16"),
        help="precision of the passes (default: fp32)",
    )


def out(study: argparse.ArgumentParser, default: str, what: str = "folder of the report") -> None:
    """Add the option of where the report goes."""
    study.add_argument("--out", type=Path, metavar="FOLDER", default=Path(default), help=what)


def data_and_store(command: argparse.ArgumentParser) -> None:
    """Add the options of where datasets and results lie."""
    command.add_argument(
        "--data", metavar="FOLDER", help="folder with datasets, e.g. data (default: PROBES_DATA)"
    )
    store(command)


def store(command: argparse.ArgumentParser) -> None:
    """Add the option of where results lie."""
    command.add_argument(
        "--store", metavar="FOLDER", help="the store (default: PROBES_STORE, else .probes)"
    )


def engines(study: argparse.ArgumentParser, jobs: str) -> None:
    """Add the options of how work is done; ``jobs`` is the help of that one."""
    study.add_argument("--jobs", type=int, metavar="N", default=1, help=jobs)
    study.add_argument(
        "--engine",
        choices=("serial", "processes", "ray"),
        help="how work is done (default: processes with --jobs, else serial)",
    )
    study.add_argument(
        "--ray-address",
        metavar="HOST:PORT",
        help="join this Ray cluster; auto: that of this node (default: one on this machine)",
    )
    study.add_argument(
        "--shard",
        metavar="3/16",
        help="fill the store with this part of the work, and stop (default: all)",
    )
    study.add_argument(
        "--max-seconds",
        type=float,
        metavar="SECONDS",
        help="stop after this time, e.g. 3600, and say what is missing (default: no limit)",
    )
    study.add_argument(
        "--max-hours",
        type=float,
        metavar="HOURS",
        help="ask before work that would take longer, by a trial (default: never ask)",
    )
    study.add_argument(
        "--estimate", action="store_true", help="say what it would cost, by a trial, and stop"
    )
    study.add_argument("--quiet", action="store_true", help="show no progress")


def how_asked(given: argparse.Namespace) -> dict[str, Any]:
    """How work is done, as options; empty if nothing was asked for."""
    many = given.jobs != 1
    engine = given.engine or ("ray" if given.ray_address else "processes" if many else None)
    parts = ("ray_address", "shard", "max_seconds", "max_hours", "estimate", "quiet")
    found = {
        "engine": engine,
        "jobs": given.jobs if many else None,
        **{name: getattr(given, name) for name in parts},
    }
    return {
        name: value for name, value in found.items() if value is not None and value is not False
    }


def judged(study: argparse.ArgumentParser) -> None:
    """Add the option of a study whose claims are over images."""
    study.add_argument(
        "--until",
        type=int,
        metavar="N",
        help="judge claims as soon as they are decided, at the latest at this number of images"
        " (default: once, at all)",
    )


def listed(text: str | None) -> list[str] | None:
    """Names between commas, None if there are none."""
    return [name.strip() for name in text.split(",")] if text else None


UNFINISHED = 3
"""The exit code of a command whose time was over before its work was done."""


def left_over(left: Unfinished, command: Sequence[str]) -> int:
    """Print the verdicts of what is done, and what is missing with the command that goes on.
    Returns the exit code.
    """
    for line in left.lines:
        _print_claim(line)
    say(f"probes: {left}")
    if left.over:
        say(f"to go on: {shlex.join(command)}")
    return UNFINISHED if left.over else 0


def print_verdicts(folder: Path) -> None:
    """Print every claim of a report with its verdicts, and where the report is."""
    from probes.tell import evidence

    for line in evidence.read(folder / "evidence.jsonl"):
        _print_claim(line)
    print(f"report: {folder / 'report.md'}")


def _print_claim(line: Mapping[str, Any]) -> None:
    from probes.tell import evidence

    print(f"{line['id']} on {line['subject']}: {line['overall']}")
    for member in line["verdicts"]:
        print(f"  {evidence.sentence(member)}")


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
