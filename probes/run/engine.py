"""Runs pieces of work: one after the other here, or several at once in other processes
(:mod:`probes.run.engines.processes`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager as ContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from probes import table
from probes.batch import Draw
from probes.holdings import command, planned
from probes.perturb import gaussian
from probes.perturb.protocol import Perturbation
from probes.run.cells import Cell, images_under
from probes.run.engines.progress import progress
from probes.run.work import Place, Work, done
from probes.stacking import stacked
from probes.subjects.dataset import Dataset
from probes.subjects.sending import pixels
from probes.subjects.subject import Subject

Tick = Callable[[Work], object]


class Engine(Protocol):
    """Makes the pieces of work that are not in the store yet."""

    def fill(self, works: Sequence[Work], place: Place, tick: Tick) -> list[Path]:
        """The paths of the results, in the order of the works. ``tick(work)`` is called when a
        result is there.
        """


class Serial:
    """One piece after the other, in this process."""

    def fill(self, works: Sequence[Work], place: Place, tick: Tick) -> list[Path]:
        """The paths of the results, in the order of the works."""
        paths = []
        for work in works:
            paths.append(done(work, place))
            tick(work)
        return paths


def fill(
    works: Sequence[Work],
    place: Place,
    engine: Engine | None = None,
    quiet: bool = False,
    what: str = "probes",
) -> list[Path]:
    """Compute and keep what is not in the store. Returns the path of each result, in order.

    The memory is that of a few batches, however many pieces there are. A bar with rate and
    remaining time is shown on a terminal, a line a minute elsewhere, nothing if ``quiet``. It moves
    within a piece if the piece reports its progress. A plan lies in the store until all pieces do
    (``probes status``).
    """
    store, there = place.store, 0
    pieces = [(work.kind, store.name(work.key(place), work.suffix)) for work in works]
    begun: ContextManager = contextlib.nullcontext()
    if not all((store.folder / kind / name).exists() for kind, name in pieces):
        begun = planned(store, pieces, command())
    with begun, progress(len(works), what, quiet) as shown:

        def tick(work: Work) -> None:
            nonlocal there
            there += 1
            shown.reach(
                there, f"{work.subject} level {work.level:g}" if isinstance(work, Cell) else ""
            )

        place.tell = lambda share: shown.reach(there + share)
        try:
            return (engine or Serial()).fill(works, place, tick)
        finally:
            place.tell = lambda share: None


def run(
    cells: Sequence[Cell], place: Place, engine: Engine | None = None, quiet: bool = False
) -> pd.DataFrame:
    """The table of some cells: :func:`fill`, then what is in the store."""
    order = sorted(range(len(cells)), key=lambda i: _turn(cells[i]))
    filled = fill([cells[i] for i in order], place, engine, quiet)
    paths = [path for _, path in sorted(zip(order, filled, strict=True))]
    subjects = {name: place.subject(name) for name in dict.fromkeys(c.subject for c in cells)}
    known = {name: subject.labels | _clusters(subject) for name, subject in subjects.items()}
    labels = [known[cell.subject] | {"draw": cell.draw} | cell.labels for cell in cells]
    under, data = cells[0].under, subjects[cells[0].subject].data
    keys = [under.column] if under.column else []
    found = stacked(paths, labels, ("net", "weights", "dataset", *keys, *data.clusters))
    found.attrs |= (
        ({"keys": keys} if keys else {})
        | ({"draws": "common"} if under.common else {})
        | ({"clusters": list(data.clusters)} if data.clusters else {})
        | {"classes": len(data.classes)}
    )
    return table.check(found)


def _turn(cell: Cell) -> tuple[Any, ...]:
    """When the turn of a cell is: what is done to an image is done for all networks in a row, since
    it is kept for the next one.
    """
    of_image = cell.under.acts_on == "images"
    return (cell.start, cell.draw, cell.arm, cell.level) if of_image else ()


def _clusters(subject: Subject) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What the images of a subject are nested in, by their ids."""
    ids = subject.data.ids

    def nested(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        found = pd.Series(np.asarray(values), index=ids)
        return lambda images: found.loc[images].to_numpy()

    return {name: nested(values) for name, values in subject.data.clusters.items()}


def examples(data: Dataset, under: Perturbation, seed: int, n: int = 8) -> np.ndarray:
    """The first images of ``n`` different classes at every level: uint8 (levels, n, C, H, W), for a
    picture.
    """
    _, first = np.unique(data.labels, return_index=True)
    chosen = data.take(first[:n] if data.targets is None else np.arange(min(n, len(data))))
    draw = Draw(seed, data.name, 0)
    found = [
        images_under(under, pixels(chosen), chosen.ids, level, draw, data.mean, data.std)
        for level in under.levels
    ]
    return (torch.stack(found).clamp(0, 1) * 255).round().byte().numpy()


def loader(
    data: Dataset, sigma: float, batch_size: int, device: torch.device, seed: int = 0, draw: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of noisy images and their labels on a device. The noise is that of a sweep with this
    seed and draw.

    Raises BadInput for a sigma that is negative, NaN or infinite.
    """
    under = gaussian(*{0.0, float(sigma)})
    for i in range(0, len(data), batch_size):
        part = slice(i, min(i + batch_size, len(data)))
        name = Draw(seed, data.name, draw)
        images = images_under(
            under,
            pixels(data, part, device),
            data.ids[part],
            float(sigma),
            name,
            data.mean,
            data.std,
        )
        yield images, torch.from_numpy(data.labels[part]).to(device)
