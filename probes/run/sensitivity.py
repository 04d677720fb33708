"""The study of sensitivity: which augmentations move which units, in one pass over designed rows, for anybody's network."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from probes.errors import BadInput, ProbesError
from probes.hooks import modules
from probes.measure.sensitivity import Indices, Pairs, Replicates, Sums, outputs
from probes.perturb.augment import Augmented
from probes.run import engine
from probes.run.cells import ENGINE
from probes.run.lab import Lab, Options
from probes.run.layertables import stages_of
from probes.run.passes import layout_of
from probes.store import Store
from probes.subjects.data import Dataset
from probes.subjects.pretrained import Subject
from probes.subjects.spec import on
from probes.tell import evidence, indices

IMAGE = "image"
BLOCK = 8
"""Base points that run together, and share an order of the groups along Shapley's path."""
SMALL = 100_000
"""Below so many units there are 16 scramblings, else 8."""
CHECKPOINTS = {
    "alexnet": ("features.2", "features.5", "features.7", "features.9", "avgpool", "classifier.2", "classifier.5", "classifier.6"),
    "vgg11": ("features.2", "features.5", "features.10", "features.15", "avgpool", "classifier.1", "classifier.4", "classifier.6"),
    "resnet18": ("maxpool", "layer1", "layer2", "layer3", "avgpool", "fc"),
}
"""The modules that the study reads of its three networks."""
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is sampled: a set of augmentations (``1``, ``2`` or names), base points per scrambling, scramblings (None: 8 or 16).

    ``names`` are the modules (None: :func:`default_modules`); ``second`` adds second-order indices. Raises BadInput for too few.
    """

    which: str | tuple[str, ...] = "1"
    rows: int = 1024
    scramblings: int | None = None
    names: tuple[str, ...] | None = None
    second: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rows < 2 or (self.scramblings is not None and self.scramblings < 2):
            raise BadInput(f"{self.rows} rows in {self.scramblings} scramblings: two of each at least; an interval needs both")

    def design(self, channels: int) -> tuple[Augmented, Pairs, tuple[str, ...]]:
        """The augmentations, the design with the image as its last group, and what was left out on grey images."""
        augmented, left = Augmented.of(self.which, channels)
        at = len(augmented.columns)
        return augmented, Pairs({**augmented.groups, IMAGE: slice(at, at + 1)}, second=self.second), left


def default_modules(subject: Subject) -> tuple[str, ...]:
    """The study's checkpoints of its networks; else where the maps become smaller, and the last linear layer."""
    net = subject.spec.net
    if net in CHECKPOINTS:
        return CHECKPOINTS[net]
    known = modules(subject.model)
    linear = [name for name, m in known.items() if isinstance(m, nn.Linear)]
    found = stages_of(subject.model, torch.zeros(2, *subject.data.images.shape[1:]))
    return tuple(dict.fromkeys([*found, *linear[-1:]]))


def blocks(design: Pairs, plan: Plan, scrambling: int, *name: str | int) -> Iterator[tuple[np.ndarray, list[int]]]:
    """The rows of a scrambling, block by block: (rows, n, columns), and the order of their path."""
    label = (plan.seed, *name, scrambling)
    points = design.points(plan.rows, *label)
    for number, start in enumerate(range(0, plan.rows, BLOCK)):
        order = design.order(number, *label)
        yield design.block(points[start : start + BLOCK], order), order


