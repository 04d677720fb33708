"""Runs cells: one forward pass per batch, the noise of an image drawn once and used at every level."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from tqdm import tqdm

from probes import table
from probes.errors import Unavailable
from probes.hooks import Prefix
from probes.measure.moments import mean_and_variance
from probes.measure.spread import layer_spread
from probes.perturb import Gaussian, LayerNoise, WeightNoise, gaussian, inject
from probes.perturb.outputs import Injected, layers_of
from probes.perturb.weights import re_estimated
from probes.registry import unknown
from probes.run.cells import Cell, Perturbation
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


@lru_cache(maxsize=BATCHES_PER_CELL)
def _noise(under, dataset: str, ids: tuple[int, ...], shape: tuple[int, ...], seed: int, draw: int) -> Tensor:
    return under.noise(dataset, ids, shape, seed, draw)


def batches(
    data: Dataset, start: int, stop: int, size: int, under: Perturbation, level: float, seed: int, draw: int
) -> Iterator[tuple[Tensor, Tensor, slice]]:
    """Clean and noisy images, float32 (N, C, H, W) on the CPU, and their place in the dataset, ``size`` at a time.

    Both are the same where the perturbation is not one of images.
    """
    for i in range(start, stop, size):
        part = slice(i, min(i + size, stop))
        clean = _pixels(data, part) if isinstance(under, Gaussian) else _kept(data, part)
        images = clean
        if level and isinstance(under, Gaussian):
            names = (data.name, tuple(data.ids[part].tolist()), tuple(clean.shape[1:]), seed, draw)
            images = under.apply(clean, _noise(under, *names), level, data.mean, data.std)
        yield clean, images, part


def _pixels(data: Dataset, part: slice) -> Tensor:
    return torch.from_numpy(np.array(data.images[part])).float().div_(255)


_images: dict[tuple, Tensor] = {}
KEPT = 200_000_000
"""Bytes of images in floating point that are kept from cell to cell, where the images are the same in every cell."""


def _kept(data: Dataset, part: slice) -> Tensor:
    """As :func:`_pixels`; kept, as long as there is room, for the next strength of weight noise on the same images."""
    name = (data.sha256, part.start, part.stop)
    if name not in _images:
        if any(key[0] != data.sha256 for key in _images):
            _images.clear()
        pixels = _pixels(data, part)
        if sum(t.nbytes for t in _images.values()) + pixels.nbytes > KEPT:
            return pixels
        _images[name] = pixels
    return _images[name]


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
    maps = any(isinstance(m, nn.Conv2d) for m in model.modules())
    layout = torch.channels_last if maps else torch.contiguous_format  # faster on nearly every map, most in bf16
    model = model.to(memory_format=layout)
    found: list[dict[str, np.ndarray]] = []
    with exact(where.threads), cast(device, where.precision):
        weights = _weights(cell, subject, device)
        spread = _spread(cell, subject, store)
        with measure.open(model) as read:
            work = batches(data, cell.start, cell.stop, where.batch_size, cell.under, cell.level, cell.seed, cell.draw)
            for clean, images, part in work:
                if reference := getattr(read, "reference", None):  # a measure that compares with the clean pass
                    model(clean.to(device, memory_format=layout))
                    reference()
                if not reference or cell.level:
                    x = images.to(device, memory_format=layout)
                    with _resumed(cell, model, data.ids[part], x), _injected(cell, model, data, part, spread):
                        functional_call(model, weights, (x,)) if weights else model(x)
                labels = (data.labels[part],) if getattr(measure, "labelled", False) else ()
                found.append(read(data.ids[part], *labels))
                if isinstance(cell.under, Gaussian):
                    found[-1] |= _realised(images - clean)
    return _rows(found, data.ids[cell.start : cell.stop], cell)


def _weights(cell: Cell, subject: Subject, device: torch.device) -> dict[str, Tensor]:
    """What replaces the model's own tensors at the level of a cell: nothing at level 0 or under noise on images."""
    under, level = cell.under, cell.level
    if not isinstance(under, WeightNoise) or level == 0:
        return {}
    name = (under.select, cell.weights_sha256, cell.seed, cell.draw, cell.run)
    if name not in _last:  # the direction of a draw is common to all levels: the last one is kept
        _last.clear()
        _last[name] = under.directions(subject.model, cell.seed, cell.draw, cell.run)
    weights = under.mapping(subject.model, level, _last[name])
    if under.batch_norm == ("re-estimated",) and subject.training is not None:
        training = subject.training
        parts = math.ceil(len(training) / cell.where.batch_size)
        size = math.ceil(len(training) / parts)  # of nearly one size, since each batch counts alike
        clean = (images.to(device, memory_format=torch.channels_last)
                 for images, _, _ in batches(training, 0, len(training), size, under, 0.0, 0, 0))  # fmt: skip
        weights |= re_estimated(subject.model, weights, clean)
    return weights


