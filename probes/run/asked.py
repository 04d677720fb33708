"""What the commands share: the store that is asked for, words printed at once, names between commas, where a study runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probes.store import Store


def store_of(given: argparse.Namespace) -> Store:
    """The store that a command names, else the default one."""
    from probes.store import Store

    return Store(given.store) if given.store else Store.default()


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def where(study: argparse.ArgumentParser) -> None:
    """Add the options of every study: device, threads, store and the folder with datasets."""
    study.add_argument("--device", help="cuda, mps or cpu (default: the best one here)")
    study.add_argument("--threads", type=int, help="CPU threads (default: torch's; 1 for each of two studies side by side)")
    study.add_argument("--data", help="folder with datasets (default: PROBES_DATA)")
    study.add_argument("--store", help="the store (default: PROBES_STORE, else .probes)")


def listed(text: str | None) -> list[str] | None:
    """Names between commas; None where there are none."""
    return [name.strip() for name in text.split(",")] if text else None


def print_verdicts(folder: Path) -> None:
    """Every claim of a report with its verdicts, and where the report is."""
    from probes.tell import decay

    for line in evidence_lines(folder):
        print(f"{line['id']} on {line['subject']}: {line['overall']}")
        for member in line["verdicts"]:
            print(f"  {decay.sentence(member)}")
    print(f"report: {folder / 'report.md'}")


def evidence_lines(folder: Path) -> list[dict]:
    """The evidence of a report."""
    from probes.tell import evidence

    return evidence.read(folder / "evidence.jsonl")
