"""Images as floats on the device of a network: sent once, as bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from probes.subjects.dataset import Dataset

HOST = {"cpu"}
"""The kinds of devices that images are not sent to: bytes become floats where they lie."""


def floats(images: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """Images as floats in [0, 1], from uint8 of any shape: float32, on the device.

    They go over as bytes, a quarter of the size, from pinned memory where there is CUDA, and while
    other work goes on. The numbers are the same on every device.

    >>> floats(np.array([0, 51, 255], np.uint8)).tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    here, device = torch.from_numpy(images), torch.device(device)
    if device.type in HOST:
        return here.float().div_(255)
    cuda = device.type == "cuda"
    there = (here.pin_memory() if cuda else here).to(device, non_blocking=cuda).float()
    # By a tensor of the device: CUDA multiplies by the reciprocal of a plain number, which loses a
    # bit.
    return there.div_(torch.full((), 255.0, device=device))


def pixels(data: Dataset, part: slice = slice(None), device: torch.device | str = "cpu") -> Tensor:
    """Images of a dataset as floats in [0, 1], float32 (N, C, H, W), on a device."""
    return floats(np.array(data.images[part]), device)


def evenly(
    data: Dataset | None, batch_size: int, device: torch.device | str = "cpu"
) -> Iterator[Tensor]:
    """The images of a dataset in batches of nearly equal size, for averages in which each batch has
    the same weight.
    """
    assert data is not None
    parts = -(-len(data) // batch_size)
    size = -(-len(data) // parts)
    for i in range(0, len(data), size):
        yield pixels(data, slice(i, min(i + size, len(data))), device)
