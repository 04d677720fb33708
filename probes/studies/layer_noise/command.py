"""The command ``probes run layer-noise``: its options, and the call."""

from __future__ import annotations

import argparse
from pathlib import Path

from probes.run.console import Asked, common, listed, print_verdicts
from probes.run.options import levels


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the study."""
    parser.add_argument(
        "nets",
        nargs="+",
        metavar="NET",
        help="net[:weights][#seed]; #* for all training seeds; two are compared",
    )
    parser.add_argument(
        "--dataset", default="mnist5k", help="images: see `probes list` (default: mnist5k)"
    )
    parser.add_argument(
        "--strengths",
        type=levels,
        help="noise relative to a layer's clean std; contains 0 and .5 (default: 0,.25,.5,1)",
    )
    parser.add_argument(
        "--on",
        default="BatchNorm2d",
        help="layers, by name, glob or class, between commas (default: BatchNorm2d)",
    )
    parser.add_argument(
        "--draws", type=int, default=1, help="draws of layers and noise for each image (default: 1)"
    )
    parser.add_argument("--images", type=int, help="largest number of test images (default: all)")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument(
        "--out", type=Path, default=Path("results/layer-noise"), help="folder of the report"
    )
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
