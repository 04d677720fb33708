"""Moments per image, in double precision where it matters, without a copy of the activations."""

from __future__ import annotations

import torch
from torch import Tensor


def rows(tensor: Tensor) -> Tensor:
    """The elements of each image as a row: (N, ...) -> (N, elements), in memory order, without a copy if possible.

    Half precision is widened first: a sum of squares of 64 x 112 x 112 unit normals overflows float16. The order of
    elements within a row is that of the memory format, which no moment depends on.

    >>> rows(torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)).shape
    torch.Size([2, 48])
    """
    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.float()
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.flatten(1)


def wide(tensor: Tensor) -> Tensor:
    """The tensor in float64, on the CPU where its device has none (MPS)."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def squares(row: Tensor) -> Tensor:
    """The sum of squares of each row: (N, elements) -> (N,), float64."""
    return wide(torch.linalg.vector_norm(row, dim=1)).square()


def mean_and_variance(row: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population variance (ddof 0) of each row: (N, elements) -> two of (N,), float64.

    The variance is the mean square less the squared mean, which loses digits where the mean is large beside the
    spread; such rows are centred first.

    >>> mean, variance = mean_and_variance(torch.tensor([[1.0, 3.0], [1e4, 1e4 + 2]]))
    >>> variance.numpy().round(5).tolist()
    [1.0, 1.0]
    """
    n = row.shape[1]
    mean = wide(row.sum(1)) / n
    variance = squares(row) / n - mean.square()
    far = variance < 0.01 * mean.square()
    if far.any():
        centred = wide(row[far.to(row.device)]) - mean[far, None]
        variance[far] = centred.square().mean(1) - centred.mean(1).square()
    return mean, variance.clamp_(min=0)
