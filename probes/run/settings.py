"""What a test or a study leaves open, decided: options, and the summary of a table."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import torch

from probes.errors import BadInput
from probes.registry import unknown
from probes.run import device
from probes.run.forward import Where, network
from probes.run.options import shard_of
from probes.store import Store
from probes.subjects import data as datasets
from probes.subjects.sending import pixels
from probes.subjects.subject import Subject

AUTO = "auto"
BATCH = 250
START = {"cpu": BATCH}
"""The number of images that ``auto`` tries first, by the kind of device."""
MOST = 2048
"""The same on any other kind."""
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
    ``batch_size`` ``auto`` is found by trying (:func:`sized`), once there are networks;
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
    batch_size: int | str = BATCH
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
            if name == "batch_size" and value == AUTO:
                continue
            if value is not None and (isinstance(value, str) or value < low):
                auto = ", or auto" if name == "batch_size" else ""
                raise BadInput(
                    f"{name.replace('_', '-')} {value}: allowed are whole numbers from {low} up"
                    f"{auto}"
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
        """Device, precision, threads and batch size, decided; 250 for one that was not found
        yet.
        """
        return Where(
            str(device.best_device(self.device)),
            self.precision,
            self.threads or default_threads(self.workers),
            BATCH if isinstance(self.batch_size, str) else self.batch_size,
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


def sized(
    options: Options, subjects: Mapping[str, Subject], store: Store, say: Callable[[str], None]
) -> Options:
    """The options with a batch size that is a number: where it is ``auto``, the one at which a pass
    of the largest network fits, beside what a sweep holds (images, noise, noisy images).

    It begins at 250 images on a CPU, at 2,048 elsewhere, or at all there are, and is halved as long
    as memory is lacking. It is told, and kept in the store: the next run takes the same number, and
    finds its results. Raises Unavailable if not even one image fits.
    """
    if options.batch_size != AUTO or not subjects:
        return options
    largest = max(subjects.values(), key=lambda s: sum(p.numel() for p in s.model.parameters()))
    where, data = options.where, largest.data
    kind = torch.device(where.device).type
    start = min(START.get(kind, MOST), len(data))
    key = {
        "kind": "batch size",
        "version": 1,
        "weights": largest.sha256,
        "code": largest.code,
        "shape": list(data.images.shape[1:]),
        "start": start,
        "where": {name: getattr(where, name) for name in ("device", "precision", "threads")},
        "card": device.card(where.device),
    }

    def passes(n: int) -> None:
        net = network(largest, dataclasses.replace(where, batch_size=n), store)
        images = pixels(data, slice(0, n), net.device)
        with device.exact(where.threads), device.cast(net.device, where.precision):
            held = images, images.clone(), images.clone()
            net.model(net.send(held[-1]))

    def make(path: Path) -> None:
        path.write_text(str(device.largest_that_fits(passes, start)), encoding="utf-8")

    found = int(store.get_or_make("batches", key, ".txt", make).read_text(encoding="utf-8"))
    halved = f", after {start} had not enough memory" if found < start else ""
    say(f"batch size {found}: found by trying {largest.spec} on {where.device}{halved}")
    return dataclasses.replace(options, batch_size=found)


def default_threads(jobs: int = 1) -> int:
    """Torch's own number of threads, divided among the workers of pytest-xdist or of an engine."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return max(1, torch.get_num_threads() // (workers * jobs))
