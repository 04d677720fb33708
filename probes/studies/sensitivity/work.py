"""A network on designed rows of augmented images: what is sampled, and the indices of one
scrambling.
"""

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
from probes.measure.sensitivity import Pairs, Sums
from probes.origin import outside
from probes.perturb.augment import augmentations
from probes.perturb.composed import Augmented
from probes.run import device
from probes.run.cells import ENGINE
from probes.run.forward import common_key
from probes.run.settings import Options
from probes.store import Store
from probes.studies.sensitivity.plan import Plan, Pool
from probes.studies.sensitivity.reader import Reader
from probes.subjects.subject import Subject

TOGETHER = 112
"""Rows that run together at most: eight base points of seven groups."""
ENOUGH = 128
"""From so many base points up no two columns of the sequence fall together: below, A and B may
agree in a switch everywhere.
"""


def together(design: Pairs) -> int:
    """How many base points run together and share an order of the groups: eight, or fewer where
    they have many rows.
    """
    return max(1, min(8, TOGETHER // design.rows))


def blocks(
    design: Pairs, plan: Plan, scrambling: int, *name: str | int
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """The rows of a scrambling, block by block: (rows, n, columns), and the order of their path."""
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
    """One subject under one design: adds blocks of rows to the sums of its modules; ``lost`` fills
    as it goes.

    ``lost`` counts the base points of a scrambling that were left out because an activation was NaN
    or infinite, by module.
    """

    def __init__(
        self,
        subject: Subject,
        parts: Mapping[str, slice],
        augmented: Augmented,
        design: Pairs,
        where: Any,
        minmax: bool = False,
        pooled: bool = False,
    ) -> None:
        super().__init__(subject, parts, where, minmax, pooled)
        self.augmented, self.design = augmented, design
        self.lost: dict[str, int] = {}

    def add(
        self, sums: Mapping[str, Sums], rows: np.ndarray, order: Sequence[int], pool: Pool
    ) -> None:
        """Run a block of rows, (rows, n, columns), and add what the modules give."""
        many, n, columns = rows.shape
        flat, own = rows.reshape(many * n, columns), len(self.augmented.columns)
        with device.exact(self.where.threads):
            x = self.augmented(
                pool(flat[:, own:]), torch.from_numpy(flat[:, :own].astype(np.float32))
            )
        found = self.read(x)
        with device.exact(self.where.threads):
            for name in list(found):
                values = found.pop(name).view(many, n, -1)
                if not bool(
                    values.sum().isfinite()
                ):  # one NaN or infinity makes a sum of either; then each is looked at
                    good = values.isfinite().all(2).all(0)
                    self.lost[name] = self.lost.get(name, 0) + int((~good).sum())
                    values = values[:, good]
                if values.shape[1]:
                    sums[name].add(values, order)


def passes_of(subject: Subject, plan: Plan, parts: Mapping[str, slice], where: Any) -> list[Passes]:
    """The passes of a plan: one, or two for the study's two laws."""
    return [
        Passes(subject, parts, *design, where, plan.minmax, plan.pooled)
        for design in plan.designs(subject.data.channels)
    ]


def scrambling(
    passes: Sequence[Passes],
    plan: Plan,
    number: int,
    pool: Pool,
    tick: Callable[[], object],
    *name: str | int,
) -> dict[str, Indices]:
    """The indices of every module from one scrambling; of the study's two laws, Shapley effects are
    those of the second.

    A module with NaN or infinity in every base point is left out; ProbesError where that is all of
    them.
    """
    found: dict[str, Indices] = {}
    for law, one in enumerate(passes):
        sums = {module: Sums(one.design) for module in one.parts}
        one.lost = {}
        for rows, order in blocks(
            one.design, plan, number, *name, *([f"law {law}"] if law else [])
        ):
            one.add(sums, rows, order, pool)
            tick()
        if not any(s.n for s in sums.values()):
            names = ", ".join(sums)
            raise ProbesError(
                f"{names} of {one.subject.spec} gave NaN or infinity in every base point: there is"
                " nothing to tell"
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
    return found


def _read(sums: Sums, plan: Plan) -> Indices:
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


def key_of(
    subject: Subject, plan: Plan, pool: Pool, parts: Mapping[str, slice], options: Options
) -> dict[str, Any]:
    """What the indices of a scrambling depend on, beside its number."""
    asked = {k: v for k, v in dataclasses.asdict(plan).items() if k not in ("scramblings", "names")}
    return asked | {
        **common_key(subject, options.where),
        "engine": ENGINE,
        "version": 4,
        "images": [part.sha256 for part in pool.parts],
        "own": own_code(Augmented.of(plan.which)[0].names),
        "together": TOGETHER,
        "names": [[name, part.start, part.stop] for name, part in parts.items()],
    }


def own_code(names: Sequence[str]) -> dict[str, str]:
    """The hash of the code of augmentations that are not the package's own, by name."""
    return {
        name: fingerprint(augmentations[name])
        for name in names
        if outside(augmentations[name].apply)
    }


def per_unit(design: Pairs) -> int:
    """About how many bytes a unit needs: sums, mean and spread over scramblings in double, a block
    of rows and its differences.
    """
    many = len(design.groups)
    kept = 6 + 4 * many + (many + math.comb(many, 2)) * design.second
    return 3 * 8 * kept + 4 * together(design) * (design.rows + 2 * many)


def portions(units: Mapping[str, int], each: int, memory: float) -> list[dict[str, slice]]:
    """The units of modules, in portions of at most ``memory`` bytes at ``each`` bytes a unit; a
    module is cut where it must be.

    >>> portions({"a": 3, "b": 5}, each=1, memory=4)
    [{'a': slice(0, 3, None)}, {'b': slice(0, 4, None)}, {'b': slice(4, 5, None)}]
    """
    most = max(1, int(memory / each))
    found: list[dict[str, slice]] = [{}]
    left = most
    for name, many in units.items():
        if many > left and found[-1]:
            found.append({})
            left = most
        for start in range(0, many, most):
            if start:
                found.append({})
                left = most
            found[-1][name] = slice(start, min(start + most, many))
            left -= found[-1][name].stop - start
    return found


FIELDS = ("mean", "variance", "dead", "first", "total", "shapley", "second")


def made(
    store: Store,
    key: Mapping[str, Any],
    passes: Sequence[Passes],
    make: Callable[[], dict[str, Indices]],
) -> tuple[dict[str, Indices], dict[str, int]]:
    """The indices of a scrambling and how many base points were left out, from the store or made
    now (single precision).

    A module that was left out altogether is not among them.
    """

    def write(path: Path) -> None:
        found = make()
        arrays = {}
        for name, one in found.items():
            for field in FIELDS:
                value = getattr(one, field)
                if value is not None:
                    arrays[f"{name}/{field}"] = (
                        value.numpy() if field == "dead" else value.float().numpy()
                    )
        lost: dict[str, int] = {}
        for each in passes:
            lost = {name: lost.get(name, 0) + each.lost.get(name, 0) for name in each.parts}
        told = {
            "groups": next(iter(found.values())).groups,
            "base": {n: one.base for n, one in found.items()},
            "lost": lost,
        }
        with open(path, "wb") as f:
            np.savez(f, told=np.array(json.dumps(told)), **arrays)  # type: ignore[arg-type]

    return read(store.get_or_make("indices", key, ".npz", write))


def read(path: Path) -> tuple[dict[str, Indices], dict[str, int]]:
    """The indices of modules from a file of a scrambling, in double precision, and how many base
    points were left out.
    """
    with np.load(path, allow_pickle=False) as file:
        told = json.loads(str(file["told"]))
        found = {}
        for name, base in told["base"].items():
            fields = {
                f: torch.from_numpy(file[f"{name}/{f}"]) for f in FIELDS if f"{name}/{f}" in file
            }
            doubles = {f: v if f == "dead" else v.double() for f, v in fields.items()}
            found[name] = Indices(tuple(told["groups"]), base, **doubles)
    return found, told["lost"]
