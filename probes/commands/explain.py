"""``probes explain``: the cause of an error and the way out."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from typing import Any

from probes.explaining import topics
from probes.registry import unknown
from probes.run.parsing import command


def add_to(commands: Any) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "explain",
        "the cause of an error, and the way out",
        ("probes explain weights", "probes explain"),
    )
    parser.add_argument(
        "topic", metavar="NAME", nargs="?", help="as an error names it (default: all of them)"
    )


def run(given: argparse.Namespace) -> int:
    """Print the page of a topic, or list them."""
    known = topics()
    if given.topic is None:
        wide = max(map(len, known))
        print("\n".join(f"{name:<{wide}}  {topic.title}" for name, topic in known.items()))
        return 0
    if given.topic not in known:
        raise unknown("topic", given.topic, known, "`probes explain` lists all")
    columns = min(80, shutil.get_terminal_size().columns)
    parts = known[given.topic].text().split("\n\n")
    print("\n\n".join(textwrap.fill(part, columns) for part in parts))
    return 0
