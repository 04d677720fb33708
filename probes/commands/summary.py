"""The command ``probes summary``: reports in short, for a pull request or a machine."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from probes.atomic import write_text
from probes.run.parsing import SETTINGS, command
from probes.tell import shared

FILES = {
    "markdown": "summary.md",
    "json": "summary.json",
    "junit": "junit.xml",
    "badge": "badge.svg",
}
"""What ``--out`` writes."""


def add_to(commands: Any) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "summary",
        "reports in short: Markdown for a pull request, JUnit, JSON, a badge",
        ("probes summary reports/latest", "probes summary reports --out summary"),
    )
    parser.add_argument(
        "folder",
        type=Path,
        nargs="+",
        help="a report, or a folder of reports, e.g. reports/latest",
    )
    form = parser.parts[SETTINGS].add_mutually_exclusive_group()
    for name, says in (
        ("markdown", "fewer than 60 lines: verdict, table, link (the default)"),
        ("junit", "JUnit's XML, a test case for each claim or condition"),
        ("json", "JSON, by the schema in probes/tell/summary.schema.json"),
        ("badge", "a badge, as SVG"),
    ):
        form.add_argument(
            f"--{name}",
            dest="form",
            action="store_const",
            const=name,
            help=says,
            default="markdown",
        )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="write summary.md, summary.json, junit.xml and badge.svg into this folder, and print"
        " nothing (default: print one of them)",
    )
    parser.add_argument(
        "--link",
        metavar="URL",
        help="address of the whole report, e.g. https://example.org/report.html (default: of the"
        " run, under GitHub Actions)",
    )


def run(given: argparse.Namespace) -> int:
    """Print the summary, or write it in every form; 0 whatever it says."""
    from probes.tell.reportfolder import reports_in
    from probes.tell.summary import summary

    folders = [report for asked in given.folder for report in reports_in(asked)]
    found = summary([f for f in folders if (f / "evidence.jsonl").exists()] or folders)
    link = given.link if given.link is not None else run_address()
    made: dict[str, Callable[[], str]] = {
        "markdown": lambda: shared.markdown(found, link),
        "junit": lambda: shared.junit(found),
        "json": lambda: json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "badge": lambda: shared.badge(found),
    }
    if given.out is None:
        print(made[given.form](), end="")
        return 0
    given.out.mkdir(parents=True, exist_ok=True)
    for form, name in FILES.items():
        write_text(given.out / name, made[form]())
    return 0


def run_address() -> str:
    """The address of the run under GitHub Actions, which has the artefacts; empty elsewhere."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    server, repository, number = (os.environ.get(name, "") for name in names)
    return f"{server}/{repository}/actions/runs/{number}" if server and number else ""
