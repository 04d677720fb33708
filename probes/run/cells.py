"""A cell: the smallest piece of a sweep. The store keeps cells, so a crash loses at most one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from probes import table
from probes.batch import Batch, Draw
from probes.errors import ProbesError
from probes.fingerprint import key_of
from probes.kept import Kept
from probes.measure.protocol import Measure
from probes.moments import mean_and_variance
from probes.perturb.own import own
from probes.perturb.passing import PICTURES
from probes.perturb.protocol import Pass, Perturbation
from probes.reading import loads
from probes.run.device import cast, exact
from probes.run.forward import Where, network
from probes.run.work import Place, Work
from probes.subjects.sending import evenly, pixels
from probes.subjects.subject import Subject

ENGINE = 2
"""Raise this version when a cell's numbers change for a reason that its key does not show: memory
format, casts, what is measured of the images.
"""
PREPARED = 1000
"""A perturbation finds out what it must know of the clean network on this many images, the first of
a sweep.
"""


@dataclasses.dataclass(frozen=True)
class Cell(Work):
    """One subject, one draw of noise at one level, one run of images (``start`` to ``stop``).
    Frozen and picklable.

    ``run`` is the training seed where it belongs to the name of the noise; ``training_sha256`` is
    of the training images where the perturbation needs them; ``arm`` is what a perturbation with
    several arms calls this one; ``layout`` is the memory layout that the network takes.
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

    kind = "cells"
    suffix = ".parquet"

    @property
    def name(self) -> Draw:
        """The draw of the cell."""
        return Draw(self.seed, self.dataset, self.draw, self.run, self.training_sha256)

    @property
    def common(self) -> dict[str, Any]:
        """What all cells of a subject depend on."""
        return {
            "engine": ENGINE,
            "weights": self.weights_sha256,
            "code": self.code_sha256,
            "images": self.images_sha256,
            "where": self.where.key(),
            "layout": self.layout,
        }

    def key(self, place: Place | None = None) -> dict[str, Any]:
        """What the numbers of this cell depend on, and nothing else."""
        under: dict[str, Any] = {"kind": "clean"}
        if not self.clean:
            drawn = self.under.drawn(self.name) if self.level else {}
            under = self.under.key(self.level) | drawn | key_of(self.under)
        return self.common | {
            "range": [self.start, self.stop],
            "measure": self.measure.key() | key_of(self.measure),
            "under": under,
        }

    @property
    def clean(self) -> bool:
        """Whether it is the clean pass that all claims share. A user's own level 0 is its own."""
        return not self.level and not own(self.under)

    @property
    def labels(self) -> dict[str, Any]:
        """What the table of this cell says of it beside what the store keeps."""
        still = {"sigma_realised": np.float32(0), "mean_shift": np.float32(0)}
        arm = {self.under.column: self.arm} if self.under.column else {}
        return (still if self.clean and self.under.acts_on == "images" else {}) | arm

    def needs(self, place: Place) -> Sequence[Work]:
        """What the perturbation must know of the clean network."""
        return self._asked(place.subject(self.subject).model) if self.level else []

    def _asked(self, model: torch.nn.Module) -> list[Prepared]:
        known = self.under.prepares(model)
        return [] if known is None else [Prepared(self, json.dumps(known, sort_keys=True))]

    def make(self, place: Place, path: Path) -> None:
        """Measure with one forward pass per batch. The noise of an image is drawn once and used at
        every level.
        """
        subject = place.subject(self.subject, self.under.training_images)
        data, where = subject.data, self.where
        if (subject.sha256, data.sha256) != (self.weights_sha256, self.images_sha256):
            raise ProbesError(
                f"{self.subject}: other weights or images lie here than those that were asked for;"
                " they were changed while the work went on"
            )
        net = network(subject, where, place.store)
        # a user's own perturbations and measures are given images on the CPU
        here = torch.device("cpu") if own(self.under) else net.device
        kept: tuple[Any, ...] = (self.weights_sha256, self.code_sha256, self.images_sha256, where)
        found: list[dict[str, np.ndarray]] = []
        with exact(where.threads), cast(net.device, where.precision):
            at = Pass(
                net.model,
                self.level,
                self.name,
                place.kept,
                net.send,
                lambda x: net.model(net.send(x)),
                kept,
                data.mean,
                data.std,
                prepared=self._prepared(place),
                first=lambda: pixels(data, slice(0, 2), here),
                training=lambda: evenly(subject.training, where.batch_size, here),
            )
            with self.measure.open(net.model) as read, self.under.open(at) as forward:

                def run() -> None:
                    for batch in self._batches(place, subject, here):
                        seen = batch.images
                        if self.measure.compares:
                            at.plain(batch.images)
                            read.reference()
                        if self.level or not self.measure.compares:
                            seen = forward(batch)
                        found.append(read(_on_cpu(batch) if own(self.measure) else batch))
                        if self.under.acts_on == "images" and not self.clean:
                            found[-1] |= _realised(seen.to(here) - batch.images)

                # the passes that Prepared makes; a user's own measure may run others beside them
                mine = self.clean and not own(self.measure)
                whole = (self.start, self.stop) == (0, min(PREPARED, len(data)))
                for work in self._asked(net.model) if mine and whole else ():
                    write = partial(work.write, model=net.model, run=run)
                    place.store.get_or_make(work.kind, work.key(place), work.suffix, write)
                if not found:
                    run()
        table.write(_rows(found, data.ids[self.start : self.stop], self), path)

    def _prepared(self, place: Place) -> Any:
        for work in self.needs(place):
            path = place.store.find(work.kind, work.key(place), work.suffix)
            assert path is not None
            return loads(path.read_text(encoding="utf-8"))
        return None

    def _batches(self, place: Place, subject: Subject, here: torch.device) -> Iterator[Batch]:
        data = subject.data
        for i in range(self.start, self.stop, self.where.batch_size):
            part = slice(i, min(i + self.where.batch_size, self.stop))
            if self.under.acts_on == "images":
                images = pixels(data, part, here)
            # the images are the same at every level: the next level finds them here
            else:
                name = ("images", data.sha256, part.start, part.stop, here)
                images = place.kept.get(name, partial(pixels, data, part, here))
            targets = None if data.targets is None else data.targets[part]
            yield Batch(images, data.ids[part], data.labels[part], targets)


