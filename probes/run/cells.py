"""A cell: the smallest piece of a sweep, that a crash may lose and that the store keeps."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import torch

from probes.fingerprint import key_of
from probes.perturb import Gaussian, LayerNoise, WeightNoise

ENGINE = 2
"""The version of what lies between a cell and its numbers: memory format, casts, what is measured of the images."""


Perturbation = Gaussian | WeightNoise | LayerNoise


class Measure(Protocol):
    """What a sweep measures: see :class:`probes.measure.BlockMetrics` for the contract of ``open``."""

    name: str

    def key(self) -> dict: ...

    def count(self, model: torch.nn.Module) -> int: ...

    def open(self, model: torch.nn.Module) -> Any: ...


@dataclasses.dataclass(frozen=True)
class Where:
    """Where cells run: what changes the last bits of a result, and so is part of every key."""

    device: str = "cpu"
    precision: str = "fp32"
    threads: int = 1
    batch_size: int = 250


@dataclasses.dataclass(frozen=True)
class Cell:
    """One subject, one draw of noise at one level, one run of images (``start`` to ``stop``). Frozen and picklable.

    ``run`` is the training seed where it belongs to the name of the noise; ``training_sha256`` is of the training images where
    the perturbation needs them; ``arm`` is what a perturbation with several arms calls this one; ``layout`` is the memory layout
    that the network takes.
    """

    subject: str
    weights_sha256: str
    code_sha256: str
    images_sha256: str
    dataset: str
    measure: Measure
    under: Perturbation
    level: float
    draw: int
    seed: int
    start: int
    stop: int
    where: Where
    run: int | None = None
    training_sha256: str = ""
    arm: str = ""
    layout: str = "contiguous"

    def key(self) -> dict[str, Any]:
        """What the numbers of this cell depend on, and nothing else."""
        under = self.under.key(self.level)
        drawn: dict[str, Any] = {"draw": self.draw, "seed": self.seed}
        drawn |= {"run": self.run} if isinstance(self.under, WeightNoise) else {"dataset": self.dataset}
        drawn |= {"training": self.training_sha256} if self.training_sha256 else {}
        return {
            "engine": ENGINE,
            "weights": self.weights_sha256,
            "code": self.code_sha256,
            "images": self.images_sha256,
            "range": [self.start, self.stop],
            "measure": self.measure.key() | key_of(self.measure),
            "under": under | (drawn if self.level else {}) | key_of(self.under),
            "where": dataclasses.asdict(self.where),
            "layout": self.layout,
        }
