"""The commands ``probes status`` and ``probes store``: what a store holds and lacks, and how it is
merged, checked and pruned.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from probes import holdings
from probes.cost import duration, size
from probes.errors import BadInput
from probes.holdings import Entry
from probes.judge.wording import counted
from probes.run.console import say, store, store_of
from probes.run.parsing import command
from probes.store import Store

SHOWN = 12
"""The number of rows that a list shows unless all are asked for."""


def add_to(commands: Any) -> None:
    """Add the commands and their options."""
    status = command(
        commands,
        "status",
        "what the store holds by network, and what is missing with its command",
        ("probes status", "probes status --all --reports results"),
    )
    status.add_argument("--all", action="store_true", help="show every row")
    status.add_argument(
        "--reports",
        type=Path,
        metavar="FOLDER",
        default=Path("reports"),
        help="folder of reports",
    )
    store(status)
    stores = command(
        commands,
        "store",
        "merge, check or prune stores of results",
        ("probes store check", "probes store prune --older-than 30d --dry-run"),
    )
    actions = stores.add_subparsers(dest="action", required=True, metavar="ACTION")
    merging = command(
        actions,
        "merge",
        "copy results of other stores into the first one",
        (
            "probes store merge .probes shard-1/.probes shard-2/.probes",
            "probes store merge .probes old/.probes",
        ),
    )
    merging.add_argument("into", type=Path, help="the store that gets them")
    merging.add_argument("others", type=Path, nargs="+", help="stores, such as those of shards")
    checking = command(
        actions,
        "check",
        "read every result, and name what is damaged",
        ("probes store check", "probes store check --store shard-1/.probes"),
    )
    store(checking)
    pruning = command(
        actions,
        "prune",
        "remove results that nobody needs",
        (
            "probes store prune --older-than 30d --dry-run",
            "probes store prune --unreachable --kind cells",
        ),
    )
    pruning.add_argument(
        "--older-than",
        metavar="TIME",
        help="made before this time, e.g. 30d, 12h (default: of any age)",
    )
    pruning.add_argument(
        "--unreachable",
        action="store_true",
        help="made with other versions of torch, numpy, ... than those here",
    )
    pruning.add_argument(
        "--kind",
        action="append",
        metavar="KIND",
        default=[],
        help="only this kind, e.g. cells; may stand several times; weights go only if named"
        " (default: all but weights)",
    )
    pruning.add_argument("--dry-run", action="store_true", help="say what would go; remove nothing")
    store(pruning)


def run(given: argparse.Namespace) -> int:
    """Merge, check or prune."""
    return {"merge": _merge, "check": _check, "prune": _prune}[given.action](given)


# --- status


def status(given: argparse.Namespace) -> int:
    """Print what the store holds, which claims are judged, and what is missing."""
    held, now = store_of(given), time.time()
    groups: dict[tuple[str, str, str], list[Entry]] = {}
    there = set()
    for entry in holdings.entries(held):
        there.add((entry.kind, entry.file))
        about = entry.about or "(no subject)"
        groups.setdefault((about, entry.purpose or "-", entry.kind), []).append(entry)
    total = sum(e.bytes for found in groups.values() for e in found)
    say(f"store {held.folder}: {counted(len(there), 'result')}, {size(total)}")
    rows = [
        (*name, f"{len(found):,}", size(sum(e.bytes for e in found)), _ago(found, now))
        for name, found in groups.items()
    ]
    rows.sort(key=lambda row: (row[0].startswith("("), row))
    _table(("subject", "for", "kind", "results", "size", "newest"), rows, given.all)
    _claims(given.reports, given.all)
    _missing(held, there)
    return 0


def _ago(found: Sequence[Entry], now: float) -> str:
    return f"{duration(max(0.0, now - max(e.made for e in found)))} ago"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], every: bool) -> None:
    shown = rows if every else rows[:SHOWN]
    if not shown:
        return
    wide = [max(len(row[i]) for row in (head, *shown)) for i in range(len(head))]
    for row in (head, *shown):
        say("  " + "  ".join(text.ljust(n) for text, n in zip(row, wide, strict=True)).rstrip())
    if len(rows) > len(shown):
        say(f"  and {counted(len(rows) - len(shown), 'row')} more: probes status --all")


def _claims(reports: Path, every: bool) -> None:
    from probes.tell import evidence, terminal

    for path in sorted(reports.glob("*/evidence.jsonl")) if reports.is_dir() else ():
        lines = evidence.read(path)
        say(f"{path.parent}: {terminal.count(lines)}")
        if every or path.parent.name == "latest":
            for line in sorted(lines, key=lambda one: (one["id"], one["subject"])):
                say(f"  {line['id']} on {line['subject']}: {line['overall']}")


def _missing(store: Store, there: set[tuple[str, str]]) -> None:
    said = False
    for path, plan in holdings.plans(store):
        left = plan.missing(there)
        if not left:
            path.unlink(missing_ok=True)
            continue
        if not said:
            say("missing:")
        said = True
        about = f"{plan.purpose}: " if plan.purpose else ""
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(plan.began))
        say(f"  {about}{left:,} of {counted(len(plan.pieces), 'piece')}, begun {began}; to go on:")
        say(f"    {plan.command}")
    if not said:
        say("nothing that was begun is missing")


# --- store


def _merge(given: argparse.Namespace) -> int:
    into, others = Store(given.into), [Store(other) for other in given.others]
    found: dict[str, list[Entry]] = {}
    for entry, what in holdings.merge(into, others):
        found.setdefault(what, []).append(entry)
    new = found.get("new", [])
    say(
        f"{into.folder}: {counted(len(new), 'result')} new ({size(sum(e.bytes for e in new))}),"
        f" {len(found.get('there', [])):,} were there"
    )
    for what, says in (
        ("other bytes", "differs in both stores and stays as it was in the first"),
        ("damaged", "is damaged and was left out"),
    ):
        _named(found.get(what, []), says)
    return 1 if "damaged" in found else 0


def _check(given: argparse.Namespace) -> int:
    held = store_of(given)
    found = list(holdings.damaged(held))
    for path, why in found:
        say(f"{path}: {why}")
    whole = sum(1 for _ in holdings.entries(held))
    say(
        f"store {held.folder}: {counted(whole, 'result')}"
        + (f", {counted(len(found), 'problem')}; a damaged result is made again when it is needed"
           if found else ", all as they were written")
    )  # fmt: skip
    return 1 if found else 0


def _prune(given: argparse.Namespace) -> int:
    held = store_of(given)
    if given.older_than is None and not given.unreachable:
        raise BadInput("probes store prune: say what can go: --older-than 30d, --unreachable")
    older = None if given.older_than is None else age(given.older_than)
    found = list(holdings.prunable(held, older, given.unreachable, given.kind))
    for why in sorted({why for _, why in found}):
        mine = [entry for entry, reason in found if reason == why]
        said = f"older than {given.older_than}" if why == "old" else why
        say(f"  {counted(len(mine), 'result')}, {size(sum(e.bytes for e in mine))}: {said}")
    if not given.dry_run:
        for entry, _ in found:
            holdings.remove(held, entry)
    done = "would be removed (--dry-run)" if given.dry_run else "removed"
    say(f"store {held.folder}: {counted(len(found), 'result')} {done}")
    return 0


def _named(found: Iterable[Entry], says: str) -> None:
    for entry in found:
        say(f"  {entry.kind}/{entry.file} {says}")


def age(text: str) -> float:
    """A time as typed, in seconds: a number and s, m, h, d or w. BadInput for anything else.

    >>> age("30d"), age("1.5h")
    (2592000.0, 5400.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    if found is None:
        raise BadInput(f"time {text!r}: a number and s, m, h, d or w, e.g. 30d")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[found[2]]
