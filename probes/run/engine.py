"""Runs cells: one forward pass per batch, the noise of an image drawn once and used at every level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.func import functional_call
from tqdm import tqdm

from probes import table
from probes.moments import mean_and_variance
from probes.perturb import Gaussian, LayerNoise, WeightNoise, gaussian
from probes.run.cells import Cell
from probes.run.device import cast, exact
from probes.run.forward import network
from probes.run.passes import batches, injected, resumed, spread_of, weights_at
from probes.store import Store
from probes.subjects.dataset import Dataset
from probes.subjects.pretrained import Subject


def run(cells: Sequence[Cell], subjects: Mapping[str, Subject], store: Store, quiet: bool = False) -> pd.DataFrame:
    """The table of some cells: :func:`fill`, then what is in the store."""
    paths = fill(cells, subjects, store, quiet)
    labelled = zip(cells, paths, strict=True)
    frames = [table.read(path).assign(**_labels(cell, subjects[cell.subject])) for cell, path in labelled]
    under = cells[0].under
    if isinstance(under, WeightNoise):
        frames[0].attrs |= {"keys": ["batch_norm"], "draws": "common"}
    elif isinstance(under, LayerNoise):
        frames[0].attrs |= {"keys": ["layer" if under.choice == "each" else "layers"]}
        frames[0].attrs |= {"draws": "common"} if under.choice == "common" else {}
    return table.join(frames)


def fill(cells: Sequence[Cell], subjects: Mapping[str, Subject], store: Store, quiet: bool = False) -> list[Path]:
    """Compute and keep the cells that are not in the store, one by one; where each of them is.

    ``subjects`` maps the name of a cell's subject to the subject itself. Memory is that of a few batches, however many
    cells there are. A bar with the time to go is on the terminal while it works, where there is one.
    """
    paths = []
    with tqdm(total=len(cells), desc="probes", unit="cell", disable=True if quiet else None, leave=False) as bar:
        for cell in cells:
            bar.set_postfix_str(f"{cell.subject} level {cell.level:g}")

            def make(path: Path, cell: Cell = cell) -> None:
                table.write(_compute(cell, subjects[cell.subject], store), path)

            paths.append(store.get_or_make("cells", cell.key(), ".parquet", make))
            bar.update()
    return paths


def _labels(cell: Cell, subject: Subject) -> dict:
    labels = subject.labels | {"draw": cell.draw}
    under = cell.under
    if isinstance(under, WeightNoise):
        return labels | {"batch_norm": under.batch_norm[0]}
    if isinstance(under, LayerNoise):
        return labels | ({"layer": cell.arm} if under.choice == "each" else {"layers": cell.arm})
    return labels


def examples(data: Dataset, under: Gaussian, seed: int, n: int = 8) -> np.ndarray:
    """The first images of ``n`` different classes at every level: uint8 (levels, n, C, H, W), for a picture."""
    _, first = np.unique(data.labels, return_index=True)
    few = data.take(first[:n])
    found = [next(batches(few, 0, len(few), len(few), under, level, seed, 0))[1] for level in under.levels]
    return (torch.stack(found).clamp(0, 1) * 255).round().byte().numpy()


def _compute(cell: Cell, subject: Subject, store: Store) -> pd.DataFrame:
    where, data, measure = cell.where, subject.data, cell.measure
    net = network(subject, where, store)
    model = net.model
    found: list[dict[str, np.ndarray]] = []
    with exact(where.threads), cast(net.device, where.precision):
        weights = weights_at(cell, subject, net)
        spread = spread_of(cell, subject, store, net)
        with measure.open(model) as read:
            work = batches(data, cell.start, cell.stop, where.batch_size, cell.under, cell.level, cell.seed, cell.draw)
            for clean, images, part in work:
                if reference := getattr(read, "reference", None):  # a measure that compares with the clean pass
                    model(net.send(clean))
                    reference()
                if not reference or cell.level:
                    with resumed(cell, net, data.ids[part], images), injected(cell, model, data, part, spread):
                        x = net.send(images)
                        functional_call(model, weights, (x,)) if weights else model(x)
                labels = (data.labels[part],) if getattr(measure, "labelled", False) else ()
                found.append(read(data.ids[part], *labels))
                if isinstance(cell.under, Gaussian):
                    found[-1] |= _realised(images - clean)
    return _rows(found, data.ids[cell.start : cell.stop], cell)


def _realised(change: Tensor) -> dict[str, np.ndarray]:
    """The standard deviation and the mean of what was done to each image: what is left of the nominal level."""
    mean, variance = mean_and_variance(change.flatten(1))
    return {"sigma_realised": variance.sqrt().numpy(), "mean_shift": mean.numpy()}


def _rows(found: Sequence[Mapping[str, np.ndarray]], ids: np.ndarray, cell: Cell) -> pd.DataFrame:
    """The table of a cell: site by site the images, the metrics in single precision; names come with the subject."""
    sites = [str(site) for site in found[0]["site"]]
    metrics = {name: np.concatenate([f[name] for f in found], axis=-1).astype(np.float32) for name in found[0] if name != "site"}
    each = (len(sites), len(ids))
    columns: dict[str, Any] = {
        "net": "", "weights": "", "dataset": "", "train_seed": -1, "image": np.tile(ids, len(sites)),
        "draw": cell.draw, "level": cell.level,
        "site": pd.Categorical.from_codes(np.repeat(np.arange(len(sites)), len(ids)), pd.Index(sites), ordered=True),
    }  # fmt: skip
    return pd.DataFrame(columns | {name: np.broadcast_to(values, each).reshape(-1) for name, values in metrics.items()})


def loader(
    data: Dataset, sigma: float, batch_size: int, device: torch.device, seed: int = 0, draw: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of noisy images and their labels on a device: the same noise as in a sweep with this seed and draw.

    Raises BadInput for a sigma that is negative, NaN or infinite.
    """
    under = gaussian(*{0.0, float(sigma)})
    for _, images, part in batches(data, 0, len(data), batch_size, under, float(sigma), seed, draw):
        yield images.to(device), torch.from_numpy(data.labels[part]).to(device)
