"""How the work of a bench is done: by the engine that its options ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from probes.errors import Unfinished
from probes.run import engine
from probes.run.cells import Cell
from probes.run.engines.chosen import engine_of
from probes.run.facts import Facts
from probes.run.sweeping import Sweep
from probes.run.work import Work
from probes.subjects.spec import Spec
from probes.subjects.subject import Subject


class Working(Facts):
    """The part of a bench that has work done."""

    specs: list[Spec]
    _given: bool
    _load_one: Callable[[str], Subject] | None
    _sweeps: list[Sweep]

    @property
    def engine(self) -> engine.Engine:
        """What the options ask for; serial where the networks exist in this process only."""
        alone = self._given and self._load_one is None
        alone |= any(str(spec.net).startswith("__main__:") for spec in self.specs)
        return engine_of(self.options, alone)

    def fill(self, works: Sequence[Work], what: str = "probes") -> list[Path]:
        """Where the results of pieces of work lie, made now where they are not in the store;
        ``what`` stands before the bar.
        """
        return engine.fill(works, self.place, self.engine, self.quiet, what)

    def run(self, cells: Sequence[Cell]) -> pd.DataFrame:
        """The table of some cells, by the engine that the options ask for.

        If it is left unfinished, as asked, the sweeps that were asked for meanwhile are worked on
        too.
        """
        try:
            return engine.run(cells, self.place, self.engine, self.quiet)
        except Unfinished as left:
            for other in self._sweeps:
                if other.cells is not cells:
                    try:
                        engine.fill(other.cells, self.place, self.engine, self.quiet)
                    except Unfinished as e:
                        left += e
            raise left from None