@dataclasses.dataclass(frozen=True)
class Prepared(Work):
    """What a perturbation must know of the clean network (the standard deviations of its layers).
    It is found out once per network and images.
    """

    cell: Cell
    asked: str
    kind = "spreads"
    suffix = ".txt"

    def key(self, place: Place) -> dict[str, Any]:
        """The network, its images, and what is asked of them."""
        return self.cell.common | {"dataset": self.cell.dataset, **json.loads(self.asked)}

    def make(self, place: Place, path: Path) -> None:
        """Pass the first images through the clean network."""
        subject, where = place.subject(self.cell.subject), self.cell.where
        net = network(subject, where, place.store)

        def run() -> None:
            size, total = where.batch_size, min(PREPARED, len(subject.data))
            for i in range(0, total, size):
                part = slice(i, min(i + size, total))
                net.model(net.send(pixels(subject.data, part, net.device)))

        with exact(where.threads), cast(net.device, where.precision):
            self.write(path, net.model, run)

    def write(self, path: Path, model: torch.nn.Module, run: Callable[[], object]) -> None:
        """Find it out while ``run`` passes the first images through the clean network."""
        path.write_text(json.dumps(self.cell.under.prepare(model, run)), encoding="utf-8")


def _on_cpu(batch: Batch) -> Batch:
    return dataclasses.replace(batch, images=batch.images.cpu())


def _realised(change: Tensor) -> dict[str, np.ndarray]:
    """The standard deviation and the mean of the change of each image: how much of the nominal
    level is left.
    """
    mean, variance = mean_and_variance(change.flatten(1))
    return {"sigma_realised": variance.sqrt().cpu().numpy(), "mean_shift": mean.cpu().numpy()}


def _rows(found: Sequence[Mapping[str, np.ndarray]], ids: np.ndarray, cell: Cell) -> pd.DataFrame:
    """The table of a cell: the images site by site, with metrics in single precision. Names come
    from the subject.
    """
    sites = [str(site) for site in found[0]["site"]]
    metrics = {
        name: np.concatenate([f[name] for f in found], axis=-1).astype(np.float32)
        for name in found[0]
        if name != "site"
    }
    each = (len(sites), len(ids))
    columns: dict[str, Any] = {
        "net": "",
        "weights": "",
        "dataset": "",
        "train_seed": -1,
        "image": np.tile(ids, len(sites)),
        "draw": cell.draw,
        "level": cell.level,
        "site": pd.Categorical.from_codes(
            np.repeat(np.arange(len(sites)), len(ids)), pd.Index(sites), ordered=True
        ),
    }
    return pd.DataFrame(
        columns
        | {name: np.broadcast_to(values, each).reshape(-1) for name, values in metrics.items()}
    )


def images_under(
    under: Perturbation,
    images: Tensor,
    ids: np.ndarray,
    level: float,
    draw: Draw,
    mean: Sequence[float],
    std: Sequence[float],
    kept: Kept | None = None,
) -> Tensor:
    """The images that a network would see under a perturbation. No network runs."""
    at = Pass(
        torch.nn.Identity(),
        level,
        draw,
        kept or Kept(),
        lambda x: x.clone(),
        lambda x: None,
        PICTURES,
        mean,
        std,
    )
    with under.open(at) as forward:
        return forward(Batch.of(ids, images=images))
