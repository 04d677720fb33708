"""A batch of images at every level of noise, as a piece of work."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from probes.perturb import Gaussian
from probes.run import device
from probes.run.cells import ENGINE
from probes.run.forward import Where, common_key
from probes.run.work import Place, Work
from probes.studies.features.found import Found
from probes.studies.features.passes import passes_over


@dataclasses.dataclass(frozen=True)
class Maps(Work):
    """The results for a batch of a subject's images at every level: a piece of work."""

    subject: str
    layers: tuple[str, ...]
    under: Gaussian
    where: Where
    seed: int
    start: int
    stop: int

    kind = "maps"
    suffix = ".npz"

    def key(self, place: Place) -> dict[str, Any]:
        """What the numbers depend on."""
        return {
            **common_key(place.subject(self.subject), self.where, place.store),
            "engine": ENGINE,
            "maps": 1,
            "layers": list(self.layers),
            "under": [self.under.key(level) for level in self.under.levels],
            "seed": self.seed,
            "range": [self.start, self.stop],
        }

    def make(self, place: Place, path: Path) -> None:
        """Run the batch at every level, and write the results about its maps."""
        subject, batch = place.subject(self.subject), range(self.start, self.stop)
        found = Found(self.layers, self.under.levels)
        with device.exact(self.where.threads):  # what is added up hangs on the threads, too
            passes = passes_over(
                subject, self.layers, self.under, self.where, self.seed, batch, place.tell
            )
            found.add(batch, passes, subject)
        found.save(path)
