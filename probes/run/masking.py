"""Guided masks: the units that an index points at, and beside them as many at random, or at random of the same magnitudes.

The index is measured on training images, since masks are tested on others. Every module is masked at once, the same share of each,
or one alone. A random mask is one draw for all images, all variables and all indices, so draws are crossed with images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from probes.errors import BadInput, ProbesError
from probes.measure.features import has_places
from probes.measure.sensitivity import Replicates
from probes.perturb.masks import at_random, largest, matched, scaled
from probes.registry import unknown
from probes.run import scramblings
from probes.run.readers import default_modules, shapes_of, whole
from probes.run.scramblings import Plan
from probes.run.settings import Options
from probes.store import Store
from probes.subjects import data as datasets
from probes.subjects.pretrained import Subject

KINDS = ("none", "guided", "random", "matched", "full", "inverse")
GUIDES = ("first", "total", "shapley")
LEARNT = 1000
"""Training images at most that an index is measured on."""


@dataclasses.dataclass(frozen=True)
class Guide:
    """Where masks point: measure -> module -> an index (variables, *shape), NaN where dead, and the units' magnitude (*shape).

    ``classes`` has the index of the last layer's units, measure -> (variables, classes), where that layer is among those measured.
    """

    variables: tuple[str, ...]
    index: Mapping[str, Mapping[str, np.ndarray]]
    magnitude: Mapping[str, np.ndarray]
    classes: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Mask:
    """One mask: ``kind`` of :data:`KINDS`, the ``variable`` and ``measure`` that guide it, ``q``, ``alpha``, its draw and module.

    ``guided`` scales the units beyond the quantile ``q`` of the index by ``alpha``, ``random`` as many at random, ``matched`` as
    many of each magnitude; ``full`` scales every unit by its index, ``inverse`` by one less its index, both cut to 0 and 1.
    ``module`` is the one that is masked; without a name all are.
    """

    kind: str = "none"
    variable: str = ""
    q: float = 0.8
    alpha: float = 0.0
    draw: int = 0
    measure: str = "total"
    module: str = ""

    def scales(self, guide: Guide) -> dict[str, Tensor]:
        """The factors of units, by module. Raises UnknownName for a kind, variable, measure or module, BadInput for q and alpha."""
        if self.kind not in KINDS:
            raise unknown("kind of mask", self.kind, KINDS)
        if self.kind == "none":
            return {}
        if self.module and self.module not in guide.magnitude:
            raise unknown("module of a mask", self.module, guide.magnitude)
        if self.kind != "random" and self.variable not in guide.variables:
            raise unknown("variable of the indices", self.variable, guide.variables)
        if self.kind != "random" and self.measure not in guide.index:
            raise unknown("measure", self.measure, guide.index)
        return {name: self._named(name, guide) for name in ([self.module] if self.module else guide.magnitude)}

    def _named(self, name: str, guide: Guide) -> Tensor:
        try:
            return self._of(name, guide)
        except BadInput as e:
            of = f", {self.measure} index of {self.variable}" if self.variable else ""
            raise BadInput(f"module {name!r}{of}: {e}") from None

    def _of(self, name: str, guide: Guide) -> Tensor:
        if self.kind == "random":
            return scaled(at_random(guide.magnitude[name].shape, self.q, name, self.draw), self.alpha)
        index = guide.index[self.measure][name][guide.variables.index(self.variable)]
        if self.kind in ("full", "inverse"):
            share = torch.from_numpy(np.nan_to_num(index).clip(0, 1)).float()
            return share if self.kind == "full" else 1 - share
        chosen = largest(index, self.q, name, self.variable)
        if self.kind == "matched":
            chosen = matched(chosen, guide.magnitude[name], name, self.variable, self.draw)
        return scaled(chosen, self.alpha)


def guide_of(
    subject: Subject, plan: Plan, measures: Sequence[str], store: Store, options: Options, tick: Callable[[], object] = lambda: None
) -> Guide:
    """The indices of a network's modules from at most 1,000 of its training images: modules with maps, and the last layer.

    Masked are the modules that a plan names, without the last layer, else those with maps of several places. Raises UnknownName for
    a measure, BadInput where no module has maps, ProbesError for a module that gives NaN throughout a scrambling.
    """
    for measure in measures:
        if measure not in GUIDES:
            raise unknown("measure", measure, GUIDES)
    learnt = learnt_of(subject, store)
    shapes = shapes_of(subject, plan.names or default_modules(subject), options.where)
    maps = [name for name, shape in shapes.items() if (len(shape) == 3 if plan.names else has_places(shape))]
    last = [name for name, shape in shapes.items() if shape == [len(subject.data.classes)]][-1:]
    if lost := [name for name in plan.names or () if name not in (*maps, *last)]:
        gives = " x ".join(map(str, shapes[lost[0]]))
        raise BadInput(f"module {lost[0]!r} of {subject.spec} gives {gives}: masked are modules with channels, height and width;"
                       " the last layer is read, too")  # fmt: skip
    if not maps:
        raise BadInput(f"{subject.spec}: none of its modules gives maps; name some with channels, height and width")
    shapes = {name: shapes[name] for name in [*maps, *last]}
    parts = whole(shapes)
    passes, pool = scramblings.passes_of(learnt, plan, parts, options.where), plan.pool(learnt.data, store)
    key = scramblings.key_of(learnt, plan, pool, parts, options)
    found = {name: Replicates() for name in parts}
    for number in range(plan.scramblings or 4):
        make = partial(scramblings.scrambling, passes, plan, number, pool, tick, "guide")
        for name, one in scramblings.made(store, key | {"guide": number}, passes, make)[0].items():
            found[name].add(one)
    index: dict[str, dict[str, np.ndarray]] = {measure: {} for measure in measures}
    magnitude = {}
    for name, joined in found.items():
        if joined.n < (plan.scramblings or 4):
            raise ProbesError(f"module {name!r} of {subject.spec} gives NaN or infinity: it has no indices to be masked by")
        for measure in measures:
            index[measure][name] = joined.maps(measure, shapes[name])
        mean, variance = joined.estimate("mean").value, joined.estimate("variance").value
        magnitude[name] = (mean**2 + variance).sqrt().numpy().reshape(*shapes[name])
    classes = {measure: of.pop(last[0]) for measure, of in index.items()} if last else {}
    return Guide(next(iter(found.values())).groups, index, {name: magnitude[name] for name in maps}, classes)


def learnt_of(subject: Subject, store: Store) -> Subject:
    """A subject with the training images that its indices are measured on."""
    data = datasets.load(subject.data.name, "train", store)
    return dataclasses.replace(subject, data=data.sample(min(LEARNT, len(data))))
