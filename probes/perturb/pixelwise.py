"""Corruptions of Hendrycks and Dietterich (2019): noise, blur and what is done to colours.

Each is ``corrupt(x, c, draws)`` for an image (H, W, C) of whole numbers from 0 to 255 in double
precision, with one channel or three, a parameter of :mod:`probes.perturb.published` and a
:class:`probes.perturb.drawing.Stream`. The result is cut to 0 to 255 and to whole numbers by
:func:`probes.perturb.corrupting.corrupted_bytes`, as published.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage, special

from probes.perturb.drawing import Stream

Corrupt = Callable[[np.ndarray, Any, Stream], np.ndarray]


def gaussian_noise(x: np.ndarray, c: float, draws: Stream) -> np.ndarray:
    """Normal noise."""
    return np.clip(x / 255 + c * draws.normal(*x.shape), 0, 1) * 255


def speckle_noise(x: np.ndarray, c: float, draws: Stream) -> np.ndarray:
    """Normal noise in proportion to the pixel."""
    x = x / 255
    return np.clip(x + x * (c * draws.normal(*x.shape)), 0, 1) * 255


@functools.cache
def _poisson(c: float) -> np.ndarray:
    """The distribution functions of the photons of each of 256 values, (256, photons); that of a
    value v runs from v to v + 1, so that all of them together ascend.
    """
    most = math.ceil(c + 12 * math.sqrt(c) + 20)
    values = np.arange(256)[:, None]
    return special.pdtr(np.arange(most)[None], values / 255 * c) + values


def shot_noise(x: np.ndarray, c: float, draws: Stream) -> np.ndarray:
    """The photons that a pixel counts: Poisson, by the quantile of a uniform, so that one image is
    noisy in the same places at all severities.
    """
    table = _poisson(c)
    places = np.searchsorted(table.ravel(), x + draws.uniform(*x.shape))
    return np.clip((places - x * table.shape[1]) / c, 0, 1) * 255


def impulse_noise(x: np.ndarray, c: float, draws: Stream) -> np.ndarray:
    """A share of values is 0 or 255, with equal chances."""
    hit, salt = draws.uniform(*x.shape) <= c, draws.uniform(*x.shape) <= 0.5
    return np.where(hit, np.where(salt, 255.0, 0.0), x)


def smooth(x: np.ndarray, sigma: float, mode: Any = "nearest", truncate: float = 4) -> np.ndarray:
    """A Gaussian over the first two axes."""
    return ndimage.gaussian_filter(
        x, (sigma, sigma, *[0] * (x.ndim - 2)), mode=mode, truncate=truncate
    )


def gaussian_blur(x: np.ndarray, c: float, draws: Stream) -> np.ndarray:
    """A Gaussian."""
    return np.clip(smooth(x / 255, c), 0, 1) * 255


def glass_blur(x: np.ndarray, c: tuple[float, int, int], draws: Stream) -> np.ndarray:
    """Between two Gaussians each pixel takes the colour of one nearby, from the lower right corner
    on. (The published code means to swap the two; what it does is to copy the one to the other.)
    """
    sigma, reach, rounds = c
    x = np.floor(smooth(x / 255, sigma) * 255)
    high, wide = x.shape[:2]
    rows = range(high - reach, reach, -1)
    columns = range(wide - reach, reach, -1)
    shape = (rounds, len(rows), len(columns), 2)
    moves = draws.whole(-reach, reach, *shape)
    step = (moves[..., 1] * wide + moves[..., 0]).tolist()
    source = list(range(high * wide))
    for one in step:
        for h, row in zip(rows, one, strict=True):
            start = h * wide
            for w, move in zip(columns, row, strict=True):
                source[start + w] = source[start + w + move]
    shuffled = x.reshape(high * wide, -1)[source].reshape(x.shape)
    return np.clip(smooth(shuffled / 255, sigma), 0, 1) * 255


def _disk(radius: float, alias: float) -> np.ndarray:
    reach, taps = (8, 3) if radius <= 8 else (int(radius), 5)
    along = np.arange(-reach, reach + 1)
    disk = (along[:, None] ** 2 + along**2 <= radius**2).astype(float)
    disk /= disk.sum()
    bell = np.exp(-((np.arange(taps) - taps // 2) ** 2) / (2 * alias**2))
    for axis in (0, 1):
        disk = ndimage.correlate1d(disk, bell / bell.sum(), axis, mode="mirror")
    return disk


def defocus_blur(x: np.ndarray, c: tuple[float, float], draws: Stream) -> np.ndarray:
    """A disk with softened edges."""
    kernel = _disk(*c)[:, :, None]
    return np.clip(ndimage.correlate(x / 255, kernel, mode="mirror"), 0, 1) * 255


def streaked(x: np.ndarray, radius: int, sigma: float, angle: float) -> np.ndarray:
    """Half a Gaussian along a line: each step is the image moved by whole pixels, edges repeated.

    It is the motion blur of ImageMagick, with which the published images were made.
    """
    wide = 2 * radius + 1
    weights = np.exp(-(np.arange(wide) ** 2) / (2 * sigma**2))
    down, right = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    out = np.zeros(x.shape)
    rows, columns = (np.arange(n) for n in x.shape[:2])
    for i, weight in enumerate(weights / weights.sum()):
        dy, dx = -math.ceil(i * down - 0.5), -math.ceil(i * right - 0.5)
        y, across = rows - dy, columns - dx
        moved = x[y.clip(0, len(rows) - 1)[:, None], across.clip(0, len(columns) - 1)[None]]
        out += weight * moved
    return out


def motion_blur(x: np.ndarray, c: tuple[int, float], draws: Stream) -> np.ndarray:
    """A streak in a direction of up to 45 degrees from the horizontal."""
    angle = float(draws.uniform(1, low=-45, high=45)[0])
    return np.round(np.clip(streaked(x, *c, angle), 0, 255))


def zoomed(x: np.ndarray, factor: float) -> np.ndarray:
    """The middle of an image (H, W, C), enlarged to its size."""
    high, wide = x.shape[:2]
    inside = [math.ceil(n / factor) for n in (high, wide)]
    top, left = (high - inside[0]) // 2, (wide - inside[1]) // 2
    part = x[top : top + inside[0], left : left + inside[1]]
    large = ndimage.zoom(part, (factor, factor, 1), order=1)
    top, left = (large.shape[0] - high) // 2, (large.shape[1] - wide) // 2
    return large[top : top + high, left : left + wide]


def zoom_blur(x: np.ndarray, c: np.ndarray, draws: Stream) -> np.ndarray:
    """The mean of the image and of enlarged ones."""
    x = (x / 255).astype(np.float32)
    total = x + sum(zoomed(x, factor) for factor in c)
    return np.clip(total / (len(c) + 1), 0, 1) * 255


def _hue(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, saturation and hue of an image in [0, 1]. A hue is how far below the largest channel
    each one is, of the chroma; that of grey is red, as in scikit-image.
    """
    value = x.max(2, keepdims=True)
    chroma = value - x.min(2, keepdims=True)
    safe = np.where(chroma > 0, chroma, 1)
    hue = np.where(chroma > 0, (value - x) / safe, [0.0, 1.0, 1.0])
    return value, np.where(value > 0, chroma / np.where(value > 0, value, 1), 0), hue


