"""Runs pieces of work: one after the other here, or several at once in other processes
(:mod:`probes.run.pools`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from probes import table
from probes.batch import Draw
from probes.perturb import gaussian
from probes.perturb.protocol import Perturbation
from probes.run.cells import Cell, images_under
from probes.run.work import Place, Work, done
from probes.subjects.dataset import Dataset
from probes.subjects.sending import pixels

Tick = Callable[[Work], object]
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total} [{elapsed}<{remaining}{postfix}]"


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

    The memory is that of a few batches, however many pieces there are. A bar with the remaining
    time is shown on a terminal. It moves within a piece if the piece reports its progress.
    """
    there = 0
    with tqdm(
        total=len(works),
        desc=what,
        unit="piece",
        bar_format=BAR,
        disable=True if quiet else None,
        leave=False,
    ) as bar:

        def tick(work: Work) -> None:
            nonlocal there
            if isinstance(work, Cell):
                bar.set_postfix_str(f"{work.subject} level {work.level:g}")
            there += 1
            bar.update(there - bar.n)

        place.tell = lambda share: bar.update(max(0, there + share - bar.n))
        try:
            return (engine or Serial()).fill(works, place, tick)
        finally:
            place.tell = lambda share: None


def run(
    cells: Sequence[Cell], place: Place, engine: Engine | None = None, quiet: bool = False
) -> pd.DataFrame:
    """The table of some cells: :func:`fill`, then what is in the store."""
    frames = [
        _labelled(cell, place, path)
        for cell, path in zip(cells, fill(cells, place, engine, quiet), strict=True)
    ]
    under, data = cells[0].under, place.subject(cells[0].subject).data
    frames[0].attrs |= (
        ({"keys": [under.column]} if under.column else {})
        | ({"draws": "common"} if under.common else {})
        | ({"clusters": list(data.clusters)} if data.clusters else {})
        | {"classes": len(data.classes)}
    )
    return table.join(frames)


def _labelled(cell: Cell, place: Place, path: Path) -> pd.DataFrame:
    subject = place.subject(cell.subject)
    labels = subject.labels | {"draw": cell.draw}
    found = table.read(path).assign(**labels, **cell.labels)
    for name, values in subject.data.clusters.items():
        found[name] = found["image"].map(dict(zip(subject.data.ids, values, strict=True)))
    return found


def examples(data: Dataset, under: Perturbation, seed: int, n: int = 8) -> np.ndarray:
    """The first images of ``n`` different classes at every level: uint8 (levels, n, C, H, W), for a
    picture.
    """
    _, first = np.unique(data.labels, return_index=True)
    chosen = data.take(first[:n])
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
