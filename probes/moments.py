"""Moments per image, in double precision where it matters, without a copy of the activations."""

from __future__ import annotations

import torch
from torch import Tensor


def flatten_images(tensor: Tensor) -> Tensor:
    """The elements of each image as a row: (N, ...) -> (N, elements), in memory order, without a
    copy if possible.

    Half precision becomes float32 first: a sum of squares of 64 x 112 x 112 unit normals overflows
    float16. The order of elements within a row is that of the memory format. No moment depends on
    it.

    >>> flatten_images(torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)).shape
    torch.Size([2, 48])
    """
    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.float()
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.flatten(1)


def to_float64(tensor: Tensor) -> Tensor:
    """The tensor in float64, on the CPU where its device has none (MPS)."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def power_sums(row: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """The sum and the 2-norm of each row; three tensors (N,). The third is the variance, or None
    where the first two give it with all its digits.

    The variance is the mean square minus the squared mean. This cancels if the mean is large
    compared with the standard deviation. If that holds for any row, all variances are computed in
    two passes and float64.

    >>> [t.tolist() for t in power_sums(torch.tensor([[3.0, -4.0]]))[:2]]
    [[-1.0], [5.0]]
    """
    total, norm = row.sum(1), torch.linalg.vector_norm(row, dim=1)
    far = norm * norm < total * total * (1.01 / row.shape[1])
    return total, norm, to_float64(row).var(1, correction=0) if far.any() else None


def mean_and_variance(row: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the population variance (ddof 0) of each row: (N, elements) -> two tensors (N,),
    float64.

    >>> mean, variance = mean_and_variance(torch.tensor([[1.0, 3.0], [1e4, 1e4 + 2]]))
    >>> variance.tolist()
    [1.0, 1.0]
    """
    n = row.shape[1]
    total, norm, variance = power_sums(row)
    mean = to_float64(total) / n
    if variance is None:
        variance = (to_float64(norm).square() / n - mean.square()).clamp_(min=0)
    return mean, variance


PIECE = 1 << 19
"""This many elements are reduced together. Several passes over them then find them in the cache."""


def sign_sums(row: Tensor, size: bool = True) -> tuple[Tensor, Tensor, Tensor | None]:
    """Of each row the sum, the number of elements <= 0 and (unless ``size`` is false) the sum of
    absolute values.

    Float32 holds a count exactly up to 2**24 elements; longer rows are counted as integers.
    Measured on a CPU, a sum over a scratch row of 0s and 1s takes a third of the time of a sum that
    converts booleans.

    >>> [t.item() for t in sign_sums(torch.tensor([[1.0, -3.0, 0.0]]))]
    [-2.0, 2.0, 4.0]
    """
    found = []
    for piece in row.split(max(1, PIECE // row.shape[1])):
        scratch = torch.empty_like(piece)
        zeros = (
            torch.le(piece, 0, out=scratch).sum(1)
            if row.shape[1] <= 1 << 24
            else (piece <= 0).sum(1)
        )
        found.append(
            [piece.sum(1), zeros, *([torch.abs(piece, out=scratch).sum(1)] if size else [])]
        )
    total, zeros, *sizes = (
        parts[0] if len(parts) == 1 else torch.cat(parts) for parts in zip(*found, strict=True)
    )
    return total, zeros, sizes[0] if sizes else None
