"""What a perturbation does to a forward pass: to its images, to the weights that it runs with, to what its layers give."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from probes.fingerprint import outside
from probes.hooks import Prefix, modules
from probes.measure.spread import layer_spread
from probes.perturb import Gaussian, LayerNoise, WeightNoise, inject
from probes.perturb.outputs import Injected, layers_of
from probes.perturb.weights import re_estimated
from probes.run.cells import Cell, Perturbation
from probes.run.forward import Network, pixels
from probes.store import Store
from probes.subjects.data import Dataset
from probes.subjects.pretrained import Subject

BATCHES_PER_CELL = 4
"""Images of a cell, in batches: the noise of so many batches is kept, for the other levels of the same images."""


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
        clean = pixels(data, part) if isinstance(under, Gaussian) else _kept(data, part)
        images = clean
        if level and isinstance(under, Gaussian):
            names = (data.name, tuple(data.ids[part].tolist()), tuple(clean.shape[1:]), seed, draw)
            own, eps = outside(under), _noise(under, *names)  # one of somebody's own may work in place on what it is given
            images = under.apply(clean.clone() if own else clean, eps.clone() if own else eps, level, data.mean, data.std)
        yield clean, images, part


_images: dict[tuple, Tensor] = {}
KEPT = 200_000_000
"""Bytes of images in floating point that are kept from cell to cell, where the images are the same in every cell."""


def _kept(data: Dataset, part: slice) -> Tensor:
    """As :func:`pixels`; kept, as long as there is room, for the next strength of weight noise on the same images."""
    name = (data.sha256, part.start, part.stop)
    if name not in _images:
        if any(key[0] != data.sha256 for key in _images):
            _images.clear()
        found = pixels(data, part)
        if sum(t.nbytes for t in _images.values()) + found.nbytes > KEPT:
            return found
        _images[name] = found
    return _images[name]


def _make_room(kept: dict[tuple, Any]) -> None:
    """Forget the oldest of what is kept per batch, so that one more is as many as a cell has."""
    while len(kept) >= BATCHES_PER_CELL:
        kept.pop(next(iter(kept)))


def weights_at(cell: Cell, subject: Subject, net: Network) -> dict[str, Tensor]:
    """What replaces the model's own tensors at the level of a cell: nothing at level 0 or under noise on images."""
    under, level = cell.under, cell.level
    if not isinstance(under, WeightNoise) or level == 0:
        return {}
    name = (under.select, cell.weights_sha256, cell.code_sha256, cell.seed, cell.draw, cell.run, cell.where.device)
    if name not in _last:  # the direction of a draw is common to all levels: the last one is kept
        _last.clear()
        _last[name] = under.directions(subject.model, cell.seed, cell.draw, cell.run)
    weights = under.mapping(subject.model, level, _last[name])
    if under.batch_norm == ("re-estimated",) and subject.training is not None:
        training = subject.training
        parts = math.ceil(len(training) / cell.where.batch_size)
        size = math.ceil(len(training) / parts)  # of nearly one size, since each batch counts alike
        clean = (net.send(images) for images, _, _ in batches(training, 0, len(training), size, under, 0.0, 0, 0))
        weights |= re_estimated(subject.model, weights, clean)
    return weights


_last: dict[tuple, dict[str, Tensor]] = {}
SPREAD_IMAGES = 1000
"""Images, the first of a sweep, on which the clean spread of layers is measured."""


def spread_of(cell: Cell, subject: Subject, store: Store, net: Network) -> dict[str, float]:
    """Each layer's clean standard deviation, measured once per network and images; nothing where no noise is relative to it."""
    under, data, where = cell.under, subject.data, cell.where
    if not isinstance(under, LayerNoise) or under.scale == "absolute" or cell.level == 0:
        return {}

    wanted = layers_of(subject.model, under.on)
    kinds = {type(m) for m in wanted.values()}  # all of a kind at once: the other arms of a sweep need those

    def make(path: Path) -> None:
        model = net.model
        with layer_spread(model, layers_of(model, list(kinds)), lost=set(modules(model)) - set(wanted)) as read:
            for images, _, _ in batches(data, 0, min(SPREAD_IMAGES, len(data)), where.batch_size, under, 0.0, 0, 0):
                model(net.send(images))
        path.write_text(json.dumps(read()), encoding="utf-8")

    key = {k: v for k, v in cell.key().items() if k not in ("measure", "under", "range")}
    key |= {"layers": sorted(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)}
    return json.loads(store.get_or_make("spreads", key, ".txt", make).read_text(encoding="utf-8"))


def injected(
    cell: Cell, model: nn.Module, data: Dataset, part: slice, spread: dict[str, float]
) -> contextlib.AbstractContextManager:
    """Noise on the outputs of layers, the same draw at every strength; nothing under another perturbation or at level 0."""
    under = cell.under
    if not isinstance(under, LayerNoise) or cell.level == 0:
        return contextlib.nullcontext()
    ids = data.ids[part].tolist()
    name = (cell.weights_sha256, cell.code_sha256, str(under.key(1.0)), cell.seed, cell.draw, cell.dataset, cell.where, tuple(ids))
    return _replayed(name, lambda again: inject(model, under.on, under, ids, level=cell.level, spread=spread, dataset=cell.dataset,
                                                seed=cell.seed, draw=cell.draw, again=again))  # fmt: skip


_prefixes: dict[tuple, Prefix | None] = {}
PREFIX_BYTES = 500_000_000
"""Memory of clean passes that are kept, so that a layer that is perturbed alone need not wait for what comes before it.

A clean pass of a batch that does not fit is not kept (None), and its passes are whole ones."""


def resumed(cell: Cell, net: Network, ids: np.ndarray, images: Tensor) -> contextlib.AbstractContextManager[None]:
    """A pass that begins at the layer with noise, where layers get noise one at a time; bit for bit the whole pass."""
    under = cell.under
    if not isinstance(under, LayerNoise) or under.choice != "each" or cell.level == 0:
        return contextlib.nullcontext()
    name = (cell.weights_sha256, cell.code_sha256, cell.images_sha256, cell.where, tuple(ids.tolist()))
    if name not in _prefixes:
        _make_room(_prefixes)
        prefix = Prefix(net.model)
        with prefix.record():
            net.model(net.send(images))
        taken = sum(p.nbytes for p in _prefixes.values() if p)
        _prefixes[name] = prefix if taken + prefix.nbytes <= PREFIX_BYTES else None
    kept = _prefixes[name]
    return kept.replay(str(under.on[0])) if kept else contextlib.nullcontext()


_draws: dict[tuple, Injected] = {}


@contextlib.contextmanager
def _replayed(name: tuple, open_: Callable[[Injected | None], contextlib.AbstractContextManager[Injected]]) -> Iterator[None]:
    """What was drawn last for a batch is used again at the next strength; a few batches are kept, those of a cell."""
    if name not in _draws:
        _make_room(_draws)
    with open_(_draws.get(name)) as done:
        _draws[name] = done
        yield
