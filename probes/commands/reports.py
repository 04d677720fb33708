"""The commands ``probes report``, ``probes verify`` and ``probes ledger``: reports that are there
already.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from probes.errors import BadInput, Unavailable
from probes.run.console import evidence_lines
from probes.run.parsing import command


def add_to(commands: Any) -> None:
    """Add the commands and their options."""
    report = command(
        commands,
        "report",
        "draw a report again from its files",
        ("probes report reports/latest", "probes report reports/latest --again"),
    )
    report.add_argument("folder", type=Path, help="the folder of a report, e.g. reports/latest")
    report.add_argument(
        "--again",
        action="store_true",
        help="first judge every claim again from its tables, e.g. after an upgrade",
    )
    report.add_argument(
        "--changed",
        action="store_true",
        help="with --again: take verdicts that come out otherwise by the rules of this version",
    )
    report.add_argument(
        "--figures",
        action="store_true",
        help="draw the figures of every claim, also where there are more than 40",
    )
    verifying = command(
        commands,
        "verify",
        "check a report or all reports below a folder: manifest, verdicts, cited expectations",
        ("probes verify reports/latest", "probes verify reports/latest --rerun"),
    )
    verifying.add_argument(
        "folder", type=Path, nargs="+", help="reports, or folders with reports, e.g. reports"
    )
    verifying.add_argument(
        "--rerun",
        action="store_true",
        help="also measure again from weights and data, by the command of the report, and compare",
    )
    looks = command(
        commands,
        "ledger",
        "show the looks that claims have had, by claim",
        ("probes ledger", "probes ledger tests/probes-looks.jsonl"),
    )
    looks.add_argument(
        "file",
        nargs="?",
        type=Path,
        default=Path("probes-looks.jsonl"),
        help="a ledger of looks",
    )


def draw(given: argparse.Namespace) -> int:
    """Draw a report again."""
    from probes.comparing.pages import sections
    from probes.tell import report

    if given.changed and not given.again:
        raise BadInput("--changed takes verdicts that are judged again: give --again with it")
    report.draw(given.folder, given.again, given.changed, sections(), given.figures)
    print(f"drawn again: {given.folder / 'report.md'}")
    return 0


def ledger(given: argparse.Namespace) -> int:
    """Show a ledger of looks."""
    from probes.claims.ledger import shown

    if not given.file.is_file():
        raise Unavailable(
            f"{given.file}: no such file; pytest writes one beside the claims that it judges"
        )
    for line in shown(given.file):
        print(line)
    return 0


def verify(given: argparse.Namespace) -> int:
    """Verify reports, and measure them again if that is asked for; 1 if one does not verify."""
    from probes.judge.wording import counted
    from probes.reading import visible
    from probes.tell.reportfolder import reports_in
    from probes.tell.verify import verify as problems_of

    bad = 0
    for folder in [report for asked in given.folder for report in reports_in(asked)]:
        problems = problems_of(folder)
        for problem in problems:
            print(visible(f"{folder}: {problem}"))
        if not problems:
            lines = evidence_lines(folder) if (folder / "evidence.jsonl").exists() else []
            cited = sum(bool(line["expect"]) for line in lines)
            judged, as_cited = counted(len(lines), "claim"), counted(cited, "expectation")
            print(
                f"{folder}: verified; manifest, {judged} judged again from their tables, {as_cited}"
                " as cited"
            )
        if given.rerun and (folder / "evidence.jsonl").exists():
            from probes.commands.rerun import rerun

            problems += rerun(folder)
        bad += bool(problems)
    return 1 if bad else 0