def images_of(data: Dataset, u: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """The images that a factor in [0, 1) chooses, float32 in [0, 1], and their ids."""
    chosen = np.minimum((u * len(data)).astype(int), len(data) - 1)
    return torch.from_numpy(np.array(data.images[chosen])).float().div_(255), data.ids[chosen]


class Passes:
    """One subject under one design: adds blocks of rows to the sums of its modules; ``shapes`` and ``lost`` fill as it goes.

    ``lost`` counts the base points of a scrambling that were left out because an activation was NaN or infinite, by module.
    """

    def __init__(self, subject: Subject, names: Sequence[str], augmented: Augmented, design: Pairs, where: Any) -> None:
        self.subject, self.names, self.augmented, self.design, self.where = subject, names, augmented, design, where
        self.device = torch.device(where.device)
        self.layout = layout_of(subject.model)
        self.model = subject.model.to(self.device).to(memory_format=self.layout)
        self.shapes: dict[str, list[int]] = {}
        self.lost: dict[str, int] = {}

    def add(self, sums: Mapping[str, Sums], rows: np.ndarray, order: Sequence[int], data: Dataset) -> None:
        """Run a block of rows, (rows, n, columns), and add what the modules give."""
        many, n, columns = rows.shape
        flat = rows.reshape(many * n, columns)
        images, ids = images_of(data, flat[:, -1])
        factors = torch.from_numpy(flat[:, :-1].astype(np.float32))
        quiet = engine.exact(self.where.threads), engine.cast(self.device, self.where.precision)
        with quiet[0], outputs(self.model, self.names) as seen:
            x = self.augmented(images, factors)
            with quiet[1]:
                self.model(x.to(self.device, memory_format=self.layout))
            for name, out in seen.items():
                self.shapes[name] = list(out.shape[1:])
                values = out.float().flatten(1).view(many, n, -1)
                if not bool(values.sum().isfinite()):  # one NaN or infinity makes a sum of either; then each is looked at
                    values = self._finite(name, values, ids.reshape(many, n))
                if values.shape[1]:
                    sums[name].add(values, order)

    def _finite(self, name: str, values: Tensor, ids: np.ndarray) -> Tensor:
        good = values.isfinite().all(2).all(0)
        self.lost[name] = self.lost.get(name, 0) + int((~good).sum())
        return values[:, good]


def scrambling(
    passes: Passes, plan: Plan, number: int, data: Dataset, tick: Callable[[], object], *name: str | int
) -> dict[str, Indices]:
    """The indices of every module from one scrambling; ``data`` are the images that the image factor chooses from."""
    sums = {module: Sums(passes.design) for module in passes.names}
    passes.lost = {}
    for rows, order in blocks(passes.design, plan, number, *name):
        passes.add(sums, rows, order, data)
        tick()
    if empty := [module for module, s in sums.items() if s.n == 0]:
        raise ProbesError(f"module {empty[0]!r} of {passes.subject.spec} gave NaN or infinity in every base point")
    return {module: s.indices() for module, s in sums.items()}


def study(
    net: str,
    dataset: str,
    store: Store,
    out: Path,
    plan: Plan,
    *,
    options: Options | None = None,
    command: Sequence[str] = ("probes", "run", "sensitivity"),
    say: Say = lambda _: None,
) -> Path:
    """Sobol and Shapley indices of every unit of a network's modules, as files, figures and a page in ``out``.

    A scrambling is the smallest piece that a kill may lose: the same command goes on after it. Raises UnknownName and BadInput for
    modules, augmentations and networks, ProbesError where every base point of a module is NaN.
    """
    options = options or Options()
    spec = on(net, dataset)
    lab = Lab([spec], store, options, quiet=False, say=say)
    subject = next(iter(lab.subjects.values()))
    augmented, design, left = plan.design(subject.data.channels)
    names = plan.names or default_modules(subject)
    passes = Passes(subject, names, augmented, design, options.where)
    with torch.inference_mode(), outputs(passes.model, names) as seen:  # an error before the work
        passes.model(images_of(subject.data, np.zeros(2))[0].to(passes.device))
        units = sum(v[0].numel() for v in seen.values())
    scramblings = plan.scramblings or (16 if units < SMALL else 8)
    say(f"{spec}: {units:,} units of {', '.join(names)}; groups {', '.join(design.groups)}")
    say(f"{scramblings} scramblings of {plan.rows:,} base points, {scramblings * plan.rows * design.rows:,} rows")
    if left:
        say(f"left out, since they change nothing on grey images: {', '.join(left)}")
    if plan.rows & (plan.rows - 1):
        say(f"{plan.rows} rows are no power of two: the sequence loses its balance, and intervals are wider")
    found: dict[str, Replicates] = {name: Replicates() for name in names}
    key = key_of(subject, plan, names, options)
    lost: dict[str, int] = {}
    with tqdm(total=scramblings * math.ceil(plan.rows / BLOCK), desc="probes", unit="block", leave=False, disable=None) as bar:
        for number in range(scramblings):

            def make(path: Path, number: int = number) -> None:
                write_indices(path, scrambling(passes, plan, number, subject.data, bar.update, "study"), passes)

            path = store.get_or_make("indices", key | {"scrambling": number}, ".npz", make)
            bar.n = (number + 1) * math.ceil(plan.rows / BLOCK)
            bar.refresh()
            shapes, one, gone = read_indices(path)
            lost = {name: lost.get(name, 0) + gone.get(name, 0) for name in names}
            for name, indices_ in one.items():
                found[name].add(indices_)
    facts = {
        "subject": str(spec), "weights": subject.sha256, "dataset": subject.data.title, "images": len(subject.data),
        "images_sha256": subject.data.sha256, "augmentations": list(augmented.names), "left_out": list(left),
        "groups": list(design.groups), "rows": plan.rows, "scramblings": scramblings, "seed": plan.seed,
        "where": dataclasses.asdict(options.where), "base_points_lost": {k: v for k, v in lost.items() if v},
    }  # fmt: skip
    return indices.write(out, found, shapes, facts, evidence.provenance(Path.cwd(), command, {}))


def key_of(subject: Subject, plan: Plan, names: Sequence[str], options: Options) -> dict[str, Any]:
    """What the indices of a scrambling depend on, beside its number."""
    asked = {k: v for k, v in dataclasses.asdict(plan).items() if k not in ("scramblings", "names")}
    return asked | {"engine": ENGINE, "version": 2, "torch": torch.__version__, "weights": subject.sha256, "code": subject.code,
                    "images": subject.data.sha256, "names": list(names), "block": BLOCK,
                    "where": dataclasses.asdict(options.where)}  # fmt: skip


FIELDS = ("mean", "variance", "dead", "first", "total", "shapley", "second")


def write_indices(path: Path, found: Mapping[str, Indices], passes: Passes) -> None:
    """Keep the indices of a scrambling, in single precision, with what was left out."""
    arrays = {}
    for name, one in found.items():
        for field in FIELDS:
            value = getattr(one, field)
            if value is not None:
                arrays[f"{name}/{field}"] = value.numpy() if field == "dead" else value.float().numpy()
    told = {"groups": next(iter(found.values())).groups, "base": {n: one.base for n, one in found.items()},
            "shapes": passes.shapes, "lost": passes.lost}  # fmt: skip
    with open(path, "wb") as f:
        np.savez(f, told=np.array(json.dumps(told)), **arrays)  # type: ignore[arg-type]


def read_indices(path: Path) -> tuple[dict[str, list[int]], dict[str, Indices], dict[str, int]]:
    """The shapes of the modules, their indices, and how many base points were left out."""
    with np.load(path, allow_pickle=False) as file:
        told = json.loads(str(file["told"]))
        found = {}
        for name, base in told["base"].items():
            fields = {f: torch.from_numpy(file[f"{name}/{f}"]) for f in FIELDS if f"{name}/{f}" in file}
            doubles = {f: v if f == "dead" else v.double() for f, v in fields.items()}
            found[name] = Indices(tuple(told["groups"]), base, **doubles)
    return told["shapes"], found, told["lost"]
