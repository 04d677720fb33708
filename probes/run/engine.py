"""Runs cells: one forward pass per batch, the noise of an image drawn once and used at every level."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from tqdm import tqdm

from probes import table
from probes.errors import Unavailable
from probes.measure.moments import mean_and_variance
from probes.perturb import Gaussian, LayerNoise, WeightNoise, gaussian
from probes.registry import unknown
from probes.run.cells import Cell
from probes.run.passes import batches, injected, layout_of, resumed, spread_of, weights_at
from probes.store import Store
from probes.subjects.data import Dataset
from probes.subjects.pretrained import Subject


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
        raise Unavailable(f"device {asked!r} is not on this machine; leave the option out for the best one here")
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


@contextlib.contextmanager
def cast(device: torch.device, precision: str) -> Iterator[None]:
    """Autocast of convolutions and products to bf16 inside the block, where that precision is asked for.

    On a CPU a convolution whose output is a single position stays in fp32: measured for 128 images, 512 channels and a
    3 x 3 kernel, bf16 takes six times as long there (7.5 ms and 1.2 ms), while it is faster everywhere else.
    """
    if precision != "bf16":
        yield
        return
    with torch.autocast(device.type, torch.bfloat16), _WideWhereNarrow() if device.type == "cpu" else contextlib.nullcontext():
        yield


class _WideWhereNarrow(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv2d and _one_position(*args, **kwargs):
            with torch.autocast("cpu", enabled=False):
                x, *others = args if args else (kwargs["input"],)
                return func(x.float(), *others, **{k: v for k, v in kwargs.items() if k != "input"})
        return func(*args, **kwargs)


def _one_position(
    input: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> bool:
    if isinstance(padding, str) or weight.dtype != torch.float32 or weight[0, 0].numel() == 1:
        return False

    def two(value: Any) -> tuple[int, int]:
        many = (value,) if isinstance(value, int) else tuple(value)
        return many * 2 if len(many) == 1 else many  # type: ignore[return-value]

    geometry = zip(input.shape[-2:], weight.shape[-2:], two(stride), two(padding), two(dilation), strict=True)
    return all((n + 2 * p - d * (k - 1) - 1) // s == 0 for n, k, s, p, d in geometry)


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
    spec = subject.spec
    labels = {"net": spec.net, "weights": subject.weights, "dataset": subject.data.title,
              "train_seed": -1 if spec.seed is None else int(spec.seed), "draw": cell.draw}  # fmt: skip
    under = cell.under
    if isinstance(under, WeightNoise):
        return labels | {"batch_norm": under.batch_norm[0]}
    if isinstance(under, LayerNoise):
        return labels | ({"layer": cell.arm} if under.choice == "each" else {"layers": cell.arm})
    return labels


def examples(data: Dataset, under: Gaussian, seed: int, n: int = 8) -> np.ndarray:
    """The first images of ``n`` different classes at every level: uint8 (levels, n, C, H, W), for a picture."""
    _, first = np.unique(data.labels, return_index=True)
    few = dataclasses.replace(data, images=data.images[first[:n]], labels=data.labels[first[:n]], ids=data.ids[first[:n]])
    found = [next(batches(few, 0, len(few), len(few), under, level, seed, 0))[1] for level in under.levels]
    return (torch.stack(found).clamp(0, 1) * 255).round().byte().numpy()


def _compute(cell: Cell, subject: Subject, store: Store) -> pd.DataFrame:
    where, data, measure = cell.where, subject.data, cell.measure
    device = torch.device(where.device)
    model = subject.model.to(device)
    layout = layout_of(model)
    model = model.to(memory_format=layout)
    found: list[dict[str, np.ndarray]] = []
    with exact(where.threads), cast(device, where.precision):
        weights = weights_at(cell, subject, device)
        spread = spread_of(cell, subject, store)
        with measure.open(model) as read:
            work = batches(data, cell.start, cell.stop, where.batch_size, cell.under, cell.level, cell.seed, cell.draw)
            for clean, images, part in work:
                if reference := getattr(read, "reference", None):  # a measure that compares with the clean pass
                    model(clean.to(device, memory_format=layout))
                    reference()
                if not reference or cell.level:
                    x = images.to(device, memory_format=layout)
                    with resumed(cell, model, data.ids[part], x), injected(cell, model, data, part, spread):
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
