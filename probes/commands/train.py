"""The command ``probes train``."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from probes.cost import duration
from probes.judge.wording import counted
from probes.run.console import data_and_store, engines, how_asked, say, seed_range, store_of
from probes.run.parsing import command


def add_to(commands: Any) -> None:
    """Add the command and its options."""
    training = command(
        commands,
        "train",
        "train a network on a dataset; resumes after an interruption",
        (
            "probes train resnet20 mnist5k --seeds 0",
            "probes train mynet:build imagefolder:photos --recipe general",
        ),
    )
    training.add_argument(
        "net", help="a network: see `probes list`, or package.module:builder, e.g. mynet:build"
    )
    training.add_argument(
        "dataset", help="a dataset: see `probes list`, e.g. mnist5k, imagefolder:photos"
    )
    training.add_argument(
        "--seeds",
        metavar="SEEDS",
        default="0",
        help="training seeds, e.g. 0-7 or 0,2,5 (default: 0)",
    )
    training.add_argument(
        "--recipe",
        metavar="NAME",
        help="a recipe by name, e.g. general; see `probes list` (default: the one of the dataset)",
    )
    engines(training, "number of seeds that train at once, each in its own process (default: 1)")
    training.add_argument(
        "--device", metavar="NAME", default="cpu", help="cpu (the default), cuda or mps"
    )
    training.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="also put weights and cards into this folder, e.g. weights (default: the store alone)",
    )
    training.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module that registers networks or datasets, e.g. mynets (default: none)",
    )
    data_and_store(training)


def run(given: argparse.Namespace) -> int:
    """Train a network with each of the seeds, and print what became of it."""
    from probes.atomic import write_text
    from probes.run.device import best_device
    from probes.subjects import training
    from probes.subjects.recipes import run_name

    store = store_of(given)
    recipe = training.recipes[given.recipe] if given.recipe else None
    given.device = str(best_device(given.device))
    seeds = seed_range(given.seeds)
    began = time.monotonic()
    if how_asked(given) != {}:
        _train_together(given, recipe, seeds)
    for done, seed in enumerate(seeds, 1):
        path, card = training.train(
            given.net, given.dataset, seed, store, recipe, say, given.device
        )
        left = (time.monotonic() - began) / done * (len(seeds) - done)
        name = run_name(given.net, given.dataset, seed, card["recipe"]["name"])
        print(
            f"{name}: {card['test_accuracy']:.1%} of {card['test_images']:,} test images, sha256"
            f" {card['sha256'][:12]} ({done} of {counted(len(seeds), 'run')},"
            f" {duration(left)} to go)",
            flush=True,
        )
        if given.out:
            given.out.mkdir(parents=True, exist_ok=True)
            stem = re.sub(r"[^\w.]+", "-", name)
            shutil.copyfile(path, given.out / f"{stem}.safetensors")
            write_text(
                given.out / f"{stem}.json", json.dumps(card, indent=1, sort_keys=True) + "\n"
            )
    return 0


def _train_together(given: argparse.Namespace, recipe: Any, seeds: Sequence[int]) -> None:
    """Train the seeds in several processes. Each process reports when it has finished."""
    from probes.run.engine import fill
    from probes.run.engines.chosen import engine_of
    from probes.run.settings import Options
    from probes.run.work import Place, TrainingRun

    runs = [TrainingRun(given.net, given.dataset, seed, recipe, given.device) for seed in seeds]
    place = Place(store_of(given), imports=given.imports)
    options = Options(**how_asked(given))
    at_once = "on a Ray cluster"
    if options.engine != "ray":
        at_once = f"{min(options.workers, len(runs))} at once"
    say(f"{given.net} on {given.dataset}: {counted(len(runs), 'run')}, {at_once}")
    fill(runs, place, engine_of(options), options.quiet, "training")
