"""The command ``probes run sensitivity``: its options, and the call."""

from __future__ import annotations

import argparse

from probes.errors import BadInput
from probes.run.console import Asked, common, dataset, images, listed, out, precision

EXAMPLES = (
    "probes run sensitivity --rows 64 --pooled",
    "probes run sensitivity resnet20 --set hflip,rolling --measures sobol",
)


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the study."""
    parser.add_argument(
        "nets",
        nargs="*",
        metavar="NET",
        help="net[:weights][#seed] (default: resnet20); several: a folder each",
    )
    dataset(parser)
    parser.add_argument(
        "--set",
        metavar="NAMES",
        default="1",
        help="1, 2, or augmentations between commas, e.g. hflip,rolling (default: 1)",
    )
    parser.add_argument(
        "--modules",
        metavar="NAMES",
        help="names between commas, e.g. layer1,fc (default: the stages and the last layer)",
    )
    parser.add_argument(
        "--rows",
        type=int,
        default=1024,
        help="base points of a scrambling, best a power of two (default: 1024)",
    )
    parser.add_argument(
        "--scramblings",
        type=int,
        help="scramblings, for the intervals (default: 8; 16 below 100,000 units)",
    )
    parser.add_argument(
        "--second",
        action="store_true",
        help="also second-order indices; they need one more row per group",
    )
    parser.add_argument(
        "--measures",
        metavar="NAMES",
        default="sobol,shapley",
        help="sobol, shapley, contrast, between commas (default: the first two)",
    )
    parser.add_argument(
        "--law",
        default="one",
        choices=("one", "study"),
        help="study: Shapley effects with a switch for every augmentation",
    )
    parser.add_argument(
        "--image",
        default="factor",
        choices=("factor", "fixed", "fresh"),
        help="a factor, fixed in a base point, or fresh",
    )
    parser.add_argument(
        "--factors",
        metavar="NAMES",
        help="factors beside the image, class or partition, between commas (default: neither)",
    )
    parser.add_argument(
        "--contrast-images",
        type=int,
        default=300,
        help="largest number of images of the contrast (default: 300)",
    )
    parser.add_argument(
        "--contrast-draws", type=int, default=10, help="draws of parameters for each (default: 10)"
    )
    parser.add_argument(
        "--channels",
        metavar="CHANNELS",
        help="channels with a panel, e.g. layer1:5,layer3:40 (default: one per module)",
    )
    parser.add_argument(
        "--pictures",
        action="store_true",
        help="draw the augmentations on three images of any dataset",
    )
    parser.add_argument(
        "--analyse",
        action="store_true",
        help="also test whether maps identify augmentations, and whether indices agree",
    )
    parser.add_argument(
        "--pooled",
        action="store_true",
        help="take the mean of each channel as a unit, not each place",
    )
    parser.add_argument(
        "--memory",
        type=float,
        default=4.0,
        help="gigabytes for the sums; what does not fit is taken in portions (default: 4)",
    )
    parser.add_argument(
        "--as-published",
        action="store_true",
        help="instead, compare the study's method with ours, step by step",
    )
    images(parser, "images that the image factor chooses from (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the design")
    precision(parser)
    out(parser, "results/sensitivity", "folder of the results")
    common(parser)


def run(asked: Asked) -> None:
    """Run the study that was asked for."""
    from probes.studies.sensitivity import method as sensmethod
    from probes.studies.sensitivity import run as sensitivity
    from probes.studies.sensitivity.contrasts import Contrasts
    from probes.tell.markdown import slug

    given = asked.given
    which, names, nets = given.set or "1", listed(given.modules), given.nets or ["resnet20"]
    plan = sensitivity.Plan(
        which=set_of(which),
        rows=given.rows,
        scramblings=given.scramblings,
        names=tuple(names) if names else None,
        second=given.second,
        law=given.law,
        image=given.image,
        factors=tuple(listed(given.factors) or ()),
        pooled=given.pooled,
        seed=given.seed,
    )
    if given.as_published and (
        given.measures,
        given.law,
        given.image,
        given.factors,
        given.second,
        given.channels,
    ) != (
        "sobol,shapley",
        "one",
        "factor",
        None,
        False,
        None,
    ):
        raise BadInput(
            "--as-published has measures, law, image and factors of its own: leave out --measures,"
            " --law, --image, --factors, --second and --channels"
        )
    for net in nets:
        out = given.out / slug(net) if len(nets) > 1 else given.out
        if given.as_published:
            folder = sensmethod.method(
                net, given.dataset, asked.store, out, plan, memory=given.memory, **asked.common
            )
            print(f"written: {folder / 'method.md'}")
            continue
        folder = sensitivity.study(
            net,
            given.dataset,
            asked.store,
            out,
            plan,
            measures=listed(given.measures) or (),
            contrasted=Contrasts(given.contrast_images, given.contrast_draws, given.seed),
            pictures=given.pictures,
            channels=channels(given.channels) if given.channels else None,
            analyse=given.analyse,
            memory=given.memory,
            **asked.common,
        )
        print(f"written: {folder / 'sensitivity.md'}")


def set_of(text: str) -> str | tuple[str, ...]:
    """A set of augmentations as typed: a set of the study, or augmentations that form one.

    >>> set_of("1"), set_of("hflip,rolling")
    ('1', ('hflip', 'rolling'))
    """
    from probes.perturb.composed import SETS

    if text.isdigit() and text not in SETS:
        raise BadInput(
            f"set {text}: {', '.join(SETS)}, or augmentations between commas, e.g. hflip,rolling"
        )
    return text if text in SETS else tuple(listed(text) or ())


def channels(text: str) -> dict[str, list[int]]:
    """Channels of modules as typed; BadInput for anything else.

    >>> channels("layer1:5,layer3:40,layer1:7")
    {'layer1': [5, 7], 'layer3': [40]}
    """
    found: dict[str, list[int]] = {}
    for part in listed(text) or []:
        name, _, number = part.rpartition(":")
        if not name or not number.isdigit():
            raise BadInput(
                f"channels {text!r}: MODULE:NUMBER between commas, e.g. layer1:5,layer3:40"
            )
        found.setdefault(name, []).append(int(number))
    return found
