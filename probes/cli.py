"""The command line ``probes``: ``list``, ``check``, ``train``, ``run``, ``verify`` and others."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from probes import __version__, studies
from probes.commands import (
    baseline,
    compare,
    explain,
    export,
    holding,
    listing,
    reports,
    summary,
    train,
    welcome,
)
from probes.errors import ProbesError, Unfinished
from probes.run.console import left_over
from probes.run.parsing import Parser, command
from probes.stopping import Terminated, code_of, terminable

MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.ENOMEM)
"""Answers of the operating system that are no fault of ours: no more files, no room, no memory."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0 if all went well, 1 if a report does not verify, 2 if the
    input can't be used, 130 after Ctrl-C, 143 after SIGTERM, and 141 if whoever reads what it
    prints has gone, as ``head`` does.
    """
    try:
        try:
            return _run(argv)
        finally:  # what --help and a refusal print, too
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(argv: Sequence[str] | None) -> int:
    typed = list(sys.argv[1:] if argv is None else argv)
    try:
        parser = parser_of_all(studies.asked_in(typed))
    except ProbesError as e:  # an installed study that can't be imported
        return _trouble(e)
    given = _parsed(parser, argv)
    if given.command is None:
        print(welcome.welcome())
        return 0
    sys.path.insert(0, str(Path.cwd()))  # a network of one's own, as module:builder
    try:
        given.argv = typed
        for module in getattr(given, "imports", ()):
            importlib.import_module(module)
        if getattr(given, "data", None):
            os.environ["PROBES_DATA"] = given.data
        with terminable():
            return {
                "list": listing.show,
                "check": listing.check,
                "train": train.run,
                "compare": compare.run,
                "baseline": baseline.run,
                "summary": summary.run,
                "export": export.run,
                "explain": explain.run,
                "fetch": listing.fetch,
                "run": studies.run,
                "report": reports.draw,
                "verify": reports.verify,
                "ledger": reports.ledger,
                "status": holding.status,
                "store": holding.run,
            }[given.command](given)
    except Unfinished as e:
        return left_over(e, ["probes", *given.argv])
    except ProbesError as e:
        return _trouble(e)
    except OSError as e:
        if e.errno not in MACHINE:
            raise
        print(f"probes: {e.strerror}{f': {e.filename}' if e.filename else ''}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        again = shlex.join(["probes", *given.argv])
        what = "terminated" if isinstance(stop, Terminated) else "interrupted"
        print(
            f"\nprobes: {what}; what is done is kept, and the same command goes on from here:"
            f"\n  {again}",
            file=sys.stderr,
        )
        return code_of(stop)


def _trouble(e: ProbesError) -> int:
    more = f"\nmore: probes explain {e.topic}" if e.topic else ""
    print(f"probes: {e}{more}", file=sys.stderr)
    return 2


def parser_of_all(study: str = studies.EVERY) -> Parser:
    """The parser of ``probes`` with every command, and of installed packages the study that is
    asked for.
    """
    parser = Parser(
        prog="probes",
        description="Test claims about neural networks. The claims themselves run under pytest.",
        examples=("probes run dynamics --images 300", "probes check resnet20"),
    )
    parser.add_argument("--version", action="version", version=__version__, help="show the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    running = command(
        commands,
        "run",
        "run a study without pytest on any network; writes a report into a folder",
        ("probes run dynamics --images 300", "probes run robustness resnet20 --severity 3"),
    )
    studies.add_to(
        running.add_subparsers(dest="study", required=True, metavar="STUDY"), asked=study
    )
    for one in (compare, baseline, listing, train, reports, summary, export, holding, explain):
        one.add_to(commands)
    return parser


def _parsed(parser: Parser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments. What can't be read ends with 2, and with 3 in a comparison, where 2 is an
    answer.
    """
    try:
        given, rest = parser.parse_known_args(argv)
        given._parser.accept(given, rest)
        return given
    except SystemExit as e:
        typed = sys.argv[1:] if argv is None else argv
        if e.code == 2 and list(typed[:1]) == ["compare"]:
            raise SystemExit(compare.TROUBLE) from None
        raise


if __name__ == "__main__":
    sys.exit(main())
