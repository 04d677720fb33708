"""A subject: a network with its weights, on images of one dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from probes.subjects.dataset import Dataset
from probes.subjects.spec import Spec

UNTRAINED = "untrained"
"""The name of random weights: ``resnet20:untrained@mnist5k``. They are drawn from the seed of the
subject (default: 0).
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A network with its weights, in eval mode, on images in [0, 1] of one dataset.

    ``spec`` names one training run. ``sha256`` is the hash of the weights, ``code`` that of the
    code that computes with them (see :func:`probes.subjects.code.code_sha256`). ``card`` says how
    the weights came about, if known. ``training`` are training images, if a perturbation needs
    some. ``notes`` are sentences that a reader should know.
    """

    spec: Spec
    model: nn.Module
    data: Dataset
    sha256: str
    weights: str
    code: str = ""
    card: Mapping[str, Any] | None = None
    training: Dataset | None = None
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> dict[str, Any]:
        """The key columns (:data:`probes.table.KEYS`) that name this training run in every
        table."""
        seed = -1 if self.spec.seed is None else int(self.spec.seed)
        return {
            "net": self.spec.net,
            "weights": self.weights,
            "dataset": self.data.title,
            "train_seed": seed,
        }

    @property
    def dataset(self) -> str:
        """The name that its images are loaded by; a dataset may be called otherwise inside."""
        return self.spec.dataset or self.data.name

    @property
    def untrained(self) -> bool:
        """Whether the weights are random because the subject asks for untrained ones."""
        return self.weights == UNTRAINED


def shared_initialisations(subjects: Iterable[Subject]) -> int:
    """From how many initial weights the training runs of one arm began, where several share one
    (fine-tuning, say); 0 where each has its own, or their cards do not tell.

    What such runs have in common is no chance of theirs: a verdict over them says so.
    """
    arms: dict[tuple[str, str], list[str]] = {}
    for s in subjects:
        first = (s.card or {}).get("initial_sha256")
        if first:
            arms.setdefault((s.spec.net, s.weights), []).append(first)
    few = [len(set(found)) for found in arms.values() if len(set(found)) < len(found)]
    return min(few, default=0)
