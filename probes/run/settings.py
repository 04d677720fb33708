"""What a test or a study leaves open, decided: options, and the summary of a table."""

from __future__ import annotations

import dataclasses
import os
import time
from functools import cached_property

import torch

from probes.errors import BadInput
from probes.registry import unknown
from probes.run import device
from probes.run.forward import Where
from probes.run.options import shard_of
from probes.subjects import data as datasets

PRECISIONS = ("fp32", "bf16")
ENGINES = ("serial", "processes", "ray")
"""How work is done: one piece after the other, several at once in other processes, or on the
machines of a Ray cluster.
"""


@dataclasses.dataclass(frozen=True)
class Options:
    """What a test leaves open. None means "as the test says, else the default".

    ``images`` None means all test images, or as many as the dataset gives a claim; ``precision`` is
    ``fp32`` or ``bf16`` (autocast of convolutions and products, metrics still in double precision);
    ``download`` fetches what is not on this machine and can be fetched. ``engine`` is ``serial``,
    ``processes`` or ``ray``; ``ray_address`` joins a Ray cluster instead of starting one. ``until``
    is the number of images at which a claim is decided at the latest; ``upto`` is that of the
    present look.

    ``shard`` ("3/16") fills that part of the store and stops; ``max_seconds`` ends the work so long
    after these options were made (``began``); ``estimate`` tells what the work would cost;
    ``max_hours`` refuses work that would take longer. Where a table is not whole, the first three
    raise Unfinished, the last one BadInput. ``quiet`` shows no progress.
    """

    images: int | None = None
    levels: tuple[float, ...] | None = None
    draws: int | None = None
    device: str | None = None
    precision: str = "fp32"
    batch_size: int = 250
    threads: int | None = None
    seed: int = 0
    alpha: float = 0.05
    split: datasets.Split = "test"
    download: bool | None = None
    engine: str = "serial"
    jobs: int | None = None
    ray_address: str | None = None
    shard: str | None = None
    max_seconds: float | None = None
    max_hours: float | None = None
    estimate: bool = False
    quiet: bool = False
    began: float = dataclasses.field(default_factory=time.monotonic)
    until: int | None = None
    upto: int | None = None

    def __post_init__(self) -> None:
        for name, low in (
            ("images", 1),
            ("draws", 1),
            ("batch_size", 1),
            ("threads", 1),
            ("seed", 0),
            ("jobs", 1),
            ("until", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < low:
                raise BadInput(
                    f"{name.replace('_', '-')} {value}: allowed are whole numbers from {low} up"
                )
        if self.until is not None and self.images is not None:
            raise BadInput(
                f"images {self.images} and until {self.until}: a claim has a number of images, or"
                " one at which it is decided at the latest"
            )
        for name in ("max_seconds", "max_hours"):
            limit = getattr(self, name)
            if limit is not None and not 0 < limit < float("inf"):
                raise BadInput(f"{name.replace('_', '-')} {limit}: a number above 0")
        if self.shard is not None:
            shard_of(self.shard)
        if not 0 < self.alpha < 0.5:
            raise BadInput(f"alpha {self.alpha}: an error rate between 0 and 0.5")
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.split not in ("train", "test"):
            raise unknown("split", self.split, ("train", "test"))
        if self.engine not in ENGINES:
            raise unknown("engine", self.engine, ENGINES)

    @cached_property
    def where(self) -> Where:
        """Device, precision, threads and batch size, decided."""
        return Where(
            str(device.best_device(self.device)),
            self.precision,
            self.threads or default_threads(self.workers),
            self.batch_size,
        )

    @property
    def workers(self) -> int:
        """The number of processes: 1 under the serial engine, else ``jobs``, or one per core."""
        return 1 if self.engine == "serial" or in_worker() else self.jobs or os.cpu_count() or 1


def in_worker() -> bool:
    """Whether this process is a worker of pytest-xdist. The cores are then already shared among the
    workers.
    """
    return "PYTEST_XDIST_WORKER" in os.environ


def default_threads(jobs: int = 1) -> int:
    """Torch's own number of threads, divided among the workers of pytest-xdist or of an engine."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return max(1, torch.get_num_threads() // (workers * jobs))
