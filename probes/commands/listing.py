"""The commands ``probes list``, ``probes check`` and ``probes fetch``: what is here, what can be
measured of it, and how more comes here.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from probes.run.console import data_and_store, say, store_of
from probes.run.parsing import command


def add_to(commands: Any) -> None:
    """Add the commands and their options."""
    listing = command(
        commands,
        "list",
        "list networks, datasets and weights, and what is on this machine",
        ("probes list", "probes list --store other/.probes"),
    )
    data_and_store(listing)
    checking = command(
        commands,
        "check",
        "what can be measured of a network: its residual sums, norms, outputs, instruments",
        ("probes check resnet20", "probes check mynet:build --dataset mnist5k --all"),
    )
    checking.add_argument(
        "net",
        help="net[:weights][@dataset], e.g. resnet20, mynet:build, timm:resnet18; 'timm:*' for a"
        " network of each family of timm",
    )
    checking.add_argument(
        "--dataset", metavar="NAME", default="mnist5k", help="its images (default: mnist5k)"
    )
    checking.add_argument("--all", action="store_true", help="show every residual sum")
    checking.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder for the table of families (default: reports/networks)",
    )
    checking.add_argument(
        "--device", metavar="NAME", help="cuda, mps or cpu (default: the best one here)"
    )
    checking.add_argument("--threads", type=int, help="CPU threads, e.g. 1 (default: torch's)")
    data_and_store(checking)
    fetching = command(
        commands,
        "fetch",
        "download a dataset into PROBES_DATA, or the published weights of a network",
        ("probes fetch mnist --data data", "probes fetch resnet18:imagenet1k_v1"),
    )
    fetching.add_argument(
        "thing",
        help="cifar10, mnist, or e.g. resnet18:imagenet1k_v1, timm:resnet18:pretrained, hf:NAME",
    )
    fetching.add_argument(
        "--sha256",
        metavar="HEX",
        help="the SHA-256 that the weights must have, 64 digits (default: that of"
        " probes-downloads.json)",
    )
    fetching.add_argument(
        "--data",
        metavar="FOLDER",
        help="folder to download datasets into, e.g. data (default: PROBES_DATA)",
    )


def show(given: argparse.Namespace) -> int:
    """List what there is."""
    from probes.run.device import best_device
    from probes.subjects import data, nets, pretrained, training
    from probes.subjects.recipes import run_name

    store = store_of(given)
    print(f"device: {best_device()}\nnetworks:")
    for name in nets.nets:
        print(f"  {name:14} {first_line(nets.nets[name])}")
    print("  torchvision:NAME, timm:NAME, hf:FOLDER of other libraries; module:builder of your own")
    print("datasets:")
    for name in data.datasets:
        place = "here    " if data.here(name) else "not here"
        print(f"  {name:14} {place} {first_line(data.datasets[name])}")
    print(
        f"  {'imagefolder:PATH':14} a folder of images of your own: PATH/CLASS/*.jpg, or"
        " PATH/{train,val,test}/CLASS/*.jpg"
    )
    print(
        "  module:function     your own: function(split, store) -> probes.subjects.dataset.Dataset"
    )
    print("  NAME@28px           a view: the images of a dataset at another size")
    print(f"recipes: {', '.join(training.recipes)}\nweights on this machine:")
    shown = set()
    for w in sorted(
        pretrained.available(store), key=lambda w: (w.net, w.dataset, w.seed, w.origin)
    ):
        name = run_name(w.net, w.dataset, w.seed, w.card["recipe"]["name"])
        if (name, w.card["sha256"]) in shown:  # trained again to the same bytes
            continue
        shown.add((name, w.card["sha256"]))
        print(
            f"  {name:24} {w.origin:8} {w.card['test_accuracy']:.1%} of"
            f" {w.card['test_images']:,} test images  sha256 {w.card['sha256'][:12]}"
        )
    return 0


def check(given: argparse.Namespace) -> int:
    """Check a network."""
    from probes.check.command import run

    return run(given)


def fetch(given: argparse.Namespace) -> int:
    """Download a dataset, or weights."""
    from probes.errors import BadInput
    from probes.subjects import data, hub, pins
    from probes.subjects.spec import parse

    spec = parse(given.thing)
    pins.refuse_short(given.sha256)
    known = spec.weights or spec.net.startswith("hf:")
    if given.sha256 and not known:
        raise BadInput("--sha256 is of weights: the archives of datasets have known ones")
    place = hub.fetch(spec, given.sha256, say) if known else data.fetch(given.thing)
    say(f"{given.thing} is in {place}")
    return 0


def first_line(thing: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((thing.__doc__ or "").strip().partition("\n\n")[0].split())
