"""The command ``probes run dynamics``: its options, and the call."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from probes.errors import BadInput
from probes.judge.wording import counted
from probes.run.console import Asked, common, dataset, evidence_lines, images, judged, out
from probes.run.options import levels

if TYPE_CHECKING:
    from probes.perturb import Perturbation


EXAMPLES = (
    "probes run dynamics --images 300",
    "probes run dynamics mynet:build --dataset mnist5k --levels 0,.1,.3",
)


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the study."""
    parser.add_argument(
        "nets",
        nargs="*",
        default=["resnet20"],
        metavar="NET",
        help="net[:weights][#seed] (default: resnet20)",
    )
    dataset(parser)
    parser.add_argument(
        "--levels",
        type=levels,
        metavar="LEVELS",
        default=None,
        help="noise levels, e.g. 0,.1,.2 (default: the study's six)",
    )
    parser.add_argument(
        "--under",
        metavar="MODULE:THING",
        help="a perturbation of your own, e.g. blur:Blur (default: noise on images)",
    )
    images(parser)
    out(parser, "results/dynamics", "folder of the report")
    parser.add_argument(
        "--as-published",
        action="store_true",
        help="also the published way, corrected step by step",
    )
    parser.add_argument(
        "--variants",
        action="store_true",
        help="also the verdicts under other noise, images and precision",
    )
    judged(parser)
    common(parser)


def run(asked: Asked) -> None:
    """Run the study that was asked for."""
    from probes.studies.dynamics import run as dynamics

    given = asked.given
    if given.under and (given.as_published or given.variants):
        raise BadInput("--under with --as-published or --variants: those are about noise on images")
    folder = dynamics.study(
        given.nets or ["resnet20"],
        given.dataset,
        asked.store,
        given.out,
        under=_under(given),
        as_published=given.as_published,
        variants=given.variants,
        **asked.common,
    )
    for line in evidence_lines(folder):
        print(
            f"{line['id']} on {line['subject']}, {counted(line['design']['images'], 'image')}:"
            f" {line['overall']} ({line['counts']})"
        )
    print(f"report: {folder / 'report.md'}")


def _under(given: argparse.Namespace) -> Perturbation:
    """The requested perturbation, noise on images or a user's own, at the requested levels."""
    from probes.perturb import gaussian
    from probes.perturb.asked import named
    from probes.studies.dynamics.run import LEVELS

    if not given.under:
        return gaussian(*(given.levels or LEVELS))
    return named(given.under, given.levels or ())
