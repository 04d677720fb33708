"""The studies of units as commands, ``probes run sensitivity | masking | segments``: their options, and the calls."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from probes.errors import BadInput
from probes.run.asked import listed, print_verdicts, say, store_of, where


def studies_of(studies: Any) -> None:
    """Add the studies of units and their options to the parser of ``probes run``."""
    moves = studies.add_parser("sensitivity", help="which augmentations move which units: Sobol indices and Shapley effects")
    moves.add_argument("nets", nargs="*", metavar="NET", help="net[:weights][#seed] (default: resnet20); several: a folder each")
    moves.add_argument("--dataset", default="mnist5k", help="images: see `probes list` (default: mnist5k)")
    moves.add_argument("--set", default="1", help="1, 2, or augmentations between commas (default: 1)")
    moves.add_argument("--modules", help="names between commas (default: the stages and the last layer)")
    moves.add_argument("--rows", type=int, default=1024, help="base points of a scrambling, best a power of two (default: 1024)")
    moves.add_argument("--scramblings", type=int, help="independent ones, for the intervals (default: 8; 16 below 100,000 units)")
    moves.add_argument("--second", action="store_true", help="second-order indices too: as many rows again as groups")
    moves.add_argument(
        "--measures", default="sobol,shapley", help="sobol, shapley, contrast, between commas (default: the first two)"
    )
    moves.add_argument(
        "--law", default="one", choices=("one", "study"), help="study: Shapley effects with a switch for every augmentation"
    )
    moves.add_argument(
        "--image", default="factor", choices=("factor", "fixed", "fresh"), help="a factor, fixed in a base point, or fresh"
    )
    moves.add_argument("--factors", help="class, partition, between commas: what else chooses the image (default: neither)")
    moves.add_argument("--contrast-images", type=int, default=300, help="images of the contrast at most (default: 300)")
    moves.add_argument("--contrast-draws", type=int, default=10, help="draws of parameters for each (default: 10)")
    moves.add_argument("--channels", help="panels of these, e.g. layer1:5,layer3:40 (default: one of each module)")
    moves.add_argument("--pictures", action="store_true", help="draw the augmentations on three images of any dataset")
    moves.add_argument("--analyse", action="store_true", help="also what maps identify, and how indices agree across channels")
    moves.add_argument("--pooled", action="store_true", help="units are means of channels, not their places")
    moves.add_argument(
        "--memory", type=float, default=4.0, help="gigabytes for the sums; more units are taken in portions (default: 4)"
    )
    moves.add_argument("--as-published", action="store_true", help="instead: the study's method beside ours, step by step")
    moves.add_argument("--images", type=int, help="images that the image factor chooses from (default: all)")
    moves.add_argument("--seed", type=int, default=0, help="seed of the design")
    moves.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    moves.add_argument("--out", type=Path, default=Path("results/sensitivity"), help="folder of the results")
    where(moves)
    masks = studies.add_parser("masking", help="do the indices predict what matters? Guided masks beside random and matched ones")
    masks.add_argument("net", nargs="?", default="resnet20", metavar="NET", help="net[:weights][#seed] (default: resnet20)")
    masks.add_argument("--dataset", default="mnist5k", help="images: see `probes list` (default: mnist5k)")
    masks.add_argument("--set", default="3", help="1, 2, 3 (both, as in the study), or augmentations between commas (default: 3)")
    masks.add_argument("--measures", default="total,first,shapley", help="that guide; the first is judged (default: all three)")
    masks.add_argument("--q", type=numbers, default=(0.5, 0.8), help="quantiles: .8 masks the top fifth (default: .5,.8)")
    masks.add_argument("--alpha", type=numbers, default=(0.0, 0.5), help="factors of masked units (default: 0,.5)")
    masks.add_argument("--random", type=int, default=100, help="random masks of each size (default: 100)")
    masks.add_argument("--matched", type=int, default=20, help="random masks of the same magnitudes (default: 20)")
    masks.add_argument("--draws", type=int, default=1, help="of an augmentation's parameters (default: 1)")
    masks.add_argument("--modules", help="that are masked, names between commas, and the last layer (default: the stages)")
    masks.add_argument("--alone", action="store_true", help="also each module masked alone")
    masks.add_argument("--rows", type=int, default=512, help="base points of a scrambling of the indices (default: 512)")
    masks.add_argument("--scramblings", type=int, default=8, help="of the indices (default: 8)")
    masks.add_argument("--factors", help="class, partition, between commas: what else chooses the image (default: neither)")
    masks.add_argument("--images", type=int, help="test images at most (default: 1,000)")
    masks.add_argument("--seed", type=int, default=0, help="seed of indices and inputs")
    masks.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    masks.add_argument("--out", type=Path, default=Path("results/masking"), help="folder of the report")
    where(masks)

    parts = studies.add_parser("segments", help="segments cut out and fed with hue, saturation or value, beside the whole network")
    parts.add_argument("net", nargs="?", default="resnet20", metavar="NET", help="net[:weights][#seed] (default: resnet20)")
    parts.add_argument("--dataset", default="mnist5k", help="images: see `probes list` (default: mnist5k)")
    parts.add_argument("--set", default="1", help="1, 2, or augmentations between commas (default: 1)")
    parts.add_argument("--segments", help="modules, or FIRST..LAST of a sequence, between commas (default: the stages)")
    parts.add_argument("--rows", type=int, default=256, help="base points of a scrambling (default: 256)")
    parts.add_argument("--scramblings", type=int, default=8, help="independent ones (default: 8)")
    parts.add_argument("--memory", type=float, default=4.0, help="gigabytes for the sums (default: 4)")
    parts.add_argument("--images", type=int, help="images that the image factor chooses from (default: all)")
    parts.add_argument("--seed", type=int, default=0, help="seed of the design")
    parts.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parts.add_argument("--out", type=Path, default=Path("results/segments"), help="folder of the results")
    where(parts)


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
    from probes.perturb.augment import SETS

    if text == "3":
        return tuple(SETS)
    return (text,) if text in SETS else (tuple(listed(text) or ()),)


def _segments(given: argparse.Namespace) -> int:
    from probes.perturb.augment import SETS
    from probes.run import segments
    from probes.run.scramblings import Plan
    from probes.run.settings import Options

    which = given.set if given.set in SETS else tuple(listed(given.set) or ())
    folder = segments.study(
        given.net,
        given.dataset,
        store_of(given),
        given.out,
        Plan(which, given.rows, given.scramblings, seed=given.seed),
        names=listed(given.segments),
        memory=given.memory,
        options=Options(images=given.images, device=given.device, threads=given.threads, precision=given.precision),
        command=["probes", *given.argv],
        say=say,
    )
    print(f"written: {folder / 'segments.md'}")
    return 0


def _masking(given: argparse.Namespace) -> int:
    from probes.run.maskstudy import MaskPlan, study
    from probes.run.settings import Options

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
    options = Options(images=given.images, device=given.device, threads=given.threads, precision=given.precision, seed=given.seed)
    folder = study(
        given.net, given.dataset, store_of(given), given.out, plan, options=options, command=["probes", *given.argv], say=say
    )
    print_verdicts(folder)
    return 0


def channels(text: str) -> dict[str, list[int]]:
    """Channels of modules as typed; BadInput for anything else.

    >>> channels("layer1:5,layer3:40,layer1:7")
    {'layer1': [5, 7], 'layer3': [40]}
    """
    found: dict[str, list[int]] = {}
    for part in listed(text) or []:
        name, _, number = part.rpartition(":")
        if not name or not number.isdigit():
            raise BadInput(f"channels {text!r}: MODULE:NUMBER between commas, e.g. layer1:5,layer3:40")
        found.setdefault(name, []).append(int(number))
    return found


def _sensitivity(given: argparse.Namespace) -> int:
    from probes.perturb.augment import SETS
    from probes.run import sensitivity, sensmethod
    from probes.run.contrasts import Contrasts
    from probes.run.settings import Options
    from probes.tell.pages import slug

    which, names, nets = given.set or "1", listed(given.modules), given.nets or ["resnet20"]
    plan = sensitivity.Plan(
        which=which if which in SETS else tuple(listed(which) or ()),
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
    common: dict[str, Any] = {
        "options": Options(images=given.images, device=given.device, threads=given.threads, precision=given.precision),
        "command": ["probes", *given.argv],
        "say": say,
    }
    if given.as_published and (given.measures, given.law, given.image, given.factors, given.second, given.channels) != (
        "sobol,shapley", "one", "factor", None, False, None,
    ):  # fmt: skip
        raise BadInput("--as-published has measures, law, image and factors of its own: leave out --measures, --law, --image,"
                       " --factors, --second and --channels")  # fmt: skip
    for net in nets:
        out = given.out / slug(net) if len(nets) > 1 else given.out
        if given.as_published:
            folder = sensmethod.method(net, given.dataset, store_of(given), out, plan, memory=given.memory, **common)
            print(f"written: {folder / 'method.md'}")
            continue
        folder = sensitivity.study(
            net,
            given.dataset,
            store_of(given),
            out,
            plan,
            measures=listed(given.measures) or (),
            contrasted=Contrasts(given.contrast_images, given.contrast_draws, given.seed),
            pictures=given.pictures,
            channels=channels(given.channels) if given.channels else None,
            analyse=given.analyse,
            memory=given.memory,
            **common,
        )
        print(f"written: {folder / 'sensitivity.md'}")
    return 0


STUDIES = {"sensitivity": _sensitivity, "masking": _masking, "segments": _segments}
