"""Hue, saturation and value of images in [0, 1]. They are computed before normalisation, where they
have a meaning.
"""

from __future__ import annotations

import torch
from torch import Tensor

from probes.errors import BadInput

HSV = ("H", "S", "V")


def hsv(images: Tensor) -> Tensor:
    """Hue, saturation and value, each in [0, 1], of images (..., 3, H, W) in [0, 1]; Smith (1978),
    as in :mod:`colorsys`.

    Hue and saturation of grey images (..., 1, H, W) are 0. Raises BadInput for other numbers of
    channels, and for values outside [0, 1], as normalised images have them.

    >>> hsv(torch.tensor([0.5, 0.25, 0.25]).reshape(3, 1, 1)).flatten().tolist()
    [0.0, 0.5, 0.5]
    """
    if images.ndim < 3 or images.shape[-3] not in (1, 3):
        raise BadInput(f"images of shape {tuple(images.shape)}: (..., 3, H, W), or one channel")
    if images.numel() and (images.min() < 0 or images.max() > 1):
        raise BadInput(
            f"values from {images.min():.3g} to {images.max():.3g}: hue and saturation are those of"
            " images in [0, 1]"
        )
    red, green, blue = images.expand(*images.shape[:-3], 3, *images.shape[-2:]).unbind(-3)
    value, low = (
        torch.maximum(torch.maximum(red, green), blue),
        torch.minimum(torch.minimum(red, green), blue),
    )
    chroma = value - low
    safe = torch.where(chroma > 0, chroma, 1)
    which = torch.where(
        value == red,
        ((green - blue) / safe) % 6,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = torch.where(chroma > 0, which / 6, 0)
    saturation = torch.where(value > 0, chroma / torch.where(value > 0, value, 1), 0)
    return torch.stack([hue, saturation, value], -3)
