"""The command ``probes run layer-noise``: its options, and the call."""

from __future__ import annotations

import argparse

from probes.run.console import (
    Asked,
    common,
    dataset,
    images,
    listed,
    out,
    precision,
    print_verdicts,
)
from probes.run.options import levels

EXAMPLES = (
    "probes run layer-noise resnet20 --images 300",
    "probes run layer-noise 'resnet20#*' 'plainnet20#*' --strengths 0,.5",
)


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the study."""
    parser.add_argument(
        "nets",
        nargs="+",
        metavar="NET",
        help="net[:weights][#seed]; #* for all training seeds; two are compared",
    )
    dataset(parser)
    parser.add_argument(
        "--strengths",
        type=levels,
        metavar="LEVELS",
        help="noise relative to a layer's clean std; contains 0 and .5 (default: 0,.25,.5,1)",
    )
    parser.add_argument(
        "--on",
        metavar="LAYERS",
        default="BatchNorm2d",
        help="layers, by name, glob or class, between commas (default: BatchNorm2d)",
    )
    parser.add_argument(
        "--draws",
        type=int,
        metavar="N",
        default=1,
        help="draws of layers and noise for each image (default: 1)",
    )
    images(parser)
    precision(parser)
    out(parser, "results/layer-noise", "folder of the report")
    common(parser)


def run(asked: Asked) -> None:
    """Run the study that was asked for."""
    from probes.studies.layer_noise import run as layernoise

    given = asked.given
    folder = layernoise.study(
        given.nets,
        given.dataset,
        asked.store,
        given.out,
        strengths=given.strengths or layernoise.STRENGTHS,
        on=listed(given.on) or [given.on],
        draws=given.draws,
        **asked.common,
    )
    print_verdicts(folder)
