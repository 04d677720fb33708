"""The command ``probes run masking``: its options, and the call."""

from __future__ import annotations

import argparse
import dataclasses

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
from probes.studies.sensitivity.command import set_of

EXAMPLES = (
    "probes run masking --images 300 --random 20",
    "probes run masking resnet20 --set hflip,rolling --measures total",
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
        default="3",
        help="1, 2, 3 (both, as in the study), or augmentations between commas (default: 3)",
    )
    parser.add_argument(
        "--measures",
        metavar="NAMES",
        default="total,first,shapley",
        help="indices that guide masks; the first is judged (default: all three)",
    )
    parser.add_argument(
        "--q",
        type=numbers,
        metavar="NUMBERS",
        default=(0.5, 0.8),
        help="quantiles: .8 masks the top fifth (default: .5,.8)",
    )
    parser.add_argument(
        "--alpha",
        type=numbers,
        metavar="NUMBERS",
        default=(0.0, 0.5),
        help="factors of masked units (default: 0,.5)",
    )
    parser.add_argument(
        "--random", type=int, default=100, help="random masks of each size (default: 100)"
    )
    parser.add_argument(
        "--matched", type=int, default=20, help="random masks of the same magnitudes (default: 20)"
    )
    parser.add_argument(
        "--draws", type=int, default=1, help="draws of an augmentation's parameters (default: 1)"
    )
    parser.add_argument(
        "--modules",
        metavar="NAMES",
        help="modules to mask, between commas, e.g. layer1,layer2, and the last layer (default: the"
        " stages)",
    )
    parser.add_argument("--alone", action="store_true", help="also mask each module alone")
    parser.add_argument(
        "--rows",
        type=int,
        default=512,
        help="base points of a scrambling of the indices (default: 512)",
    )
    parser.add_argument(
        "--scramblings", type=int, default=8, help="scramblings of the indices (default: 8)"
    )
    parser.add_argument(
        "--factors",
        metavar="NAMES",
        help="factors beside the image, class or partition, between commas (default: neither)",
    )
    images(parser, "largest number of test images, e.g. 300 (default: 1,000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of indices and inputs")
    precision(parser)
    out(parser, "results/masking", "folder of the report")
    common(parser)


def run(asked: Asked) -> None:
    """Run the study that was asked for."""
    from probes.studies.masking.plan import MaskPlan
    from probes.studies.masking.run import study

    given = asked.given
    names = listed(given.modules)
    plan = MaskPlan(
        sets=sets_of(given.set),
        measures=tuple(listed(given.measures) or ()),
        qs=given.q,
        alphas=given.alpha,
        random=given.random,
        matched=given.matched,
        draws=given.draws,
        alone=given.alone,
        rows=given.rows,
        scramblings=given.scramblings,
        names=tuple(names) if names else None,
        factors=tuple(listed(given.factors) or ()),
    )
    shared = asked.common | {"options": dataclasses.replace(asked.options, seed=given.seed)}
    folder = study(given.net, given.dataset, asked.store, given.out, plan, **shared)
    print_verdicts(folder)


def numbers(text: str) -> tuple[float, ...]:
    """Numbers between commas, as typed; an error of argparse for anything else.

    >>> numbers("0,.5")
    (0.0, 0.5)
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: numbers between commas, e.g. .5,.8") from None


def sets_of(text: str) -> tuple[str | tuple[str, ...], ...]:
    """Sets of augmentations as typed: a set, both of the study, or augmentations that make one set.

    >>> sets_of("3"), sets_of("1"), sets_of("hflip,rolling")
    (('1', '2'), ('1',), (('hflip', 'rolling'),))
    """
    from probes.perturb.composed import SETS

    if text == "3":
        return tuple(SETS)
    return (set_of(text),)