def brightness(x: np.ndarray, c: float, draws: Stream) -> np.ndarray:
    """Added to the value of HSV; hue and saturation stay."""
    if x.shape[2] == 1:
        return np.clip(x / 255 + c, 0, 1) * 255
    value, saturation, hue = _hue(x / 255)
    return np.clip(np.clip(value + c, 0, 1) * (1 - saturation * hue), 0, 1) * 255


def saturate(x: np.ndarray, c: tuple[float, float], draws: Stream) -> np.ndarray:
    """The saturation of HSV, times a factor plus an addend. Images of one channel stay as they
    are.
    """
    if x.shape[2] == 1:
        return x
    value, saturation, hue = _hue(x / 255)
    return np.clip(value * (1 - np.clip(saturation * c[0] + c[1], 0, 1) * hue), 0, 1) * 255


def contrast(x: np.ndarray, c: float, draws: Stream) -> np.ndarray:
    """The distance from the mean of each channel, times a factor."""
    x = x / 255
    means = x.mean((0, 1), keepdims=True)
    return np.clip((x - means) * c + means, 0, 1) * 255


def _picture(x: np.ndarray) -> Image.Image:
    return Image.fromarray(x.astype(np.uint8).squeeze())


def jpeg_compression(x: np.ndarray, c: int, draws: Stream) -> np.ndarray:
    """Written as JPEG and read again, by Pillow."""
    written = io.BytesIO()
    _picture(x).save(written, "JPEG", quality=c)
    return np.asarray(Image.open(written), float).reshape(x.shape)


def pixelate(x: np.ndarray, c: float, draws: Stream) -> np.ndarray:
    """Made smaller, and large again, by the mean over boxes."""
    high, wide = x.shape[:2]
    small = _picture(x).resize((int(wide * c), int(high * c)), Image.Resampling.BOX)
    return np.asarray(small.resize((wide, high), Image.Resampling.BOX), float).reshape(x.shape)
