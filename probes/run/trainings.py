"""A training run as a piece of work, so that the seeds of a network train side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from probes.run.work import Place, Work
from probes.subjects import training
from probes.subjects.recipes import Recipe


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """A network trained on a dataset with a seed; its result lies where :func:`probes.subjects.training.train` finds it."""

    net: str
    dataset: str
    seed: int
    recipe: Recipe | None = None

    kind = "weights"
    suffix = ".safetensors"

    def key(self, place: Place) -> dict[str, Any]:
        """The network's code, the images, the seed and the recipe."""
        return self._run(place).key

    def needs(self, place: Place) -> Sequence[Work]:
        """Nothing."""
        return []

    def make(self, place: Place, path: Path) -> dict[str, Any]:
        """Train, going on from the last finished epoch; the card is the note of the result."""
        return self._run(place).make(path, lambda _: None)

    def _run(self, place: Place) -> training.Run:
        return training.run_of(self.net, self.dataset, self.seed, place.store, self.recipe)
