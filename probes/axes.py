"""Where the channels of a module's output are: maps (N, C, H, W), maps with channels last, tokens
(N, T, C), signals (N, C, L).
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

FIRST = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
LAST = (nn.Linear, nn.LayerNorm, nn.Embedding, nn.MultiheadAttention)
Widths = tuple[frozenset[int], frozenset[int]]
_WIDTHS: weakref.WeakKeyDictionary[nn.Module, Widths] = weakref.WeakKeyDictionary()


def _widths(module: nn.Module) -> Widths:
    """The numbers of channels that the layers inside a module give: those that put channels first,
    and those that put them last.
    """
    if module not in _WIDTHS:
        first, last = set(), set()
        for m in module.modules():
            if isinstance(m, FIRST) or (isinstance(m, nn.LayerNorm) and "2d" in type(m).__name__):
                for name in ("out_channels", "num_features", "num_channels", "normalized_shape"):
                    value = getattr(m, name, None)
                    if value is not None:
                        first.add(value[-1] if isinstance(value, tuple) else int(value))
            elif isinstance(m, LAST):
                for name in ("out_features", "normalized_shape", "embedding_dim", "embed_dim"):
                    value = getattr(m, name, None)
                    if value is not None:
                        last.add(value[-1] if isinstance(value, tuple) else int(value))
        _WIDTHS[module] = frozenset(first), frozenset(last)
    return _WIDTHS[module]


def channels_last(module: nn.Module, shape: Sequence[int]) -> bool:
    """Whether the last axis of a module's output (N, ...) holds its channels. It is told by the
    widths of the layers inside; where these tell nothing, three axes are tokens and four are maps.

    >>> channels_last(nn.LayerNorm(8), (2, 5, 8)), channels_last(nn.Conv1d(1, 8, 3), (2, 8, 5))
    (True, False)
    """
    if len(shape) not in (3, 4):
        return False
    first, last = _widths(module)
    if len(shape) == 4:
        return shape[1] not in first and (
            shape[3] in last or (shape[3] in first and shape[1] not in last)
        )
    return not (shape[1] in first and shape[2] not in last)


def as_maps(module: nn.Module, out: Tensor) -> Tensor:
    """The output of a module as maps (N, C, H, W), a view of it. Tokens that form a square are
    folded, row by row; others are maps of width 1 (N, C, T, 1). Other shapes stay as they are.

    >>> import torch
    >>> as_maps(nn.LayerNorm(8), torch.zeros(2, 49, 8)).shape
    torch.Size([2, 8, 7, 7])
    >>> as_maps(nn.LayerNorm(8), torch.zeros(2, 50, 8)).shape
    torch.Size([2, 8, 50, 1])
    """
    if out.ndim == 4:
        return out.movedim(3, 1) if channels_last(module, out.shape) else out
    if out.ndim != 3:
        return out
    maps = out.transpose(1, 2) if channels_last(module, out.shape) else out
    side = math.isqrt(maps.shape[2])
    return maps.unflatten(2, (side, side) if side * side == maps.shape[2] else (-1, 1))


def as_given(module: nn.Module, maps: Tensor, shape: Sequence[int]) -> Tensor:
    """Maps in the shape of a module's output again: the inverse of :func:`as_maps`.

    >>> import torch
    >>> x = torch.rand(2, 49, 8)
    >>> bool(torch.equal(as_given(nn.LayerNorm(8), as_maps(nn.LayerNorm(8), x), x.shape), x))
    True
    """
    if len(shape) == 4:
        return maps.movedim(1, 3) if channels_last(module, shape) else maps
    if len(shape) != 3:
        return maps
    flat = maps.flatten(2)
    return flat.transpose(1, 2) if channels_last(module, shape) else flat


def folded(maps: Any) -> Any:
    """Maps (..., C, T, 1) of tokens as pictures (..., C, side, side): class and register tokens
    before the patches are left out. Maps that have no such square stay as they are. A tensor or an
    array.

    >>> import torch
    >>> folded(torch.zeros(2, 8, 50, 1)).shape
    torch.Size([2, 8, 7, 7])
    """
    if maps.shape[-1] != 1 or maps.shape[-2] < 4:
        return maps
    many = maps.shape[-2]
    side = math.isqrt(many)
    extra = many - side * side
    if side < 2 or extra > 8:
        return maps
    return maps[..., extra:, 0].reshape(*maps.shape[:-2], side, side)
