"""The table that a sweep gives, computed when it is first looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import pandas as pd

from probes.judge.lazytable import LazyTable
from probes.judge.power import Design
from probes.measure.protocol import Measure
from probes.perturb.protocol import Perturbation
from probes.run.cells import Cell
from probes.run.facts import Facts
from probes.subjects.subject import Subject, shared_initialisations


class Sweep(LazyTable):
    """The table that a sweep gives, computed when it is first looked at: one row per image, draw,
    level and site.
    """

    def __init__(
        self,
        lab: Facts,
        cells: Callable[[], Sequence[Cell]],
        subjects: dict[str, Subject],
        design: Design,
        under: Perturbation,
        measure: Measure,
        altered: Sequence[str] = (),
    ) -> None:
        self._lab, self._make, self._subjects, self._measure = lab, cells, subjects, measure
        self.design, self.under, self.altered = design, under, altered
        self.alpha = lab.options.alpha
        self.say = lab.say

    @property
    def subjects(self) -> dict[str, Subject]:
        """The subjects that it is of, by name."""
        return self._subjects

    @cached_property
    def cells(self) -> Sequence[Cell]:
        """The pieces of work: a network is looked at for them (its memory layout is part of their
        keys).
        """
        return self._make()

    def compute(self) -> pd.DataFrame:
        """The table, from the store or computed now."""
        measure = self._measure
        if measure.answers:
            self._lab.refuse_other_classes(self._subjects)
        with self._lab.watched():
            found = self._lab.run(self.cells)
        if measure.answers:
            self._lab.seen_clean(found, self._subjects)
        if measure.floor is not None:
            found.attrs["floor"] = self._lab.floor(self._subjects, measure.floor)
        lacks = [measure.lacks(s.model) for s in self._subjects.values()]
        if any(lacks):
            found.attrs["lacks"] = {name: why for one in lacks for name, why in one.items()}
        if shared := shared_initialisations(self._subjects.values()):
            found.attrs["initial"] = shared
        return found
