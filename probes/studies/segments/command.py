"""The command ``probes run segments``: its options, and the call."""

from __future__ import annotations

import argparse

from probes.run.console import Asked, common, dataset, images, listed, out, precision
from probes.studies.sensitivity.command import set_of

EXAMPLES = (
    "probes run segments --rows 64",
    "probes run segments resnet20 --segments layer1,layer2 --set hflip,rolling",
)


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the study."""
    parser.add_argument(
        "net",
        nargs="?",
        default="resnet20",
        metavar="NET",
        help="net[:weights][#seed] (default: resnet20)",
    )
    dataset(parser)
    parser.add_argument(
        "--set",
        metavar="NAMES",
        default="1",
        help="1, 2, or augmentations between commas, e.g. hflip,rolling (default: 1)",
    )
    parser.add_argument(
        "--segments",
        metavar="NAMES",
        help="modules, or FIRST..LAST of a sequence, between commas (default: the stages)",
    )
    parser.add_argument(
        "--rows", type=int, default=256, help="base points of a scrambling (default: 256)"
    )
    parser.add_argument(
        "--scramblings", type=int, default=8, help="independent scramblings (default: 8)"
    )
    parser.add_argument(
        "--memory", type=float, default=4.0, help="gigabytes for the sums (default: 4)"
    )
    images(parser, "images that the image factor chooses from (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the design")
    precision(parser)
    out(parser, "results/segments", "folder of the results")
    common(parser)


def run(asked: Asked) -> None:
    """Run the study that was asked for."""
    from probes.studies.segments import run as segments
    from probes.studies.sensitivity.plan import Plan

    given = asked.given
    folder = segments.study(
        given.net,
        given.dataset,
        asked.store,
        given.out,
        Plan(set_of(given.set), given.rows, given.scramblings, seed=given.seed),
        names=listed(given.segments),
        memory=given.memory,
        **asked.common,
    )
    print(f"written: {folder / 'segments.md'}")
