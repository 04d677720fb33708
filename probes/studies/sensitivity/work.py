"""A network on designed rows of augmented images: the indices of one scrambling."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from probes import seeds
from probes.errors import ProbesError
from probes.fingerprint import fingerprint
from probes.measure.indices import Indices
from probes.measure.sensitivity import SobolDesign, SobolSums
from probes.origin import outside
from probes.perturb.augment import augmentations
from probes.perturb.composed import Augmented
from probes.run import device
from probes.run.cells import ENGINE
from probes.run.forward import Where, common_key
from probes.run.work import Place, Work
from probes.studies.sensitivity.plan import Plan, Pool
from probes.studies.sensitivity.reader import Reader
from probes.studies.sensitivity.source import Source
from probes.subjects.subject import Subject

TOGETHER = 112
"""At most this many rows run together: eight base points of seven groups."""
ENOUGH = 128
"""With fewer base points two columns of the Sobol sequence can coincide, and a switch then never
changes between A and B.
"""


def together(design: SobolDesign) -> int:
    """The number of base points that run together and share an order of the groups: eight, or fewer
    if they have many rows.
    """
    return max(1, min(8, TOGETHER // design.evaluations))


def blocks(
    design: SobolDesign, plan: Plan, scrambling: int, *name: str | int
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """The rows of a scrambling, block by block: (rows, n, columns), and the order of the groups
    along their path.
    """
    label = (plan.seed, *name, scrambling)
    points = design.points(plan.rows, *label)
    for number, start in enumerate(range(0, plan.rows, size := together(design))):
        order = design.order(number, *label)
        rows = design.block(points[start : start + size], order)
        if plan.image == "fresh":
            rows[..., -1] = seeds.uniform(
                rows[..., -1].size, "fresh image", *label, number
            ).reshape(rows.shape[:2])
        yield rows, order


class Passes(Reader):
    """One subject under one design. It adds blocks of rows to the sums of its modules."""

    def __init__(
        self,
        subject: Subject,
        parts: Mapping[str, slice],
        augmented: Augmented,
        design: SobolDesign,
        where: Where,
        minmax: bool = False,
        pooled: bool = False,
    ) -> None:
        super().__init__(subject, parts, where, minmax, pooled)
        self.augmented, self.design = augmented, design

    def add(
        self, sums: Mapping[str, SobolSums], rows: np.ndarray, order: Sequence[int], pool: Pool
    ) -> dict[str, int]:
        """Run a block of rows, (rows, n, columns), and add the outputs of the modules.

        Returns the number of base points that were left out because an activation was NaN or
        infinite, for the modules with such base points.
        """
        n_rows, n, columns = rows.shape
        flat, own = rows.reshape(n_rows * n, columns), len(self.augmented.columns)
        with device.exact(self.where.threads):
            x = self.augmented(
                pool(flat[:, own:], self.device), torch.from_numpy(flat[:, :own].astype(np.float32))
            )
        found, lost = self.read(x), dict[str, int]()
        with device.exact(self.where.threads):
            for name in list(found):
                values = found.pop(name).view(n_rows, n, -1)
                if not bool(
                    values.sum().isfinite()
                ):  # one NaN or infinity makes a sum of either; then each is looked at
                    good = values.isfinite().all(2).all(0)
                    lost[name] = int((~good).sum())
                    values = values[:, good]
                if values.shape[1]:
                    sums[name].add(values, order)
        return lost


def passes_of(
    subject: Subject, plan: Plan, parts: Mapping[str, slice], where: Where
) -> list[Passes]:
    """The passes of a plan: one, or two for the study's two distributions of the factors."""
    return [
        Passes(subject, parts, *design, where, plan.minmax, plan.pooled)
        for design in plan.designs(subject.data.channels)
    ]


def scrambled(
    passes: Sequence[Passes],
    plan: Plan,
    number: int,
    pool: Pool,
    *name: str | int,
    tell: Callable[[float], object] = lambda share: None,
) -> tuple[dict[str, Indices], dict[str, int]]:
    """The indices of every module from one scrambling, and the number of base points left out for
    NaN or infinity. Under the study's two distributions Shapley effects are those of the second.

    A module with NaN or infinity in every base point is left out. Raises ProbesError if no module
    remains.
    """
    found: dict[str, Indices] = {}
    lost: dict[str, int] = {}
    done, steps = 0, sum(math.ceil(plan.rows / together(one.design)) for one in passes)
    for law, one in enumerate(passes):
        sums = {module: SobolSums(one.design) for module in one.parts}
        for rows, order in blocks(
            one.design, plan, number, *name, *([f"law {law}"] if law else [])
        ):
            for module, n_lost in one.add(sums, rows, order, pool).items():
                lost[module] = lost.get(module, 0) + n_lost
            done += 1
            tell(done / steps)
        if not any(s.n for s in sums.values()):
            names = ", ".join(sums)
            raise ProbesError(
                f"{names} of {one.subject.spec} gave NaN or infinity in every base point: no"
                " index can be computed"
            )
        for module, s in sums.items():
            if s.n == 0 or (law and module not in found):
                found.pop(module, None)
                continue
            new = _read(s, plan)
            if law:
                new = dataclasses.replace(
                    found[module], shapley=new.shapley, dead=found[module].dead | new.dead
                )
            found[module] = new
    return found, lost


