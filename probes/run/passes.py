"""What a perturbation does to a forward pass: to its images, to the weights that it runs with, to what its layers give."""

from __future__ import annotations

import contextlib
import json
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from probes.errors import BadInput
from probes.hooks import Prefix, modules, plain
from probes.measure.spread import layer_spread
from probes.origin import outside
from probes.perturb import Gaussian, LayerNoise, WeightNoise, inject
from probes.perturb.outputs import Injected, layers_of
from probes.perturb.weights import re_estimated, targets
from probes.run.cells import Cell, Perturbation
from probes.run.forward import Network, pixels
from probes.store import Store
from probes.subjects.dataset import Dataset
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
            if own:
                _refuse_own(under, images, clean, eps, level, data)
        yield clean, images, part


_sure: set[tuple] = set()


def _refuse_own(under: Gaussian, images: Tensor, clean: Tensor, eps: Tensor, level: float, data: Dataset) -> None:
    """Raise BadInput for a perturbation of somebody's own that draws by itself, or gives images of another shape."""
    if not isinstance(images, Tensor) or images.shape != clean.shape:
        shape = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise BadInput(f"{type(under).__name__}.apply gives {shape} for images of {tuple(clean.shape)}: it keeps their shape")
    name = (type(under), level, data.sha256)
    if name not in _sure:
        again = under.apply(clean.clone(), eps.clone(), level, data.mean, data.std)
        if not torch.equal(again, images):
            raise BadInput(f"{type(under).__name__}.apply draws at random by itself: it gives other images each time, so no"
                           " draw has a name; make them from the noise that it is given")  # fmt: skip
        _sure.add(name)


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
        refuse_lost(under, subject.model, net.send(pixels(subject.data, slice(0, 2))))
    weights = under.mapping(subject.model, level, _last[name])
    if under.batch_norm == ("re-estimated",) and subject.training is not None:
        training = subject.training
        parts = math.ceil(len(training) / cell.where.batch_size)
        size = math.ceil(len(training) / parts)  # of nearly one size, since each batch counts alike
        clean = (net.send(images) for images, _, _ in batches(training, 0, len(training), size, under, 0.0, 0, 0))
        weights |= re_estimated(subject.model, weights, clean)
    return weights


_last: dict[tuple, dict[str, Tensor]] = {}


def reached(under: WeightNoise, model: nn.Module, seed: int) -> dict[str, Tensor]:
    """The weights that a perturbation changes, by name: for one of somebody's own those that its mapping does change."""
    if not outside(under):
        return targets(model, under.select)
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    found = under.mapping(model, max(under.levels), under.directions(model, seed, 0))
    return {name: own[name] for name, w in found.items() if name in own and not torch.equal(w, own[name])}


_lost: weakref.WeakKeyDictionary[nn.Module, set[tuple[str, ...]]] = weakref.WeakKeyDictionary()


def refuse_lost(under: WeightNoise, model: nn.Module, x: Tensor) -> None:
    """Raise BadInput for weights on which the output does not depend, such as those that a network copied elsewhere.

    Seen once per network: by the gradient of a pass, and, where there is none, by moving the weight alone.
    """
    if outside(under) or under.select in _lost.setdefault(model, set()):
        return
    weights = targets(model, under.select)
    with torch.inference_mode(False), torch.autocast(x.device.type, enabled=False):
        x = x.clone()
        with torch.no_grad():
            clean = _floats(model(x.clone()))
        leaves = {name: w.detach().clone().requires_grad_(True) for name, w in weights.items()}
        with torch.enable_grad():
            out = _floats(functional_call(model, leaves, (x.clone(),)))
            total = torch.stack([(t.double() ** 2 + t.double()).sum() for t in out]).sum()
            grads: Sequence[Tensor | None] = [None] * len(leaves)
            if total.requires_grad:
                grads = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        lost = []
        for (name, w), grad in zip(weights.items(), grads, strict=True):
            if grad is not None and bool(grad.ne(0).any()):
                continue
            with torch.no_grad():
                moved = _floats(
                    functional_call(model, {name: w.detach() + w.detach().std().nan_to_num(1.0).clamp(min=1e-3)}, (x.clone(),))
                )
            if all(torch.equal(a, b) for a, b in zip(clean, moved, strict=True)):
                lost.append(plain(model, name))
    if lost:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        raise BadInput(f"weight noise: the output does not depend on {', '.join(lost[:3])}{more}: the network computes with a copy,"
                       " or leaves it out; name the weights that count with select=(...)")  # fmt: skip
    _lost[model].add(under.select)


def _floats(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


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
    kept, layer = _prefixes[name], str(under.on[0])
    return kept.replay(layer) if kept and begins(net.model, net.send(images[:4]), (layer,)) else contextlib.nullcontext()


_begins: weakref.WeakKeyDictionary[nn.Module, dict[tuple, bool]] = weakref.WeakKeyDictionary()


def begins(model: nn.Module, x: Tensor, layers: Sequence[str], through: bool = False) -> bool:
    """Whether a pass that begins at layers is the whole one: seen once for each, after another pass in between.

    It is not where a network hands something on beside what its modules give, or works in place on what was kept.
    """
    known = _begins.setdefault(model, {})
    name = (tuple(layers), through)
    if name not in known:
        prefix = Prefix(model)
        with prefix.record():
            whole = _floats(model(x.clone()))
        whole = [t.clone() for t in whole]
        model(x.flip(0) * 0.5 + 0.25)
        with prefix.replay(*layers, through=through):
            found = _floats(model(x.clone()))
        known[name] = len(found) == len(whole) and all(torch.equal(a, b) for a, b in zip(whole, found, strict=True))
    return known[name]


_draws: dict[tuple, Injected] = {}


@contextlib.contextmanager
def _replayed(name: tuple, open_: Callable[[Injected | None], contextlib.AbstractContextManager[Injected]]) -> Iterator[None]:
    """What was drawn last for a batch is used again at the next strength; a few batches are kept, those of a cell."""
    if name not in _draws:
        _make_room(_draws)
    with open_(_draws.get(name)) as done:
        _draws[name] = done
        yield
