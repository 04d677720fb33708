"""The command ``probes run weight-noise``: its options, and the call."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from probes.run.console import Asked, common, images, print_verdicts, seed_range
from probes.run.options import levels

EXAMPLES = (
    "probes run weight-noise --dataset mnist5k --quick",
    "probes run weight-noise mlp_small --seeds 0-2 --epochs 2 --alphas 0,.1",
)


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the study."""
    parser.add_argument(
        "nets",
        nargs="*",
        metavar="NET",
        help="networks (default: the study's five; with --quick mlp_small)",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        default="mnist",
        help="mnist, mnist5k, cifar10 (made 28 px, as in the study), cifar10@32px, ...",
    )
    parser.add_argument(
        "--alphas",
        type=levels,
        metavar="LEVELS",
        help="strengths of the sweep (default: 0 .01 .02 .05 .1 .2 .5, and the primary one)",
    )
    parser.add_argument(
        "--draws", type=int, default=5, help="draws of noise at each strength (default: 5)"
    )
    parser.add_argument(
        "--alpha-train",
        type=float,
        default=0.2,
        help="strength in training, noisy regime (default: .2)",
    )
    parser.add_argument("--epochs", type=int, help="training epochs (default: 10; with --quick 1)")
    parser.add_argument(
        "--lr", type=float, default=1e-3, help="Adam's learning rate (default: .001)"
    )
    parser.add_argument(
        "--batch-size", type=int, default=128, help="images per batch in training (default: 128)"
    )
    parser.add_argument(
        "--seeds", metavar="SEEDS", help="training seeds, e.g. 0-7 (default: 0-2; with --quick 0-7)"
    )
    parser.add_argument(
        "--checkpoints",
        type=Path,
        metavar="FOLDER",
        help="folder of checkpoints with the study's names, e.g. checkpoints; they are read if"
        " there, else written (default: the store)",
    )
    parser.add_argument(
        "--calibrate-on",
        metavar="SEEDS",
        help="seeds that determine the primary alpha and are not judged (default: 1000,1001)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="the study's sanity check: one epoch, alpha 0 and .1, with a verdict",
    )
    images(parser)
    parser.add_argument(
        "--precision", default="fp32", choices=("fp32", "bf16"), help="precision of the sweep"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder of rows and report; rows are merged (default: results/weight-noise/DATASET)",
    )
    common(parser, passes=False)


def run(asked: Asked) -> None:
    """Run the study that was asked for."""
    import pandas as pd

    from probes.studies.weight_noise import pages as decay
    from probes.studies.weight_noise import run as weightnoise
    from probes.studies.weight_noise.plan import NETS, QUICK, Plan

    given = asked.given
    quick = QUICK if given.quick else {}
    chosen: dict[str, Any] = {
        "alphas": given.alphas,
        "epochs": given.epochs,
        "seeds": tuple(seed_range(given.seeds)) if given.seeds else None,
        "others": tuple(seed_range(given.calibrate_on)) if given.calibrate_on else None,
    }
    wanted: dict[str, Any] = {
        **quick,
        **{name: value for name, value in chosen.items() if value is not None},
    }
    plan = Plan(
        draws=given.draws,
        alpha_train=given.alpha_train,
        lr=given.lr,
        batch_size=given.batch_size,
        quick=given.quick,
        **wanted,
    )
    folder = weightnoise.study(
        given.nets or (["mlp_small"] if given.quick else NETS),
        given.dataset,
        asked.store,
        given.out or Path("results/weight-noise") / given.dataset,
        plan,
        options=asked.options,
        checkpoints=given.checkpoints,
        command=asked.command,
        say=asked.say,
    )
    sweep, calibration = (pd.read_csv(folder / f"{name}.csv") for name in ("sweep", "calibration"))
    print(decay.summary(sweep, decay.primary_of(calibration)))
    print_verdicts(folder)