def _read(sums: SobolSums, plan: Plan) -> Indices:
    way = (
        ("ends", True)
        if plan.absolute
        else ("within" if plan.image == "fixed" else "pooled", False)
    )
    one = sums.indices(way[0], absolute=way[1])
    here = {f: v.cpu() for f in FIELDS if (v := getattr(one, f)) is not None}
    one = dataclasses.replace(one, **here)
    if not (plan.absolute and plan.cut):
        return one
    cut = {m: getattr(one, m) for m in ("first", "total", "shapley") if getattr(one, m) is not None}
    return dataclasses.replace(one, **{m: value.clamp(0, 1) for m, value in cut.items()})


@dataclasses.dataclass(frozen=True)
class Scrambling(Work):
    """The indices of some modules from one scrambling of a plan: a piece of work, which a crash may
    lose.

    ``parts`` are modules with their units, (name, start, stop). ``label`` and ``number`` name the
    draws.
    """

    source: Source
    plan: Plan
    parts: tuple[tuple[str, int, int], ...]
    where: Where
    label: str
    number: int

    kind = "indices"
    suffix = ".npz"

    def key(self, place: Place) -> dict[str, Any]:
        """What the indices depend on."""
        return sampling_key(self.source, self.plan, self.where, place) | {
            "names": [list(part) for part in self.parts],
            self.label: self.number,
        }

    def make(self, place: Place, path: Path) -> None:
        """Run the rows, and write the indices (single precision) and the numbers of base points
        left out.
        """
        subject = self.source.of(place)
        parts = {name: slice(start, stop) for name, start, stop in self.parts}
        passes = passes_of(subject, self.plan, parts, self.where)
        pool = pool_of(self.source, self.plan, place)
        found, lost = scrambled(passes, self.plan, self.number, pool, self.label, tell=place.tell)
        arrays = {}
        for name, one in found.items():
            for field in FIELDS:
                value = getattr(one, field)
                if value is not None:
                    arrays[f"{name}/{field}"] = (
                        value.numpy() if field == "dead" else value.float().numpy()
                    )
        about = {
            "groups": next(iter(found.values())).groups,
            "base": {n: one.base for n, one in found.items()},
            "lost": lost,
        }
        with open(path, "wb") as f:
            np.savez(f, told=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]


def pool_of(source: Source, plan: Plan, place: Place) -> Pool:
    """The images that a plan's rows choose from, made once in each place."""
    name = ("pool", source, plan.image, plan.factors)

    def made() -> Pool:
        subject = source.of(place)
        return plan.pool(subject.data, place.store, subject.dataset)

    return place.kept.get(name, made)


def sampling_key(source: Source, plan: Plan, where: Where, place: Place) -> dict[str, Any]:
    """What the indices of a scrambling depend on, beside its modules and its number."""
    subject = source.of(place)
    asked = {k: v for k, v in dataclasses.asdict(plan).items() if k not in ("scramblings", "names")}
    return asked | {
        **common_key(subject, where, place.store),
        "engine": ENGINE,
        "version": 5,
        "images": [part.sha256 for part in pool_of(source, plan, place).parts],
        "own": own_code(Augmented.of(plan.which)[0].names),
        "together": TOGETHER,
    }


def own_code(names: Sequence[str]) -> dict[str, str]:
    """The hash of the code of augmentations that are not the package's own, by name."""
    return {
        name: fingerprint(augmentations[name])
        for name in names
        if outside(augmentations[name].apply)
    }


FIELDS = ("mean", "variance", "dead", "first", "total", "shapley", "second")


def read(path: Path, names: Sequence[str] | None = None) -> dict[str, Indices]:
    """The indices of modules (default: all) from the file of a scrambling, in double precision."""
    with np.load(path, allow_pickle=False) as file:
        about = json.loads(str(file["told"]))
        found = {}
        for name in about["base"] if names is None else names:
            fields = {
                f: torch.from_numpy(file[f"{name}/{f}"]) for f in FIELDS if f"{name}/{f}" in file
            }
            doubles = {f: v if f == "dead" else v.double() for f, v in fields.items()}
            found[name] = Indices(tuple(about["groups"]), about["base"][name], **doubles)
    return found


def told(path: Path) -> tuple[list[str], dict[str, int]]:
    """The modules in the file of a scrambling, and the number of base points left out, by
    module.
    """
    with np.load(path, allow_pickle=False) as file:
        about = json.loads(str(file["told"]))
    return list(about["base"]), about["lost"]
