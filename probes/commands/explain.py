"""``probes explain``: the cause of an error and the way out."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from typing import Any

from probes.explaining import topics
from probes.registry import unknown


def add_to(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("explain", help="the cause of an error, and the way out")
    parser.add_argument(
        "topic", metavar="TOPIC", nargs="?", help="as an error names it (default: list all)"
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
