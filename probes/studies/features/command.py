"""The command ``probes run features``: its options, and the call."""

from __future__ import annotations

import argparse

from probes.run.console import Asked, common, judged, listed, out
from probes.run.options import levels

EXAMPLES = (
    "probes run features --count 200",
    "probes run features resnet20 --images mnist5k:0,1 --layers layer1,layer2",
)


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the study."""
    parser.add_argument(
        "net",
        nargs="?",
        default="resnet20",
        metavar="NET",
        help="net[:weights][@trained on][#seed] (default: resnet20)",
    )
    parser.add_argument(
        "--images",
        metavar="WHERE",
        default="mnist5k",
        help="a file, a folder, a dataset, or DATASET:IDS (default: mnist5k)",
    )
    parser.add_argument(
        "--layers",
        metavar="NAMES",
        help="names between commas, e.g. layer1,fc (default: the stages layer1, layer2, ...)",
    )
    parser.add_argument(
        "--levels",
        type=levels,
        metavar="LEVELS",
        default=None,
        help="noise levels (default: the study's .2,.4,.6,.8,1)",
    )
    parser.add_argument(
        "--space",
        default="normalised",
        choices=("normalised", "pixels"),
        help="where noise is added (default: normalised)",
    )
    parser.add_argument("--clamp", action="store_true", help="cut noisy images back to [0, 1]")
    parser.add_argument(
        "--scale",
        default="shared",
        choices=("shared", "per map"),
        help="grey scale of the maps in a picture",
    )
    parser.add_argument(
        "--each",
        type=int,
        metavar="N",
        default=3,
        help="number of images with a folder of values and pictures (default: 3)",
    )
    parser.add_argument(
        "--values",
        default="both",
        choices=("both", "csv", "parquet", "none"),
        help="format of the files with all values of an image",
    )
    parser.add_argument(
        "--count",
        type=int,
        metavar="N",
        help="largest number of images of a dataset, e.g. 200 (default: all)",
    )
    parser.add_argument("--seed", type=int, metavar="N", default=0, help="seed of the noise")
    out(parser, "results/features", "folder of the results")
    parser.add_argument(
        "--claims",
        action="store_true",
        help="also judge DEPTH and ZEROS on the dataset, with a report in OUT/claims",
    )
    parser.add_argument("--force", action="store_true", help="replace the folder if it exists")
    judged(parser)
    common(parser)


def run(asked: Asked) -> None:
    """Run the study that was asked for."""
    from probes.run.settings import Options
    from probes.studies.features import run as features

    given = asked.given
    folder = features.study(
        given.net,
        given.images,
        asked.store,
        given.out,
        layers=listed(given.layers),
        levels=given.levels or features.LEVELS,
        space=given.space,
        clamp=given.clamp,
        scale=given.scale,
        each=given.each,
        values=given.values,
        force=given.force,
        claims=given.claims,
        options=Options(
            images=given.count,
            until=given.until,
            device=given.device,
            threads=given.threads,
            seed=given.seed,
            **asked.passes,
            **asked.engine,
        ),
        command=asked.command,
        say=asked.say,
    )
    print(f"written: {folder / 'features.md'}")
