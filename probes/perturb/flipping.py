"""Bits of single-precision numbers that flip at random, in weights or in the outputs of layers."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from probes import seeds
from probes.batch import Batch, Draw
from probes.errors import BadInput, ProbesError
from probes.hooks import handles, refuse_wrapped
from probes.perturb.layers import Which, layers_of, several, weighing, worded
from probes.perturb.mapped import Mapped
from probes.perturb.protocol import Forward, Pass, Perturbation

BITS = 32
HIGHEST = 0.1
"""The largest rate: at more than that hardly a number is left as it was."""


def flips(numbers: int, rate: float, *name: str | int) -> np.ndarray:
    """Which bits flip, drawn by name: places below ``32 * numbers``, int64, in no order. Each bit
    flips by itself with probability ``rate``.

    Their number is a quantile of the binomial distribution at a uniform of the name, and the places
    are the first of a stream: what flips at a lower rate flips at a higher one, too.

    >>> few, many = (set(flips(100, rate, "example").tolist()) for rate in (0.001, 0.01))
    >>> few <= many
    True
    """
    total = BITS * numbers
    count = int(stats.binom.ppf(seeds.uniform(1, "flips", *name)[0], total, rate))
    length = count + 16
    while True:
        places = (seeds.uniform(length, "flipped", *name) * total).astype(np.int64)
        _, first = np.unique(places, return_index=True)
        if len(first) >= count:
            return places[np.sort(first)[:count]]
        length *= 2


def flipped(values: Tensor, places: np.ndarray, clip: bool = True) -> tuple[Tensor, int]:
    """Float32 values with these bits flipped, and how many of them became NaN or infinite. The
    values stay as they are; the result has their shape.

    ``clip`` cuts what has changed to the largest magnitude of the values, and makes NaN 0. Without
    it NaN and infinity are 0, and any other number stays.

    >>> flipped(torch.tensor([1.0, 2.0]), np.array([31, 62]))  # a sign; the highest exponent bit
    (tensor([-1.,  0.]), 0)
    """
    out = values.detach().clone(memory_format=torch.contiguous_format)
    if not len(places):
        return out, 0
    which, back = np.unique(places // BITS, return_inverse=True)
    masks = np.zeros(len(which), np.uint32)
    np.bitwise_xor.at(masks, back, np.uint32(1) << (places % BITS).astype(np.uint32))
    flat, rows = out.view(-1), torch.from_numpy(which).to(out.device)
    mask = torch.from_numpy(masks.view(np.int32)).to(out.device)
    changed = flat[rows].view(torch.int32).bitwise_xor_(mask).view(torch.float32)
    lost = int((~changed.isfinite()).sum())
    if clip:
        most = float(values.detach().abs().max())
        changed = changed.nan_to_num_(0.0).clamp_(-most, most)
    else:
        changed.nan_to_num_(0.0, 0.0, 0.0)
    flat[rows] = changed
    return out, lost


def _rates(levels: Sequence[float]) -> tuple[float, ...]:
    rates = tuple(sorted(float(v) for v in levels))
    if not rates or rates[0] != 0 or len(set(rates)) < len(rates) or not rates[-1] <= HIGHEST:
        raise BadInput(
            f"bit flips at {tuple(levels)}: 0 and rates of at most {HIGHEST} per bit, none twice"
        )
    return rates


def _after(clip: bool) -> str:
    return (
        "what leaves the range of its tensor is cut to it, NaN is 0"
        if clip
        else "what becomes NaN or infinite is 0"
    )


@dataclasses.dataclass(frozen=True)
class WeightFlips(Mapped):
    """Each bit of each weight flips with a probability, the level.

    What flips is drawn by (seed, tensor, draw), where several training runs are compared also by
    the training seed; what flips at a lower rate flips at a higher one, too. ``clip``: see
    :func:`flipped`; without it a network may give NaN, which a measure refuses, naming the image.
    """

    clip: bool = True

    name = "bit flips in weights"
    varied = "flip rate"
    unit = "per bit"

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", _rates(self.levels))

    def describe(self) -> str:
        """What is done to the weights, in words."""
        return f"Bits of float32 weights flipped at random; {_after(self.clip)}"

    def key(self, level: float) -> dict[str, Any]:
        """The rate, the weights, and what becomes of numbers that are none."""
        return super().key(level) | ({"clip": self.clip} if level else {})

    def drawn(self, draw: Draw) -> dict[str, Any]:
        """A draw does not depend on the dataset; on the training run, if several are compared."""
        return {"draw": draw.number, "seed": draw.seed, "run": draw.run}

    def _flipped(self, model: nn.Module, level: float, draw: Draw) -> dict[str, tuple[Tensor, int]]:
        found = {}
        for name, w in self.weights(model).items():
            run = () if draw.run is None else (draw.run,)
            who = ("weights", draw.seed, name, draw.number, *run)
            found[name] = flipped(w, flips(w.numel(), level, *who), self.clip)
        return found

    def mapping(self, model: nn.Module, level: float, draw: Draw) -> dict[str, Tensor]:
        """The weights with flipped bits, by name."""
        return {name: w for name, (w, _) in self._flipped(model, level, draw).items()}

    def facts(self, models: Mapping[str, nn.Module], seed: int) -> dict[str, Any]:
        """Also how many weights become NaN or infinite in the first draw at the highest rate."""
        top, draw = max(self.levels), Draw(seed, "", 0)
        lost = {
            net: sum(n for _, n in self._flipped(m, top, draw).values())
            for net, m in models.items()
        }
        return super().facts(models, seed) | {"not_finite": lost}


@dataclasses.dataclass(frozen=True)
class OutputFlips(Perturbation):
    """Each bit of each output of layers flips with a probability, the level.

    The layers are convolutions and linear layers, or those of ``on``
    (:func:`probes.perturb.layers.layers_of`). What flips is drawn by (seed, dataset, image id,
    draw, layer, call), whatever the batch; the range of :func:`flipped` is that of the image's own
    output of the layer.
    """

    levels: tuple[float, ...]
    on: tuple[Which, ...] = (weighing,)
    clip: bool = True

    name = "bit flips in activations"
    varied = "flip rate"
    unit = "per bit"
    acts_on = "layers"
    version = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", _rates(self.levels))

    def describe(self) -> str:
        """What is done to the outputs, in words."""
        return (
            f"Bits of float32 outputs of {worded(self.on)} flipped at random, by each image;"
            f" {_after(self.clip)}"
        )

    def key(self, level: float) -> dict[str, Any]:
        """The rate and the layers, once they are names."""
        kind = {"kind": self.name, "version": self.version, "level": level}
        return kind | ({"on": [str(one) for one in self.on], "clip": self.clip} if level else {})

    def arms(self, model: nn.Module) -> Sequence[tuple[str, OutputFlips]]:
        """The same on the layers of this model, by name."""
        return [("", dataclasses.replace(self, on=tuple(layers_of(model, self.on))))]

    @contextlib.contextmanager
    def open(self, at: Pass) -> Iterator[Forward]:
        """Run the network with flipped bits."""

        def forward(batch: Batch) -> Tensor:
            with self._flipping(at, batch.ids.tolist()) if at.level else contextlib.nullcontext():
                at.plain(batch.images)
            return batch.images

        yield forward

    @contextlib.contextmanager
    def _flipping(self, at: Pass, ids: Sequence[int]) -> Iterator[None]:
        refuse_wrapped(at.model)
        draw, calls = at.draw, dict[str, int]()

        def flip(name: str, out: object) -> Tensor:
            if not isinstance(out, Tensor) or out.dtype != torch.float32 or len(out) != len(ids):
                raise BadInput(
                    f"layer {name!r} gives no batch of float32: bits flip in single precision only"
                )
            call = calls[name] = calls.get(name, 0) + 1
            numbers, found = math.prod(out.shape[1:]), out.clone()
            for row, image in enumerate(ids):
                who = ("outputs", draw.seed, draw.dataset, int(image), draw.number, name, call)
                places = flips(numbers, at.level, *who)
                if len(places):
                    found[row] = flipped(out[row], places, self.clip)[0]
            return found

        with handles() as held:
            for name, module in layers_of(at.model, self.on).items():
                hook = lambda _, __, out, name=name: flip(name, out)  # noqa: E731
                held.append(module.register_forward_hook(hook, prepend=True))
            yield
        if lost := [str(name) for name in self.on if isinstance(name, str) and name not in calls]:
            raise ProbesError(
                f"layer {lost[0]!r} did not run in this forward pass: leave it out of the layers"
                " whose bits flip"
            )


def bit_flips(
    *rates: float,
    on: str = "weights",
    layers: Which | Sequence[Which] = weighing,
    clip: bool = True,
) -> WeightFlips | OutputFlips:
    """Bits that flip at these rates, 0 among them: in weights (:class:`WeightFlips`), or with
    ``on="activations"`` in the outputs of layers (:class:`OutputFlips`).

    Raises BadInput for rates without 0, above .1 or with one twice, and for another ``on``.

    >>> bit_flips(0, 1e-5).levels
    (0.0, 1e-05)
    """
    if on == "weights":
        return WeightFlips(tuple(rates), clip=clip)
    if on != "activations":
        raise BadInput(f"bit_flips(on={on!r}): 'weights' or 'activations'")
    return OutputFlips(tuple(rates), several(layers), clip)
