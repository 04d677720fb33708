"""Where masks point: the indices of a network's units, from its training images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from probes.errors import BadInput, ProbesError
from probes.measure.features import has_places
from probes.measure.indices import Replicates
from probes.registry import unknown
from probes.run.settings import Options
from probes.store import Store
from probes.studies.sensitivity import work as scramblings
from probes.studies.sensitivity.plan import Plan
from probes.studies.sensitivity.reader import default_modules, learnt_of, shapes_of, whole
from probes.subjects.subject import Subject

GUIDES = ("first", "total", "shapley")


@dataclasses.dataclass(frozen=True)
class Guide:
    """Where masks point: measure -> module -> an index (variables, *shape), NaN where dead, and the
    units' magnitude (*shape).

    ``classes`` has the index of the last layer's units, measure -> (variables, classes), where that
    layer is among those measured.
    """

    variables: tuple[str, ...]
    index: Mapping[str, Mapping[str, np.ndarray]]
    magnitude: Mapping[str, np.ndarray]
    classes: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def guide_of(
    subject: Subject,
    plan: Plan,
    measures: Sequence[str],
    store: Store,
    options: Options,
    tick: Callable[[], object] = lambda: None,
) -> Guide:
    """The indices of a network's modules from at most 1,000 of its training images: modules with
    maps, and the last layer.

    Masked are the modules that a plan names, without the last layer, else those with maps of
    several places. Raises UnknownName for a measure, BadInput where no module has maps, ProbesError
    for a module that gives NaN throughout a scrambling.
    """
    for measure in measures:
        if measure not in GUIDES:
            raise unknown("measure", measure, GUIDES)
    learnt = learnt_of(subject, store)
    shapes = shapes_of(subject, plan.names or default_modules(subject), options.where)
    maps = [
        name
        for name, shape in shapes.items()
        if (len(shape) == 3 if plan.names else has_places(shape))
    ]
    last = [name for name, shape in shapes.items() if shape == [len(subject.data.classes)]][-1:]
    if lost := [name for name in plan.names or () if name not in (*maps, *last)]:
        gives = " x ".join(map(str, shapes[lost[0]]))
        raise BadInput(
            f"module {lost[0]!r} of {subject.spec} gives {gives}: masked are modules with channels,"
            " height and width; the last layer is read, too"
        )
    if not maps:
        raise BadInput(
            f"{subject.spec}: none of its modules gives maps; name some with channels, height and"
            " width"
        )
    shapes = {name: shapes[name] for name in [*maps, *last]}
    parts = whole(shapes)
    passes, pool = (
        scramblings.passes_of(learnt, plan, parts, options.where),
        plan.pool(learnt.data, store),
    )
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
            raise ProbesError(
                f"module {name!r} of {subject.spec} gives NaN or infinity: it has no indices to be"
                " masked by"
            )
        for measure in measures:
            index[measure][name] = joined.maps(measure, shapes[name])
        mean, variance = joined.estimate("mean").value, joined.estimate("variance").value
        magnitude[name] = (mean**2 + variance).sqrt().numpy().reshape(*shapes[name])
    classes = {measure: of.pop(last[0]) for measure, of in index.items()} if last else {}
    return Guide(
        next(iter(found.values())).groups, index, {name: magnitude[name] for name in maps}, classes
    )
