"""The indices that guide masks: those of a network's units, from its training images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from probes.errors import BadInput, ProbesError
from probes.measure.features import has_places
from probes.measure.indices import Replicates
from probes.registry import unknown
from probes.run.forward import Where
from probes.run.work import Place, done
from probes.studies.sensitivity.indices import spans
from probes.studies.sensitivity.plan import Plan
from probes.studies.sensitivity.reader import default_modules, shapes_of, whole
from probes.studies.sensitivity.source import Source
from probes.studies.sensitivity.work import Scrambling, read, sampling_key
from probes.subjects.subject import Subject

GUIDES = ("first", "total", "shapley")


@dataclasses.dataclass(frozen=True)
class Guide:
    """The indices that guide masks: measure -> module -> an index (variables, *shape), NaN for dead
    units, and the units' magnitude (*shape).

    ``classes`` has the index of the last layer's units, measure -> (variables, classes), if that
    layer was measured.
    """

    variables: tuple[str, ...]
    index: Mapping[str, Mapping[str, np.ndarray]]
    magnitude: Mapping[str, np.ndarray]
    classes: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Guiding:
    """How a guide is made: the indices of a subject's modules with maps and of its last layer, from
    at most 1,000 training images.

    The masked modules are those that a plan names, without the last layer; else those with maps of
    several places.
    """

    subject: str
    plan: Plan
    measures: tuple[str, ...]
    where: Where

    @property
    def source(self) -> Source:
        """The subject on its training images."""
        return Source(self.subject, learnt=True)

    def works(self, place: Place) -> list[Scrambling]:
        """The scramblings of its indices. Raises UnknownName for a measure, BadInput if no module
        has maps.
        """
        for measure in self.measures:
            if measure not in GUIDES:
                raise unknown("measure", measure, GUIDES)
        parts = spans(whole(self._modules(place)[0]))
        return [
            Scrambling(self.source, self.plan, parts, self.where, "guide", number)
            for number in range(self.plan.scramblings or 4)
        ]

    def key(self, place: Place) -> dict[str, Any]:
        """What its indices depend on."""
        augmented, _ = self.plan.designs(self.source.of(place).data.channels)[0]
        return sampling_key(self.source, self.plan, self.where, place) | {
            "scramblings": self.plan.scramblings,
            "augmentations": list(augmented.names),
        }

    def guide(self, place: Place) -> Guide:
        """The indices that guide masks, from the store or sampled now. They are made once in each
        place. Raises ProbesError for a module that gives NaN throughout a scrambling.
        """
        return place.kept.get(self, lambda: self._read(place))

    def _modules(self, place: Place) -> tuple[dict[str, list[int]], str]:
        """The shapes of the measured modules, and the name of the last layer."""
        return place.kept.get(("modules", self), lambda: self._chosen(place.subject(self.subject)))

    def _chosen(self, subject: Subject) -> tuple[dict[str, list[int]], str]:
        names = self.plan.names
        shapes = shapes_of(subject, names or default_modules(subject), self.where)
        maps = [n for n, s in shapes.items() if (len(s) == 3 if names else has_places(s))]
        last = [n for n, s in shapes.items() if s == [len(subject.data.classes)]][-1:]
        if lost := [name for name in names or () if name not in (*maps, *last)]:
            gives = " x ".join(map(str, shapes[lost[0]]))
            raise BadInput(
                f"module {lost[0]!r} of {subject.spec} gives {gives}: masked are modules with"
                " channels, height and width; the last layer is read, too"
            )
        if not maps:
            raise BadInput(
                f"{subject.spec}: none of its modules gives maps; name some with channels, height"
                " and width"
            )
        return {name: shapes[name] for name in [*maps, *last]}, last[0] if last else ""

    def _read(self, place: Place) -> Guide:
        shapes, last = self._modules(place)
        works = self.works(place)
        found = {name: Replicates() for name in shapes}
        for work in works:
            for name, one in read(done(work, place)).items():
                found[name].add(one)
        index: dict[str, dict[str, np.ndarray]] = {measure: {} for measure in self.measures}
        magnitude = {}
        for name, joined in found.items():
            if joined.n < len(works):
                raise ProbesError(
                    f"module {name!r} of {place.subject(self.subject).spec} gives NaN or infinity:"
                    " it has no indices to be masked by"
                )
            for measure in self.measures:
                index[measure][name] = joined.maps(measure, shapes[name])
            mean, variance = joined.estimate("mean").value, joined.estimate("variance").value
            magnitude[name] = (mean**2 + variance).sqrt().numpy().reshape(*shapes[name])
        classes = {measure: of.pop(last) for measure, of in index.items()} if last else {}
        magnitude.pop(last, None)
        return Guide(next(iter(found.values())).groups, index, magnitude, classes)
