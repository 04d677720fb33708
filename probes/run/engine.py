"""Runs cells: one forward pass per batch, the noise of an image drawn once and used at every level."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from probes import table
from probes.errors import Unavailable
from probes.perturb import Gaussian, gaussian
from probes.registry import unknown
from probes.run.cells import Cell
from probes.store import Store
from probes.subjects.data import Dataset
from probes.subjects.pretrained import Subject

BATCHES_PER_CELL = 4
"""Images of a cell, in batches: the noise of so many batches is kept, for the other levels of the same images."""


def best_device(asked: str | None = None) -> torch.device:
    """The device to run on: the one asked for, else cuda, else mps, else cpu.

    Raises UnknownName for a device that torch does not know, Unavailable for one that is not here.

    >>> best_device("cpu")
    device(type='cpu')
    """
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked is None:
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if here[name]))
    kind = asked.partition(":")[0]
    if kind not in here:
        raise unknown("device", asked, here)
    if not here[kind]:
        raise Unavailable(f"device {asked!r} is not on this machine; leave --probes-device out for the best one here")
    return torch.device(asked)


@contextlib.contextmanager
def exact(threads: int) -> Iterator[None]:
    """Inference with a fixed number of threads and without TF32 inside the block; as before after it."""
    before = torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before[1:]


def run(cells: Sequence[Cell], subjects: Mapping[str, Subject], store: Store, quiet: bool = False) -> pd.DataFrame:
    """The table of some cells: those in the store are read, the others are computed and kept, one by one.

    ``subjects`` maps the name of a cell's subject to the subject itself. A bar with the time to go is on the terminal
    while it works, where there is one.
    """
    tables = []
    with tqdm(total=len(cells), desc="probes", unit="cell", disable=True if quiet else None, leave=False) as bar:
        for cell in cells:
            bar.set_postfix_str(f"{cell.subject} level {cell.level:g}")

            def make(path, cell=cell) -> None:
                table.write(_compute(cell, subjects[cell.subject]), path)

            tables.append(table.read(store.get_or_make("cells", cell.key(), ".parquet", make)))
            tables[-1] = tables[-1].assign(**_labels(cell, subjects[cell.subject]))
            bar.update()
    return table.join(tables)


def _labels(cell: Cell, subject: Subject) -> dict:
    spec = subject.spec
    return {"net": spec.net, "weights": subject.weights, "dataset": subject.data.title,
            "train_seed": -1 if spec.seed is None else int(spec.seed), "draw": cell.draw}  # fmt: skip


@lru_cache(maxsize=BATCHES_PER_CELL)
def _noise(under, dataset: str, ids: tuple[int, ...], shape: tuple[int, ...], seed: int, draw: int) -> Tensor:
    return under.noise(dataset, ids, shape, seed, draw)


def batches(
    data: Dataset, start: int, stop: int, size: int, under: Gaussian, level: float, seed: int, draw: int
) -> Iterator[tuple[Tensor, Tensor, slice]]:
    """Clean and noisy images, float32 (N, C, H, W) on the CPU, and their place in the dataset, ``size`` at a time."""
    for i in range(start, stop, size):
        part = slice(i, min(i + size, stop))
        clean = torch.from_numpy(np.array(data.images[part])).float().div_(255)
        images = clean
        if level:
            names = (data.name, tuple(data.ids[part].tolist()), tuple(clean.shape[1:]), seed, draw)
            images = under.apply(clean, _noise(under, *names), level, data.mean, data.std)
        yield clean, images, part


def examples(data: Dataset, under: Gaussian, seed: int, n: int = 8) -> np.ndarray:
    """The first images of ``n`` different classes at every level: uint8 (levels, n, C, H, W), for a picture."""
    _, first = np.unique(data.labels, return_index=True)
    few = dataclasses.replace(data, images=data.images[first[:n]], labels=data.labels[first[:n]], ids=data.ids[first[:n]])
    found = [next(batches(few, 0, len(few), len(few), under, level, seed, 0))[1] for level in under.levels]
    return (torch.stack(found).clamp(0, 1) * 255).round().byte().numpy()


def _compute(cell: Cell, subject: Subject) -> pd.DataFrame:
    where, data = cell.where, subject.data
    device = torch.device(where.device)
    half = torch.autocast(device.type, torch.bfloat16, enabled=where.precision == "bf16")
    model = subject.model.to(device)
    parts = []
    with exact(where.threads), half, cell.measure.open(model) as read:
        work = batches(data, cell.start, cell.stop, where.batch_size, cell.under, cell.level, cell.seed, cell.draw)
        for clean, images, part in work:
            ids = data.ids[part]
            model(images.to(device))
            change = (images - clean).flatten(1).double()
            found = read(ids)
            sites = found.pop("site")
            parts.append(pd.DataFrame({
                "image": np.tile(ids, len(sites)),
                "site": np.repeat(sites, len(ids)),
                **{name: values.reshape(-1).astype(np.float32) for name, values in found.items()},
                "sigma_realised": np.tile(change.std(1, correction=0).numpy().astype(np.float32), len(sites)),
                "mean_shift": np.tile(change.mean(1).numpy().astype(np.float32), len(sites)),
            }))  # fmt: skip
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.assign(net="", weights="", dataset="", train_seed=-1, draw=cell.draw, level=cell.level)
    return rows[[*table.KEYS, *(c for c in rows.columns if c not in table.KEYS)]]


def loader(
    data: Dataset, sigma: float, batch_size: int, device: torch.device, seed: int = 0, draw: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of noisy images and their labels on a device: the same noise as in a sweep with this seed and draw.

    Raises BadInput for a sigma that is negative, NaN or infinite.
    """
    under = gaussian(*{0.0, float(sigma)})
    for _, images, part in batches(data, 0, len(data), batch_size, under, float(sigma), seed, draw):
        yield images.to(device), torch.from_numpy(data.labels[part]).to(device)
