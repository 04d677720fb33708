"""The studies as commands, ``probes run STUDY``: their options, and the calls."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from probes.errors import BadInput
from probes.run import unitcommands
from probes.run.asked import evidence_lines, listed, print_verdicts, say, store_of, where
from probes.run.options import levels, ranges


def seed_range(text: str) -> list[int]:
    """Training seeds as typed: ``3``, ``0-7``, ``0,2,5-6``; BadInput for anything else.

    >>> seed_range("0-2,5")
    [0, 1, 2, 5]
    """
    found = ranges(text)
    if found is None or any(last - first > 10_000 for first, last in found):
        raise BadInput(f"seeds {text!r}: numbers and ranges from small to large, e.g. 0-7 or 0,2,5")
    return list(dict.fromkeys(seed for first, last in found for seed in range(first, last + 1)))


def studies_of(studies: Any) -> None:
    """Add the studies and their options to the parser of ``probes run``."""
    dynamics = studies.add_parser("dynamics", help="H1 and H0: how residual blocks respond to noise on the input")
    dynamics.add_argument("nets", nargs="*", default=["resnet20"], metavar="NET", help="net[:weights][#seed] (default: resnet20)")
    dynamics.add_argument("--dataset", default="mnist5k", help="images: see `probes list` (default: mnist5k)")
    dynamics.add_argument("--levels", type=levels, default=None, help="noise levels, e.g. 0,.1,.2 (default: the study's six)")
    dynamics.add_argument("--images", type=int, help="test images at most (default: all)")
    dynamics.add_argument("--out", type=Path, default=Path("results/dynamics"), help="folder of the report")
    dynamics.add_argument("--as-published", action="store_true", help="also the study's own way, put right step by step")
    dynamics.add_argument("--variants", action="store_true", help="also the verdict maps under other noise, images, precision")
    where(dynamics)
    maps = studies.add_parser("features", help="feature maps under noise: values, statistics, pictures, how far they move")
    maps.add_argument(
        "net", nargs="?", default="resnet20", metavar="NET", help="net[:weights][@trained on][#seed] (default: resnet20)"
    )
    maps.add_argument("--images", default="mnist5k", help="a file, a folder, a dataset, or DATASET:IDS (default: mnist5k)")
    maps.add_argument("--layers", help="names between commas (default: the stages layer1, layer2, ...)")
    maps.add_argument("--levels", type=levels, default=None, help="noise levels (default: the study's .2,.4,.6,.8,1)")
    maps.add_argument("--space", default="normalised", choices=("normalised", "pixels"), help="where noise is added")
    maps.add_argument("--clamp", action="store_true", help="cut noisy images back to [0, 1]")
    maps.add_argument("--scale", default="shared", choices=("shared", "per map"), help="grey scale of the maps in a picture")
    maps.add_argument("--each", type=int, default=3, help="how many images get a folder of values and pictures (default: 3)")
    maps.add_argument(
        "--values", default="both", choices=("both", "csv", "parquet", "none"), help="files with all values of an image"
    )
    maps.add_argument("--count", type=int, help="images of a dataset at most (default: all)")
    maps.add_argument("--seed", type=int, default=0, help="seed of the noise")
    maps.add_argument("--out", type=Path, default=Path("results/features"), help="folder of the results")
    maps.add_argument("--claims", action="store_true", help="also judge DEPTH and ZEROS on the dataset: a report in OUT/claims")
    maps.add_argument("--force", action="store_true", help="replace the folder if it exists")
    where(maps)
    noise = studies.add_parser("weight-noise", help="does training with weight noise buy robustness to it?")
    noise.add_argument("nets", nargs="*", metavar="NET", help="networks (default: the study's five; with --quick mlp_small)")
    noise.add_argument(
        "--dataset", default="mnist", help="mnist, mnist5k, cifar10 (made 28 px, as in the study), cifar10@32px, ..."
    )
    noise.add_argument(
        "--alphas", type=levels, help="strengths that are swept (default: 0 .01 .02 .05 .1 .2 .5, and the primary one)"
    )
    noise.add_argument("--draws", type=int, default=5, help="draws of noise at each strength (default: 5)")
    noise.add_argument("--alpha-train", type=float, default=0.2, help="strength in training, noisy regime (default: .2)")
    noise.add_argument("--epochs", type=int, help="of training (default: 10; with --quick 1)")
    noise.add_argument("--lr", type=float, default=1e-3, help="Adam's learning rate (default: .001)")
    noise.add_argument("--batch-size", type=int, default=128, help="of training (default: 128)")
    noise.add_argument("--seeds", help="training seeds, e.g. 0-7 (default: 0-2; with --quick 0-7)")
    noise.add_argument(
        "--checkpoints", type=Path, help="folder of checkpoints under the study's names: read where there, else written"
    )
    noise.add_argument("--calibrate-on", help="seeds that find the primary alpha, and are not judged (default: 1000,1001)")
    noise.add_argument("--quick", action="store_true", help="the study's sanity check: one epoch, alpha 0 and .1, with a verdict")
    noise.add_argument("--images", type=int, help="test images at most (default: all)")
    noise.add_argument("--precision", default="fp32", choices=("fp32", "bf16"), help="of the sweep")
    noise.add_argument("--out", type=Path, help="folder of rows and report, merged into (default: results/weight-noise/DATASET)")
    where(noise)
    inner = studies.add_parser(
        "layer-noise", help="accuracy under noise on the outputs of layers, of one network or beside another"
    )
    inner.add_argument("nets", nargs="+", metavar="NET", help="net[:weights][#seed]; #* for all training seeds; two are compared")
    inner.add_argument("--dataset", default="mnist5k", help="images: see `probes list` (default: mnist5k)")
    inner.add_argument("--strengths", type=levels, help="of a layer's clean spread, with 0 and .5 (default: 0,.25,.5,1)")
    inner.add_argument("--on", default="BatchNorm2d", help="layers, by name, glob or class, between commas (default: BatchNorm2d)")
    inner.add_argument("--draws", type=int, default=1, help="draws of layers and noise for each image (default: 1)")
    inner.add_argument("--images", type=int, help="test images at most (default: all)")
    inner.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    inner.add_argument("--out", type=Path, default=Path("results/layer-noise"), help="folder of the report")
    where(inner)
    unitcommands.studies_of(studies)


def run(given: argparse.Namespace) -> int:
    """Run the study that was asked for."""
    studies = {"dynamics": _dynamics, "features": _features, "weight-noise": _weight_noise, "layer-noise": _layer_noise,
               **unitcommands.STUDIES}  # fmt: skip
    return studies[given.study](given)


def _weight_noise(given: argparse.Namespace) -> int:
    import pandas as pd

    from probes.run import weightnoise
    from probes.run.settings import Options
    from probes.tell import decay

    quick = weightnoise.QUICK if given.quick else {}
    chosen: dict[str, Any] = {
        "alphas": given.alphas,
        "epochs": given.epochs,
        "seeds": tuple(seed_range(given.seeds)) if given.seeds else None,
        "others": tuple(seed_range(given.calibrate_on)) if given.calibrate_on else None,
    }
    asked: dict[str, Any] = {**quick, **{name: value for name, value in chosen.items() if value is not None}}
    plan = weightnoise.Plan(
        dataset=given.dataset,
        draws=given.draws,
        alpha_train=given.alpha_train,
        lr=given.lr,
        batch_size=given.batch_size,
        quick=given.quick,
        **asked,
    )
    folder = weightnoise.study(
        given.nets or (["mlp_small"] if given.quick else weightnoise.NETS),
        plan,
        store_of(given),
        given.out or Path("results/weight-noise") / given.dataset,
        options=Options(images=given.images, device=given.device, threads=given.threads, precision=given.precision),
        checkpoints=given.checkpoints,
        command=["probes", *given.argv],
        say=say,
    )
    sweep, calibration = (pd.read_csv(folder / f"{name}.csv") for name in ("sweep", "calibration"))
    print(decay.summary(sweep, decay.primary_of(calibration)))
    print_verdicts(folder)
    return 0


def _layer_noise(given: argparse.Namespace) -> int:
    from probes.run import layernoise
    from probes.run.settings import Options

    folder = layernoise.study(
        given.nets,
        given.dataset,
        store_of(given),
        given.out,
        strengths=given.strengths or layernoise.STRENGTHS,
        on=listed(given.on) or [given.on],
        draws=given.draws,
        options=Options(images=given.images, device=given.device, threads=given.threads, precision=given.precision),
        command=["probes", *given.argv],
        say=say,
    )
    print_verdicts(folder)
    return 0


def _features(given: argparse.Namespace) -> int:
    from probes.run import features
    from probes.run.settings import Options

    folder = features.study(
        given.net,
        given.images,
        store_of(given),
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
        options=Options(images=given.count, device=given.device, threads=given.threads, seed=given.seed),
        command=["probes", *given.argv],
        say=say,
    )
    print(f"written: {folder / 'features.md'}")
    return 0


def _dynamics(given: argparse.Namespace) -> int:
    from probes.run import dynamics
    from probes.run.settings import Options

    store = store_of(given)
    folder = dynamics.study(
        given.nets or ["resnet20"],
        given.dataset,
        store,
        given.out,
        levels=given.levels or dynamics.LEVELS,
        options=Options(images=given.images, device=given.device, threads=given.threads),
        as_published=given.as_published,
        variants=given.variants,
        command=["probes", *given.argv],
        say=say,
    )
    for line in evidence_lines(folder):
        print(f"{line['id']} on {line['subject']}, {line['design']['images']:,} images: {line['overall']} ({line['counts']})")
    print(f"report: {folder / 'report.md'}")
    return 0
