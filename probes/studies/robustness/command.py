"""The command ``probes run robustness``: its options, and the call."""

from __future__ import annotations

import argparse
from pathlib import Path

from probes.run.console import Asked, common, dataset, images, out, precision, print_verdicts

EXAMPLES = (
    "probes run robustness resnet20 --severity 3",
    "probes run robustness resnet20 plainnet20 --under noise:0,.1 --images 300",
)


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the study."""
    parser.add_argument(
        "nets",
        nargs="+",
        metavar="NET",
        help="net[:weights][#seed]; #* for all training seeds; the first is compared with the"
        " others",
    )
    dataset(parser)
    parser.add_argument(
        "--under",
        nargs="+",
        metavar="NAME[:LEVELS]",
        help="corruptions, one of them by name, noise, attacks, quantised:8, pruned, bit_flips,"
        " module:thing (default: corruptions noise attacks quantised)",
    )
    parser.add_argument(
        "--severity",
        type=severities,
        metavar="1,3,5",
        help="severities of corruptions; 3 is judged, else the highest (default: 1 to 5)",
    )
    parser.add_argument(
        "--relative-to",
        metavar="NET",
        help="also divide corruption errors by those of this network; alexnet: by its published"
        " errors on ImageNet-C (default: none)",
    )
    parser.add_argument(
        "--published",
        type=Path,
        metavar="FILE",
        help="a CSV of published accuracies (net, corruption, accuracy in percent, severity)"
        " to stand beside these (default: none)",
    )
    images(parser)
    precision(parser)
    out(parser, "results/robustness", "folder of the report")
    common(parser)


def severities(text: str) -> tuple[int, ...]:
    """Severities as typed: different whole numbers from 1 to 5, between commas.

    >>> severities("1,3")
    (1, 3)
    """
    parts = [part.strip() for part in text.split(",")]
    if not set(parts) <= set("12345") or len(set(parts)) < len(parts):
        raise argparse.ArgumentTypeError(
            f"{text!r}: different whole numbers from 1 to 5 between commas, e.g. 1,3,5"
        )
    return tuple(map(int, parts))


def run(asked: Asked) -> None:
    """Run the study that was asked for."""
    from probes.studies.robustness import run as robustness

    given = asked.given
    folder = robustness.study(
        given.nets,
        given.dataset,
        asked.store,
        given.out,
        under=",".join(given.under) if given.under else None,
        severities=given.severity,
        relative_to=given.relative_to,
        published=given.published,
        **asked.common,
    )
    print_verdicts(folder)