_last: dict[tuple, dict[str, Tensor]] = {}
SPREAD_IMAGES = 1000
"""Images, the first of a sweep, on which the clean spread of layers is measured."""


def _spread(cell: Cell, subject: Subject, store: Store) -> dict[str, float]:
    """Each layer's clean standard deviation, measured once per network and images; nothing where no noise is relative to it."""
    under, data, where = cell.under, subject.data, cell.where
    if not isinstance(under, LayerNoise) or under.scale == "absolute" or cell.level == 0:
        return {}

    def make(path: Path) -> None:
        model, device = subject.model, torch.device(where.device)
        layout = next((torch.channels_last for m in model.modules() if isinstance(m, nn.Conv2d)), torch.contiguous_format)
        with layer_spread(model, layers_of(model, under.on)) as read:
            for images, _, _ in batches(data, 0, min(SPREAD_IMAGES, len(data)), where.batch_size, under, 0.0, 0, 0):
                model(images.to(device, memory_format=layout))
        path.write_text(json.dumps(read()), encoding="utf-8")

    key = {k: v for k, v in cell.key().items() if k not in ("measure", "under", "range")} | {"layers": list(map(str, under.on))}
    return json.loads(store.get_or_make("spreads", key, ".txt", make).read_text(encoding="utf-8"))


def _injected(
    cell: Cell, model: nn.Module, data: Dataset, part: slice, spread: dict[str, float]
) -> contextlib.AbstractContextManager:
    """Noise on the outputs of layers, the same draw at every strength; nothing under another perturbation or at level 0."""
    under = cell.under
    if not isinstance(under, LayerNoise) or cell.level == 0:
        return contextlib.nullcontext()
    ids = data.ids[part].tolist()
    name = (cell.weights_sha256, str(under.key(1.0)), cell.seed, cell.draw, cell.dataset, tuple(ids))
    return _replayed(name, lambda again: inject(model, under.on, under, ids, level=cell.level, spread=spread, dataset=cell.dataset,
                                                seed=cell.seed, draw=cell.draw, again=again))  # fmt: skip


_prefixes: dict[tuple, Prefix] = {}
PREFIX_BYTES = 500_000_000
"""Memory of clean passes that are kept, so that a layer that is perturbed alone need not wait for what comes before it."""


def _resumed(cell: Cell, model: nn.Module, ids: np.ndarray, x: Tensor) -> contextlib.AbstractContextManager[None]:
    """A pass that begins at the layer with noise, where layers get noise one at a time; bit for bit the whole pass."""
    under = cell.under
    if not isinstance(under, LayerNoise) or under.choice != "each" or cell.level == 0:
        return contextlib.nullcontext()
    name = (cell.weights_sha256, cell.code_sha256, cell.images_sha256, cell.where, tuple(ids.tolist()))
    if name not in _prefixes:
        while len(_prefixes) >= BATCHES_PER_CELL:
            _prefixes.pop(next(iter(_prefixes)))
        prefix = Prefix(model)
        with prefix.record():
            model(x)
        if prefix.nbytes + sum(p.nbytes for p in _prefixes.values()) > PREFIX_BYTES:
            return contextlib.nullcontext()
        _prefixes[name] = prefix
    return _prefixes[name].replay(str(under.on[0]))


_draws: dict[tuple, Injected] = {}


@contextlib.contextmanager
def _replayed(name: tuple, open_: Callable[[Injected | None], contextlib.AbstractContextManager[Injected]]) -> Iterator[None]:
    """What was drawn last for a batch is used again at the next strength; a few batches are kept, those of a cell."""
    if name not in _draws:
        while len(_draws) >= BATCHES_PER_CELL:
            _draws.pop(next(iter(_draws)))
    with open_(_draws.get(name)) as done:
        _draws[name] = done
        yield


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
        "site": pd.Categorical(np.repeat(sites, len(ids)), categories=sites, ordered=True),
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
