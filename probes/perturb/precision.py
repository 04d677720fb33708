"""Weights of a few bits, and weights that are left out: fake quantisation and magnitude pruning."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from probes.batch import Draw
from probes.errors import BadInput
from probes.perturb.mapped import Mapped

FULL = 32
"""The bits of a weight as it is. A level of :func:`quantised` is how many of them are gone."""
MOST = 16
"""The largest number of bits: with more, single precision can't hold the steps."""


def rounded(weight: Tensor, bits: int, axis: int = 0, groups: int = 1) -> Tensor:
    """A weight rounded to ``2**bits - 1`` values per output channel, symmetric about 0: the largest
    magnitude of a channel is the last step, and a half goes to the even step.

    ``axis`` is that of the output channels; those of a transposed convolution are the second axis,
    for each of its ``groups``. A channel of zeros stays as it is.

    >>> rounded(torch.tensor([[1.0, 0.4, -0.6], [10.0, 1.0, 0.0]]), 2)
    tensor([[ 1.,  0., -1.],
            [10.,  0.,  0.]])
    """
    steps = 2 ** (bits - 1) - 1
    w = weight.reshape(groups, -1, *weight.shape[1:])
    kept = (0, 2) if axis else (0, 1)
    others = [i for i in range(w.ndim) if i not in kept]
    largest = w.abs().amax(others, keepdim=True) if others else w.abs()
    step = torch.where(largest > 0, largest / steps, 1)
    return ((w / step).round_().clamp_(-steps, steps) * step).reshape(weight.shape)


@dataclasses.dataclass(frozen=True)
class Quantised(Mapped):
    """Weights rounded to a few bits per output channel, symmetric, and computed with in single
    precision (fake quantisation). Activations, biases and norms stay as they are.

    A level is how many of 32 bits are gone, so that 0 is the network as it is and a higher level is
    coarser: 24 is 8 bits, 30 is 2.
    """

    name = "quantisation"
    varied = "bits taken away"
    unit = "bits of 32"

    def __post_init__(self) -> None:
        bits = tuple(FULL - v for v in self.levels if v)
        if bad := [b for b in bits if b not in range(2, MOST + 1)]:
            raise BadInput(
                f"quantised(bits={bad[0]:g}): a whole number of bits from 2 to {MOST}; as a level"
                f" it is {FULL} - bits, and level 0 is the network as it is"
            )
        if 0 not in self.levels or not bits or len(set(self.levels)) < len(self.levels):
            raise BadInput(f"quantised(bits={bits}): one number of bits or several different ones")
        object.__setattr__(self, "levels", tuple(sorted(float(v) for v in self.levels)))

    def describe(self) -> str:
        """What is done to the weights, in words."""
        bits = ", ".join(f"{FULL - v:g}" for v in self.levels if v)
        return f"Weights rounded to {bits} bits per output channel (level: 32 less the bits)"

    def mapping(self, model: nn.Module, level: float, draw: Draw) -> dict[str, Tensor]:
        """The rounded weights, by name.

        >>> net = nn.Linear(2, 1)
        >>> list(quantised(8).mapping(net, 24.0, Draw(0, "", 0)))
        ['weight']
        """
        found = {}
        for name, w in self.weights(model).items():
            layer: Any = model.get_submodule(name.rpartition(".")[0])
            across = bool(getattr(layer, "transposed", False))
            found[name] = rounded(w, int(FULL - level), int(across), layer.groups if across else 1)
        return found


@dataclasses.dataclass(frozen=True)
class Pruned(Mapped):
    """The weights of smallest magnitude are 0: a share, the level, of all weights of all layers
    together. Ties are broken by the order of layers. Batch norm stays as it is.
    """

    name = "pruning"
    varied = "share of weights pruned"
    unit = "of all weights"

    def __post_init__(self) -> None:
        levels = tuple(sorted(float(v) for v in self.levels))
        if not levels or levels[0] != 0 or len(set(levels)) < len(levels) or not levels[-1] < 1:
            raise BadInput(
                f"pruned(share={tuple(v for v in levels if v)}): shares of the weights between 0"
                " and 1, none twice"
            )
        object.__setattr__(self, "levels", levels)

    def mapping(self, model: nn.Module, level: float, draw: Draw) -> dict[str, Tensor]:
        """The weights that are left, by name, zeros for the others.

        >>> net = nn.Linear(4, 1)
        >>> left = pruned(0.5).mapping(net, 0.5, Draw(0, "", 0))["weight"]
        >>> int((left == 0).sum())
        2
        """
        weights = self.weights(model)
        size = torch.cat([w.reshape(-1).abs() for w in weights.values()])
        count = round(level * len(size))
        gone = torch.zeros(len(size), dtype=torch.bool, device=size.device)
        if count:
            edge = size.kthvalue(count).values
            gone |= size < edge
            ties = (size == edge).nonzero()[:, 0]
            gone[ties[: count - int(gone.sum())]] = True
        parts = gone.split([w.numel() for w in weights.values()])
        return {
            name: w.masked_fill(part.reshape(w.shape), 0.0)
            for (name, w), part in zip(weights.items(), parts, strict=True)
        }


def _several(value: float | Sequence[float]) -> tuple[float, ...]:
    return (value,) if isinstance(value, int | float) else tuple(value)


def quantised(
    bits: int | Sequence[int] = (8, 4, 3, 2), select: str | Sequence[str] = ()
) -> Quantised:
    """Weights of so many bits: see :class:`Quantised`. Level 0 is the network as it is.

    ``select`` are glob patterns of parameter names instead of all weights. Raises BadInput for bits
    that are no whole numbers from 2 to 16, or with one twice.

    >>> quantised(bits=(8, 4)).levels  # 32 less the bits
    (0.0, 24.0, 28.0)
    """
    levels = (0.0, *(FULL - b for b in _several(bits)))
    return Quantised(levels, (select,) if isinstance(select, str) else tuple(select))


def pruned(
    share: float | Sequence[float] = (0.2, 0.5, 0.8), select: str | Sequence[str] = ()
) -> Pruned:
    """The smallest weights left out: see :class:`Pruned`. Level 0 is the network as it is.

    Raises BadInput for shares outside (0, 1), or with one twice.

    >>> pruned(share=(0.5, 0.2)).levels
    (0.0, 0.2, 0.5)
    """
    levels = (0.0, *_several(share))
    return Pruned(levels, (select,) if isinstance(select, str) else tuple(select))
