"""The command ``probes compare``."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from probes.errors import BadInput, ProbesError, Unfinished
from probes.run.console import Asked, common, images, left_over, listed, say, seed_range
from probes.run.parsing import command

WORSE, OPEN, TROUBLE = 1, 2, 3
"""Exit codes beside 0: worse, not decided, and anything that came to no answer."""


def add_to(commands: Any) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "compare",
        "is a new network worse than an old one? Exit code 0 no, 1 yes, 2 not decided",
        (
            "probes compare resnet20#0 resnet20#1 --margin '1 point'",
            "probes compare resnet20 resnet20+quantised:8 --under noise:0,.1",
        ),
        "Compare two networks on the same images and draws, within a margin. Exit code"
        " 0: not worse (or better), 1: worse, 2: not decided, 3: no answer.",
    )
    parser.add_argument(
        "nets",
        nargs="+",
        metavar="NET",
        help="the old network and the new one: net[:weights][#seed], or a version of it:"
        " net+quantised:8, net+pruned:.5; with --baseline the new one alone",
    )
    parser.add_argument(
        "--baseline",
        metavar="NAME",
        help="compare NEW alone with a baseline (`probes baseline save`): its name, or its file"
        " (default: two networks are measured)",
    )
    arm(parser)
    parser.add_argument(
        "--margin",
        nargs="+",
        default=["0"],
        metavar="MARGIN",
        help="how much worse would not matter, e.g. '1 point'; by metric: correct='1 point'"
        " brier=.01 (default: 0)",
    )
    parser.add_argument(
        "--metrics",
        metavar="NAMES",
        default="correct",
        help="between commas: correct, loss, brier, margin, ece, auroc (default: correct)",
    )
    parser.add_argument(
        "--until",
        type=int,
        metavar="N",
        help="look at as few images as tell whether it is worse, at most at this number"
        " (default: look once, at all)",
    )
    parser.add_argument(
        "--alpha",
        type=float,
        default=0.05,
        help="chance of any false worse or better, at most (default: .05)",
    )
    parser.add_argument(
        "--fail-on",
        choices=("worse", "open"),
        default="worse",
        help="open: exit with 1 also where it is not decided (default: worse)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder for a report, e.g. results/new (default: no report)",
    )
    common(parser)


def arm(parser: argparse.ArgumentParser) -> None:
    """Add the options of what an arm is measured on."""
    parser.add_argument(
        "--dataset", metavar="NAME", help="images: see `probes list` (default: mnist5k)"
    )
    parser.add_argument(
        "--under",
        nargs="+",
        metavar="NAME[:LEVELS]",
        help="perturbations beside clean images, e.g. noise:0,.1 corruptions quantised:8"
        " (default: clean images alone)",
    )
    parser.add_argument("--draws", type=int, help="draws of noise (default: 1)")
    images(parser)
    parser.add_argument(
        "--seeds",
        nargs="?",
        const="*",
        metavar="SEEDS",
        help="training runs, paired by seed: all on this machine, or e.g. 0-7; {seed} in a network"
        " is the seed (default: one run of each)",
    )


def seeds_of(given: argparse.Namespace) -> str | list[int] | None:
    """The training seeds as typed: all, or numbers."""
    return given.seeds if given.seeds in (None, "*") else seed_range(given.seeds)


def run(given: argparse.Namespace) -> int:
    """Compare, print the answer and return its exit code. Trouble of any kind is 3: no traceback
    reads as *worse*.
    """
    try:
        return _run(given)
    except Unfinished as e:
        left_over(e, ["probes", *given.argv])
    except ProbesError as e:
        print(f"probes: {e}", file=sys.stderr)
    except Exception:  # noqa: BLE001 - of a user's network, say
        traceback.print_exc()
    return TROUBLE


def _run(given: argparse.Namespace) -> int:
    from probes.comparing.baseline import load
    from probes.comparing.running import compare

    wanted = 1 if given.baseline else 2
    if len(given.nets) != wanted:
        raise BadInput(
            f"probes compare {' '.join(given.nets)}: two networks, the old one and the new one;"
            " with --baseline the new one alone"
        )
    asked = Asked(given, ["probes", *given.argv], say)
    found = compare(
        load(given.baseline) if given.baseline else given.nets[0],
        given.nets[-1],
        given.dataset,
        margin=margins(given.margin),
        under=None if given.under is None else " ".join(given.under),
        metrics=listed(given.metrics) or [given.metrics],
        draws=given.draws,
        seeds=seeds_of(given),
        out=given.out,
        store=asked.store,
        options=asked.options,
        quiet=given.quiet,
        command=asked.command,
        alpha=given.alpha,
    )
    where = f"\nreport: {given.out / 'report.md'}" if given.out else ""
    try:
        print(f"{found}{where}", flush=True)
    except BrokenPipeError:  # of `| head`: the answer stays what it is
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return WORSE if found.code == OPEN and given.fail_on == "open" else found.code


def margins(words: list[str]) -> str | dict[str, str]:
    """Margins as typed: one for all metrics, or ``metric=margin`` for each.

    Raises BadInput for a mixture of both.

    >>> margins(["1", "point"]), margins(["correct=1 point", "brier=.01"])
    ('1 point', {'correct': '1 point', 'brier': '.01'})
    """
    named = [word for word in words if "=" in word]
    if not named:
        return " ".join(words)
    found: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign and found and name in ("point", "points", "%"):  # correct=1 point, unquoted
            found[list(found)[-1]] += f" {name}"
        elif not sign:
            raise BadInput(f"--margin {' '.join(words)}: one margin, or metric=margin for each")
        else:
            found[name] = value
    return found
