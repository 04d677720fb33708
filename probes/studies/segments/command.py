"""The command ``probes run segments``: its options, and the call."""

from __future__ import annotations

import argparse
from pathlib import Path

from probes.run.console import Asked, common, listed
from probes.studies.sensitivity.command import set_of


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the study."""
    parser.add_argument(
        "net",
        nargs="?",
        default="resnet20",
        metavar="NET",
        help="net[:weights][#seed] (default: resnet20)",
    )
    parser.add_argument(
        "--dataset", default="mnist5k", help="images: see `probes list` (default: mnist5k)"
    )
    parser.add_argument(
        "--set", default="1", help="1, 2, or augmentations between commas (default: 1)"
    )
    parser.add_argument(
        "--segments",
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
    parser.add_argument(
        "--images", type=int, help="images that the image factor chooses from (default: all)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the design")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument(
        "--out", type=Path, default=Path("results/segments"), help="folder of the results"
    )
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
