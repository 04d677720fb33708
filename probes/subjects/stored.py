"""Weights in stored form: fp32, fp16, or 8 bits per output channel; and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from probes.registry import unknown

STORED = ("float32", "float16", "int8")
SCALE = ".scale"


def pack(state: Mapping[str, Tensor], stored: str) -> dict[str, Tensor]:
    """The floating-point tensors of a state dict in a stored precision. Counters are left out.

    ``int8`` keeps tensors of two or more dimensions as bytes with a scale per output channel
    (symmetric, the largest weight of a channel is 127), and the others as they are. Raises
    UnknownName for another precision.

    >>> w = torch.tensor([[1.0, -0.5], [0.1, 0.0]])
    >>> sorted(pack({"w": w}, "int8"))
    ['w', 'w.scale']
    """
    if stored not in STORED:
        raise unknown("stored precision", stored, STORED)
    out: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            continue
        tensor = tensor.detach().contiguous()
        if stored == "int8" and tensor.ndim > 1:
            scale = tensor.flatten(1).abs().amax(1).clamp(min=1e-12) / 127
            out[name] = (tensor / scale.view(-1, *[1] * (tensor.ndim - 1))).round().to(torch.int8)
            out[name + SCALE] = scale
        else:
            out[name] = tensor if stored == "int8" else tensor.to(getattr(torch, stored))
    return out


def unpack(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in fp32 from the output of :func:`pack`; fp64 stays.

    >>> w = torch.tensor([[1.0, -0.5], [0.1, 0.0]])
    >>> bool((unpack(pack({"w": w}, "int8"))["w"] - w).abs().max() <= 0.5 / 127)
    True
    """
    out: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.endswith(SCALE) and state.get(name.removesuffix(SCALE), tensor).dtype == torch.int8:
            continue
        if tensor.dtype == torch.int8 and name + SCALE in state:
            scale = state[name + SCALE].float().view(-1, *[1] * (tensor.ndim - 1))
            out[name] = tensor.float() * scale
        else:
            narrow = tensor.is_floating_point() and tensor.dtype != torch.float64
            out[name] = tensor.float() if narrow else tensor
    return out
