"""Whether two passes of a network give the same, and whether a pass changes it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from probes.fingerprint import fingerprint
from probes.moments import to_float64


def tensors_in(values: Any) -> list[Tensor]:
    """Copies of the tensors in what a network gives."""
    return [leaf.clone() for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def head(tensors: list[Tensor], kept: int, n: int) -> list[Tensor]:
    """The rows of the first ``kept`` images, from the output for ``n`` images."""
    return [t[:kept] if t.ndim and len(t) == n else t for t in tensors]


def state_of(model: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a pass must not change: weights and buffers, by their bytes. The second value are plain
    attributes, which may be set once.
    """
    tensors = {
        name: fingerprint(t) for name, t in (*model.named_parameters(), *model.named_buffers())
    }
    plain = {
        f"{name}.{key}".lstrip("."): value
        for name, m in model.named_modules()
        for key, value in vars(m).items()
        if type(value) in (bool, int, float, str)
    }
    return tensors, plain


def distance(one: list[Tensor], other: list[Tensor]) -> float:
    """The largest difference, in units of the largest output; inf if shapes differ."""
    if [t.shape for t in one] != [t.shape for t in other]:
        return float("inf")
    far = 0.0
    for a, b in zip(one, other, strict=True):
        if not a.is_floating_point():
            far = max(far, 0.0 if torch.equal(a, b) else float("inf"))
            continue
        a, b = to_float64(a), to_float64(b)
        both = (a == b) | (a.isnan() & b.isnan())
        if not bool(both.all()):
            scale = float(torch.where(a.isfinite(), a, 0).abs().max()) or 1.0
            difference = torch.where(both, 0, (a - b).abs())
            far = max(
                far,
                float(torch.where(difference.isfinite(), difference, float("inf")).max()) / scale,
            )
    return far
