"""The study's method compared with ours: the effects of a fresh image at every row, of min-max and
of an absolute floor.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from probes.errors import ProbesError
from probes.judge.wording import counted
from probes.measure.indices import Replicates
from probes.perturb.augment import augmentations
from probes.perturb.composed import Augmented
from probes.run.settings import Options
from probes.store import Store
from probes.studies.sensitivity import methodpages as indexmethod
from probes.studies.sensitivity.indices import indices_of
from probes.studies.sensitivity.plan import Plan
from probes.studies.sensitivity.reader import default_modules, minmax, shapes_of
from probes.studies.sensitivity.run import MEMORY, lab_of
from probes.studies.sensitivity.source import Source
from probes.subjects.dataset import Dataset
from probes.subjects.sending import pixels
from probes.subjects.spec import on
from probes.tell import origins, reportfolder

Say = Callable[[str], None]
STEPS = {
    "fresh image": {"image": "fresh"},
    "fresh image, min-max": {"image": "fresh", "minmax": True},
    "fresh image, min-max, floor": {"image": "fresh", "minmax": True, "absolute": True},
}
"""The published way, adopted step by step."""
FEW = 64
"""The number of base points of the study's small configuration, in which sparse units get total
indices above 1.
"""
STRETCHED = ("brightness", "contrast")
"""The augmentations that min-max undoes."""


def variants(plan: Plan) -> dict[str, Plan]:
    """Ours, ours drawn again (the effect of chance alone), and the published way step by step, on
    class, partition and image.
    """
    ours = dataclasses.replace(plan, factors=("class", "partition"), image="factor", shapley=False)
    again = {"ours": ours, "ours, drawn again": dataclasses.replace(ours, seed=ours.seed + 1)}
    return again | {name: dataclasses.replace(ours, **change) for name, change in STEPS.items()}  # type: ignore[arg-type]


def stretched(
    data: Dataset, factors: Sequence[float], images: int = 100
) -> dict[str, dict[str, list[float]]]:
    """How far an image moves, relative to its size, when a factor in [0, 1] goes through its range,
    with and without min-max.

    Augmentation -> ``constants`` or ``min-max`` -> the median over images for each factor. The
    images are in [0, 1], before the network's constants.
    """
    x = pixels(data.sample(min(images, len(data))))
    found: dict[str, dict[str, list[float]]] = {}
    for name in STRETCHED:
        moved = [augmentations[name].apply(x, torch.full((len(x), 1), u)) for u in factors]
        found[name] = {
            "constants": [_apart(m, x) for m in moved],
            "min-max": [_apart(minmax(m), minmax(x)) for m in moved],
        }
    return found


def _apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(
        ((a - b).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1).clamp(min=1e-12)).median()
    )


def method(
    net: str,
    dataset: str,
    store: Store,
    out: Path,
    plan: Plan,
    *,
    memory: float = MEMORY,
    options: Options | None = None,
    command: Sequence[str] = ("probes", "run", "sensitivity", "--as-published"),
    say: Say = lambda _: None,
) -> Path:
    """Write the page that compares the study's method with ours, with figures. Both use the same
    network, rows and factors.
    """
    reportfolder.replaceable(out)
    options = options or Options()
    lab = lab_of(net, dataset, store, options, say)
    ((name_of, subject),) = lab.subjects.items()
    spec, source = on(net, dataset), Source(name_of)
    shapes = shapes_of(subject, plan.names or default_modules(subject), options.where, plan.pooled)
    units = {name: math.prod(shape) for name, shape in shapes.items()}
    augmented, left = Augmented.of(plan.which, subject.data.channels)

    lost: dict[str, int] = {}

    def run(one: Plan) -> dict[str, Replicates]:
        found = indices_of(lab, source, one, units, memory, lambda _: None)
        if found.without:
            raise ProbesError(
                f"{', '.join(found.without)} of {spec} gave NaN or infinity throughout: choose"
                " other modules"
            )
        lost.update({name: max(n_lost, lost.get(name, 0)) for name, n_lost in found.lost.items()})
        return dict(found)

    found: dict[str, Mapping[str, Replicates]] = {}
    steps = variants(plan)
    for name, one in steps.items():
        found[name] = run(one)
        say(f"{name}: {counted(sum(units.values()), 'unit')}")
    ours = steps["ours"]
    few_rows = {
        "ours": run(dataclasses.replace(ours, rows=FEW)),
        "published floor, not cut": run(
            dataclasses.replace(
                ours, rows=FEW, image="fresh", minmax=True, absolute=True, cut=False
            )
        ),
    }
    factors = [i / 20 for i in range(21)]
    facts = {
        "subject": str(spec),
        "weights": subject.sha256,
        "dataset": subject.data.title,
        "images": len(subject.data),
        "images_sha256": subject.data.sha256,
        "augmentations": list(augmented.names),
        "left_out": list(left),
        "plan": dataclasses.asdict(plan),
        "where": lab.options.where.told(),
        "few": FEW,
        "lost": lost,
    }
    moved = stretched(subject.data, factors)
    return indexmethod.write(
        out, found, few_rows, (factors, moved), facts, origins.provenance(Path.cwd(), command, {})
    )
