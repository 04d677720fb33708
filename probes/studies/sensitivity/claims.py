"""Sensitivity as a table for claims: numbers about the units of a module, one row per disjoint
random group of images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from probes import seeds, table
from probes.errors import BadInput
from probes.judge.lazytable import LazyTable
from probes.judge.power import Design
from probes.measure.features import has_places
from probes.measure.indices import Indices
from probes.perturb.composed import ORDER
from probes.ranks import ranked
from probes.studies.sensitivity.indexstats import classify_maps
from probes.studies.sensitivity.indices import spans
from probes.studies.sensitivity.plan import IMAGE, Plan
from probes.studies.sensitivity.reader import default_modules, shapes_of, whole
from probes.studies.sensitivity.source import Source
from probes.studies.sensitivity.work import Scrambling, read

if TYPE_CHECKING:
    from probes.run.bench import Bench

OTHERS = (ORDER, IMAGE)
"""Groups of factors that are not augmentations."""
FOLDS = 5
NULLS = 4
"""The number of label permutations. Their mean accuracy is the chance level; by symmetry it is near
that of guessing.
"""


def specialisation(one: Indices, *name: str | int) -> float:
    """The mean largest share of a unit, minus the same mean after each augmentation's shares are
    shuffled across units.

    Shares are Shapley effects of augmentations with negative ones set to 0, scaled to sum to 1 for
    each unit. Shuffling keeps the distribution of each augmentation's effects and removes any tie
    between them.
    """
    shares = _shares(one)
    if not len(shares):
        return 0.0
    mixed = np.stack(
        [
            column[seeds.permutation(len(column), "mixed", j, *name)]
            for j, column in enumerate(shares.T)
        ],
        1,
    )
    return float(_largest(shares) - _largest(mixed))


def _augmentations(one: Indices) -> list[int]:
    return [i for i, g in enumerate(one.groups) if g not in OTHERS]


def _shares(one: Indices) -> np.ndarray:
    """Shapley effects of the augmentations, (units that are not dead, augmentations), with negative
    ones set to 0.
    """
    assert one.shapley is not None
    return one.shapley[_augmentations(one)][:, ~one.dead].numpy().clip(min=0).T


def _largest(shares: np.ndarray) -> float:
    total = shares.sum(1)
    some = total > 0
    return float((shares[some].max(1) / total[some]).mean()) if some.any() else 0.0


def agreement(one: Indices) -> float:
    """Spearman's rho between a unit's total indices and its Shapley effects over the augmentations,
    averaged over units.

    Integration errors perturb the ranks. With few base points rho is therefore below that of the
    exact indices, in every group of images alike: a lower bound. (ResNet-20 on digits, layer1: .85
    with 128 base points, .95 with 1,024.)
    """
    assert one.shapley is not None
    which = _augmentations(one)
    a, b = (ranked(t[which][:, ~one.dead].numpy().T) for t in (one.total, one.shapley))
    return float((a * b).sum(1).mean()) if a.size else 0.0


def composition(one: Indices) -> np.ndarray:
    """The mean share of each augmentation over the units of a module. The shares sum to 1."""
    shares = _shares(one)
    total = shares.sum()
    return shares.sum(0) / total if total > 0 else np.full(shares.shape[1], 1 / shares.shape[1])


def squared_distances(differences: np.ndarray) -> np.ndarray:
    """The squared length of a mean difference, (groups, dimensions) -> a number for each group,
    without the bias of its noise.

    It is the inner product of the differences of two groups, the mean over all pairs: 0 where there
    is none, where the plug-in is the variance. Each group has its jackknife pseudo-value (Tukey
    1958), whose mean over groups is that estimate exactly.

    >>> x = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, -1.0]])
    >>> round(float(squared_distances(x).mean()), 12)  # (1 * 1 + ...) and (0 * 1 + ...) over pairs
    0.666666666667
    """
    n = len(differences)
    with_others = (differences * (differences.sum(0) - differences)).sum(1)
    every = with_others.sum() / (n * (n - 1))
    without = (with_others.sum() - 2 * with_others) / ((n - 1) * (n - 2))
    return n * every - (n - 1) * without


def rows_of(found: list[dict[str, Indices]]) -> pd.DataFrame:
    """A row per group of images and module: ``index_peak``, ``index_rho``, ``index_shift``.

    ``index_peak``: :func:`specialisation`. ``index_rho``: :func:`agreement`. ``index_shift``: the
    :func:`squared_distances` between the compositions of this and of the first module. Raises
    BadInput for fewer than three groups.
    """
    if len(found) < 3:
        raise BadInput(f"{len(found)} groups of images: a distance between indices needs three")
    mixes = {name: np.stack([composition(group[name]) for group in found]) for name in found[0]}
    first = next(iter(mixes.values()))
    shifts = {name: squared_distances(mix - first) for name, mix in mixes.items()}
    rows = []
    for g, group in enumerate(found):
        for name, one in group.items():
            rows.append(
                (g, name, specialisation(one, g, name), agreement(one), float(shifts[name][g]))
            )
    return pd.DataFrame(rows, columns=["image", "site", "index_peak", "index_rho", "index_shift"])


def maps_of(one: Indices, shape: Sequence[int]) -> np.ndarray:
    """The maps of total indices of a module, (augmentations, channels, H, W). A dead unit, which
    nothing moves, has 0 in each map.
    """
    maps = one.total[_augmentations(one)].reshape(-1, *shape).numpy()
    return np.where(one.dead.reshape(*shape).numpy(), 0.0, maps)


def rows_of_maps(
    found: list[dict[str, Indices]], shapes: Mapping[str, Sequence[int]]
) -> pd.DataFrame:
    """A row per group of images and module with maps: ``index_named`` and ``index_pattern``.

    ``index_named`` is the accuracy of a discriminant analysis of the maps
    (:func:`probes.studies.sensitivity.indexstats.classify_maps`), minus the mean accuracy for 4
    permutations of the labels within channels. ``index_pattern`` is the same for maps without their
    level: minus their mean, and scaled to one size.
    """
    rows = []
    for g, group in enumerate(found):
        for name, shape in shapes.items():
            maps = maps_of(group[name], shape)
            flat = maps - maps.mean((2, 3), keepdims=True)
            size = np.sqrt((flat**2).sum((2, 3), keepdims=True))
            patterns = np.divide(flat, size, out=np.zeros_like(flat), where=size > 0)
            names = np.array([group[name].groups[i] for i in _augmentations(group[name])])
            some = (size > 0).any(
                (1, 2, 3)
                # an augmentation that moves no unit has no pattern
            )
            rows.append(
                (
                    g,
                    name,
                    _beyond(maps, names, g, name),
                    _beyond(patterns[some], names[some], g, name),
                )
            )
    return pd.DataFrame(rows, columns=["image", "site", "index_named", "index_pattern"])


def _beyond(maps: np.ndarray, names: np.ndarray, group: int, module: str) -> float:
    """The accuracy of classifying maps, minus that for permuted labels. It is 0 if there are fewer
    than two kinds of maps, or if nothing differs.
    """
    if len(maps) < 2 or np.ptp(maps) == 0:
        return 0.0
    one = classify_maps(maps, tuple(names.tolist()), group, module, repeats=1, permutations=NULLS)
    return one.accuracy - float(one.null.mean())


class Sensed(LazyTable):
    """The table of ``lab.sensitivity``, computed when it is first looked at; see
    :class:`probes.judge.lazytable.LazyTable`.

    With ``maps`` it is about the maps of modules that have maps (:func:`rows_of_maps`), else about
    units (:func:`rows_of`).
    """

    def __init__(self, lab: Bench, plan: Plan, groups: int, maps: bool = False) -> None:
        self._lab, self._plan, self._groups = lab, plan, groups
        self.alpha, self.say = lab.options.alpha, lab.say
        self._work, told = [], ""
        for name_of, subject in lab.subjects.items():
            names = plan.names or default_modules(subject)
            shapes = shapes_of(subject, names, lab.options.where)
            kept = (
                {name: shape for name, shape in shapes.items() if has_places(shape)} if maps else {}
            )
            if maps and not kept:
                raise BadInput(
                    f"{subject.spec}: none of {', '.join(names)} gives maps of several places"
                )
            if few := [name for name, shape in kept.items() if shape[0] < FOLDS]:
                raise BadInput(
                    f"{subject.spec}: {few[0]} has {kept[few[0]][0]} channels for {FOLDS} folds of"
                    " whole channels"
                )
            augmented, _ = plan.designs(subject.data.channels)[0]
            self._work.append((name_of, shapes, tuple(kept) or names, kept))
            told = told or (
                f"{', '.join(augmented.names)}: {groups} groups of images, {plan.rows} base points"
                " each"
            )
        first, (_, _, names, _) = next(iter(lab.subjects.values())).data, self._work[0]
        self.design = Design(
            dataset=first.title,
            images=len(first),
            images_sha256=first.sha256,
            draws=1,
            seed=lab.options.seed,
            levels=(0.0,),
            runs=tuple(sorted((s.spec.net, 1) for s in lab.subjects.values())),
            perturbation=f"augmentations {told}",
            clamp=False,
            space="augmentations",
            precision=lab.options.precision,
            split=lab.options.split,
            sites=len(names),
            varied="augmentation",
            description=f"Augmentations {told}",
        )

    @property
    def sites(self) -> tuple[str, ...]:
        """The modules of the table, in the order of the network."""
        return tuple(self._work[0][2])

    def compute(self) -> pd.DataFrame:
        """The table: a row per subject, group of images (in the column ``image``) and module."""
        with self._lab.watched():
            return table.join([self._of(*one) for one in self._work])

    def _of(
        self,
        name: str,
        shapes: Mapping[str, Sequence[int]],
        sites: tuple[str, ...],
        maps: Mapping[str, Sequence[int]],
    ) -> pd.DataFrame:
        plan = dataclasses.replace(self._plan, seed=self._lab.options.seed)
        parts, where = spans(whole(shapes)), self._lab.options.where
        works = [
            Scrambling(Source(name, group=(g, self._groups)), plan, parts, where, "groups", g)
            for g in range(self._groups)
        ]
        found = [read(path) for path in self._lab.fill(works, "groups of images")]
        rows = rows_of_maps(found, maps) if maps else rows_of(found)
        out = rows.assign(
            **self._lab.subjects[name].labels,
            draw=0,
            level=0.0,
            site=pd.Categorical(rows["site"], list(sites), ordered=True),
        )
        out.attrs["groups"] = True
        return out
