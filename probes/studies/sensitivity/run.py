"""The study of sensitivity: which augmentations move which units, in one pass over designed rows,
for any network.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from probes import seeds
from probes.errors import BadInput
from probes.judge.wording import counted
from probes.measure.contrast import FEWEST, Contrast
from probes.measure.features import has_places
from probes.measure.indices import Replicates
from probes.perturb.augment import augmentations
from probes.perturb.composed import Augmented
from probes.registry import unknown
from probes.run.bench import Bench
from probes.run.settings import Options
from probes.store import Store
from probes.studies.sensitivity import pages as indices
from probes.studies.sensitivity.contrasts import Contrasts, contrasts_of
from probes.studies.sensitivity.indices import Say, indices_of
from probes.studies.sensitivity.plan import Plan
from probes.studies.sensitivity.portions import portions
from probes.studies.sensitivity.reader import default_modules, shapes_of
from probes.studies.sensitivity.source import Source
from probes.subjects import data as datasets
from probes.subjects.dataset import Dataset
from probes.subjects.sending import pixels
from probes.subjects.spec import on
from probes.tell import origins, reportfolder

MEASURES = ("sobol", "shapley", "contrast")
MEMORY = 4.0
"""The gigabytes for sums and the activations that go into them. If the units do not fit, they are
taken in portions, with all rows for each.
"""


def lab_of(net: str, dataset: str, store: Store, options: Options, say: Say) -> Bench:
    """A bench with one network, on all images of its dataset or the number that the options
    give.
    """
    images = options.images or len(datasets.load(dataset, options.split, store))
    options = dataclasses.replace(options, images=images)
    return Bench([on(net, dataset)], store, options, quiet=False, say=say)


def study(
    net: str,
    dataset: str,
    store: Store,
    out: Path,
    plan: Plan,
    *,
    measures: Sequence[str] = ("sobol", "shapley"),
    contrasted: Contrasts | None = None,
    pictures: bool = False,
    channels: Mapping[str, Sequence[int]] | None = None,
    analyse: bool = False,
    memory: float = MEMORY,
    options: Options | None = None,
    command: Sequence[str] = ("probes", "run", "sensitivity"),
    say: Say = lambda _: None,
) -> Path:
    """Sobol and Shapley indices, and the contrast, of every unit of a network's modules, as files,
    figures and a page in ``out``.

    A killed run loses at most one scrambling (or one augmentation's contrast); the same command
    resumes. ``channels`` of a module get a panel (default: one of each, that an augmentation moves
    most). ``pictures`` draws the augmentations on three images; this happens in any case if a
    dataset's images may stand in reports. ``analyse`` adds the analysis of the maps together.
    Raises UnknownName and BadInput for measures, modules, augmentations and networks, ProbesError
    if every base point of all modules is NaN.
    """
    reportfolder.replaceable(out)
    for word in measures:
        if word not in MEASURES:
            raise unknown("measure", word, MEASURES)
    if not measures or memory <= 0:
        raise BadInput(
            f"measures {', '.join(measures) or 'none'} in {memory} GB: one measure at least, and"
            " some memory"
        )
    options = options or Options()
    plan = dataclasses.replace(plan, shapley="shapley" in measures)
    lab = lab_of(net, dataset, store, options, say)
    ((name_of, subject),) = lab.subjects.items()
    source, spec = Source(name_of), on(net, dataset)
    names = plan.names or default_modules(subject)
    shapes = shapes_of(subject, names, options.where, plan.pooled)
    sampled = bool({"sobol", "shapley"} & set(measures))
    _check_channels(channels, shapes, sampled)
    if analyse and not sampled:
        raise BadInput(
            "an analysis of maps needs indices: ask for sobol or shapley among the measures"
        )
    contrasting = contrasted or Contrasts(seed=plan.seed)
    if "contrast" in measures and len(subject.data) < FEWEST:
        raise BadInput(f"a contrast on {len(subject.data)} images: {FEWEST} at least")
    units = {name: math.prod(shape) for name, shape in shapes.items()}
    augmented, left = Augmented.of(plan.which, subject.data.channels)
    facts: dict[str, Any] = {
        "subject": str(spec),
        "weights": subject.sha256,
        "dataset": subject.data.title,
        "images": len(subject.data),
        "images_sha256": subject.data.sha256,
        "augmentations": list(augmented.names),
        "left_out": list(left),
        "where": lab.options.where.told(),
        "measures": [m for m in MEASURES if m in measures],
        "plan": dataclasses.asdict(plan),
    }
    say(f"{spec}: {counted(sum(units.values()), 'unit')} of {', '.join(names)}")
    if left:
        say(f"left out, since they change nothing on grey images: {', '.join(left)}")
    found: Iterable[tuple[str, Replicates]] = ()
    facts |= {"lost": {}, "without": []}
    if sampled:
        found = indices_of(lab, source, plan, units, memory, say)
        facts |= {**found.facts, "lost": found.lost, "without": found.without}
    moved: Mapping[str, Mapping[str, Contrast]] = {}
    if "contrast" in measures:
        moved, facts["contrast"] = _contrasts(
            lab, source, augmented, contrasting, units, memory, say, plan.pooled
        )
    shown = sheets(subject.data, augmented) if pictures or subject.data.embeddable else {}
    run = origins.provenance(Path.cwd(), command, {})
    return indices.write(out, found, moved, shapes, facts, run, shown, channels, analyse)


def _check_channels(
    asked: Mapping[str, Sequence[int]] | None, shapes: Mapping[str, Sequence[int]], sampled: bool
) -> None:
    if asked and not sampled:
        raise BadInput(
            "a panel of a channel shows its indices: ask for sobol or shapley among the measures"
        )
    for name, wanted in (asked or {}).items():
        if name not in shapes:
            raise unknown("module of a channel", name, list(shapes))
        shape = shapes[name]
        if not has_places(shape) or not all(0 <= c < shape[0] for c in wanted):
            shown = (
                f"{name} gives {' x '.join(map(str, shape))}; a panel needs a channel with several"
                " places"
            )
            raise BadInput(f"channels {name}:{','.join(map(str, wanted))}: {shown}")


def sheets(
    data: Dataset, augmented: Augmented, images: int = 3, steps: int = 6
) -> dict[str, tuple[np.ndarray, list[str]]]:
    """Every augmentation on a few images: pictures (images, 1 + steps, C, H, W) in [0, 1] and a
    caption for each column.

    A single factor goes through its range in even steps; several factors are drawn; a switch is on.
    """
    x = pixels(data.sample(min(images, len(data))))
    found = {}
    for name in augmented.names:
        one = augmentations[name]
        n_factors = len(one.factors)
        places = [0.0] if one.switch else [i / (steps - 1) for i in range(steps)]
        drawn = [
            seeds.uniform(n_factors, "contact sheet", name, i) if n_factors > 1 else np.full(1, u)
            for i, u in enumerate(places)
        ]
        moved = [
            one.apply(x, torch.from_numpy(u.astype(np.float32)).expand(len(x), -1)) for u in drawn
        ]
        captions = (
            ["on"]
            if one.switch
            else [
                f"{one.factors[0]} at {u:.0%}" if n_factors == 1 else f"draw {i}"
                for i, u in enumerate(places)
            ]
        )
        found[name] = (torch.stack([x, *moved], 1).numpy(), ["clean", *captions])
    return found


def _contrasts(
    lab: Bench,
    source: Source,
    augmented: Augmented,
    plan: Contrasts,
    units: Mapping[str, int],
    memory: float,
    say: Say,
    pooled: bool,
) -> tuple[dict[str, dict[str, Contrast]], dict[str, Any]]:
    """The contrasts of every module, by module and augmentation, and the facts about them."""
    images = min(plan.images, len(source.of(lab.place).data))
    left_out: dict[str, int] = {}
    found: dict[str, dict[str, Contrast]] = {name: {} for name in units}
    parts = portions(units, 8 * images, memory * 1e9)
    if len(parts) > 1:
        say(
            f"the units do not fit in {memory:g} GB together: {len(parts)} portions, all images for"
            " each"
        )
    for part in parts:
        for augmentation, moved, lost in contrasts_of(
            lab, source, augmented.names, part, plan, pooled
        ):
            for name, one in moved.items():
                before = found[name].get(augmentation)
                found[name][augmentation] = before.beside(one) if before else one
            for name, n_lost in lost.items():
                if n_lost:
                    under = f"{name} under {augmentation}"
                    left_out[under] = max(n_lost, left_out.get(under, 0))
    whole = {name: of for name, of in found.items() if len(of) == len(augmented.names)}
    return whole, dataclasses.asdict(plan) | {"images": images, "left_out": left_out}
