"""Corruptions of Hendrycks and Dietterich (2019): weather, spatter, and shapes that bend. See
:mod:`probes.perturb.pixelwise` for what each is given.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from probes.errors import BadInput, Unavailable
from probes.perturb.drawing import Stream
from probes.perturb.pixelwise import smooth, streaked, zoomed

LUMA = np.array([0.299, 0.587, 0.114])


def _grey(x: np.ndarray) -> np.ndarray:
    """The luma of an image, with an axis for its one channel."""
    return x if x.shape[2] == 1 else (x @ LUMA)[:, :, None]


def _like(colour: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A coloured layer for an image that may have one channel."""
    return colour if x.shape[2] == 3 else (colour @ LUMA)[..., None]


def plasma(side: int, decay: float, draws: Stream) -> np.ndarray:
    """A height map between 0 and 1 by the diamond-square algorithm on a torus: (side, side), a
    power of two. Roughness shrinks by ``decay`` at each halving.
    """
    heights, step, rough = np.zeros((side, side)), side, 100.0

    def mean(total: np.ndarray) -> np.ndarray:
        return total / 4 + rough * draws.uniform(*total.shape, low=-rough, high=rough)

    def beside(a: np.ndarray, by: int, axis: int) -> np.ndarray:
        return a + np.roll(a, by, axis)

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        middles = heights[half::step, half::step]
        middles[...] = mean(beside(beside(corners, -1, 0), -1, 1))
        heights[::step, half::step] = mean(beside(middles, 1, 0) + beside(corners, -1, 1))
        heights[half::step, ::step] = mean(beside(middles, 1, 1) + beside(corners, -1, 0))
        step, rough = half, rough / decay
    heights -= heights.min()
    return heights / heights.max()


def fog(x: np.ndarray, c: tuple[float, float], draws: Stream) -> np.ndarray:
    """A height map is added, and the whole made as bright as before."""
    high, wide = x.shape[:2]
    side = 1 << (max(high, wide, 2) - 1).bit_length()
    x = x / 255
    top = x.max()
    thick = c[0] * plasma(side, c[1], draws)[:high, :wide, None]
    return np.clip((x + thick) * top / (top + c[0]), 0, 1) * 255


FROST = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
"""The photographs of frost that the published code chooses from (it has a sixth, and leaves it)."""


@functools.cache
def photographs() -> tuple[np.ndarray, ...]:
    """The photographs of frost, (H, W, 3) bytes. Raises Unavailable, with the command that brings
    them, where they are not here.
    """
    found = importlib.util.find_spec("imagecorruptions")
    if found is None or not found.submodule_search_locations:
        raise Unavailable(
            "frost is made of published photographs, which a package has that is not here: pip"
            " install 'neural-probes[corruptions]' (or leave frost out)"
        )
    folder = Path(next(iter(found.submodule_search_locations))) / "frost"
    return tuple(np.asarray(Image.open(folder / name).convert("RGB")) for name in FROST)


def frost(x: np.ndarray, c: tuple[float, float], draws: Stream) -> np.ndarray:
    """A part of a photograph of frost laid over the image; at 32 px of a photograph at a fifth of
    its size. Raises Unavailable, with the command, where the photographs are not here.
    """
    which = int(draws.whole(0, len(FROST), 1)[0])
    ice = photographs()[which]
    high, wide = x.shape[:2]
    if max(high, wide) <= 64:
        ice = ice[2::5, 2::5]
    if ice.shape[0] <= high or ice.shape[1] <= wide:
        raise BadInput(f"frost: images of {high} x {wide} px are larger than {FROST[which]}")
    top = int(draws.whole(0, ice.shape[0] - high, 1)[0])
    left = int(draws.whole(0, ice.shape[1] - wide, 1)[0])
    layer = _like(ice[top : top + high, left : left + wide].astype(float), x)
    return np.clip(c[0] * x + c[1] * layer, 0, 255)


def snow(x: np.ndarray, c: tuple[float, ...], draws: Stream) -> np.ndarray:
    """Flakes that are blurred along their fall, over a paler image."""
    mean, deviation, zoom, threshold, radius, sigma, share = c
    layer = zoomed((mean + deviation * draws.normal(*x.shape[:2]))[:, :, None], zoom)
    layer = np.where(layer < threshold, 0, layer)
    flakes = np.floor(np.clip(layer, 0, 1) * 255)
    angle = float(draws.uniform(1, low=-135, high=-45)[0])
    flakes = np.round(streaked(flakes, int(radius), sigma, angle)) / 255
    x = x / 255
    x = share * x + (1 - share) * np.maximum(x, _grey(x) * 1.5 + 0.5)
    return np.clip(x + flakes + np.rot90(flakes, 2), 0, 1) * 255


def edges(image: np.ndarray, low: float = 50, high: float = 150) -> np.ndarray:
    """Canny's edges of an image of bytes, by Sobel's 3 x 3 and the sum of both slopes' sizes."""
    across, down = (ndimage.sobel(image.astype(int), axis, mode="nearest") for axis in (1, 0))
    size = np.pad(abs(across) + abs(down), 1)

    def at(dy: int, dx: int) -> np.ndarray:
        return size[1 + dy : size.shape[0] - 1 + dy, 1 + dx : size.shape[1] - 1 + dx]

    here, flat, steep = at(0, 0), abs(across), abs(down)
    level = steep < np.tan(np.pi / 8) * flat
    upright = steep > np.tan(3 * np.pi / 8) * flat
    falling = (across < 0) == (down < 0)
    ridge = np.select(
        [level, upright, falling],
        [
            (here > at(0, -1)) & (here >= at(0, 1)),
            (here > at(-1, 0)) & (here >= at(1, 0)),
            (here > at(-1, -1)) & (here > at(1, 1)),
        ],
        (here > at(-1, 1)) & (here > at(1, -1)),
    )
    weak = ridge & (here > low)
    parts, _ = ndimage.label(weak, np.ones((3, 3)))
    strong = np.unique(parts[weak & (here > high)])
    return weak & np.isin(parts, strong)


def _equalised(image: np.ndarray) -> np.ndarray:
    """Bytes with an even histogram."""
    count = np.bincount(image.ravel(), minlength=256)
    first = int(np.flatnonzero(count)[0])
    rest = image.size - count[first]
    if not rest:
        return image
    ranks = np.cumsum(count) - count[first]
    return np.round(np.clip(ranks, 0, None) * (255 / rest)).astype(np.uint8)[image]


def _box(image: np.ndarray) -> np.ndarray:
    return ndimage.correlate(image.astype(float), np.ones((3, 3)), mode="mirror") / 9


STEPS = (
    *((-1, -2, 2.1969), (-1, -1, 1.4), (-1, 0, 1.0), (-1, 1, 1.4), (-1, 2, 2.1969)),
    *((-2, -1, 2.1969), (-2, 1, 2.1969)),
)
"""Steps from the rows above, and their lengths (Borgefors 1986), as the published code takes."""


def distances(rims: np.ndarray) -> np.ndarray:
    """How far each pixel is from the nearest rim, at most 20: by steps to a side, across a corner
    and of a knight, from above and then from below.
    """
    far = np.where(rims, 0.0, 20.0)
    wide = np.arange(far.shape[1])
    for _ in range(2):
        table = np.pad(far, 2, constant_values=20.0)
        for y in range(2, len(table) - 2):
            row = table[y, 2:-2]
            for dy, dx, length in STEPS:
                before = table[y + dy, 2 + dx : 2 + dx + len(row)]
                np.minimum(row, before + length, out=row)
            row[:] = np.minimum.accumulate(row - wide) + wide
        far = table[2:-2, 2:-2][::-1, ::-1]
    return far


KERNEL = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])


def spatter(x: np.ndarray, c: tuple[float, ...], draws: Stream) -> np.ndarray:
    """Drops of water with bright rims, or, from severity 4 on, of mud."""
    mean, deviation, sigma, threshold, strength, mud = c
    liquid = smooth(mean + deviation * draws.normal(*x.shape[:2]), sigma)
    x = x / 255
    if mud:
        cover = smooth((liquid > threshold).astype(np.float32), strength)
        cover = np.where(cover < 0.8, 0, cover)[:, :, None]
        colour = _like(np.array([63, 42, 20]) / 255, x)
        return np.clip(x * (1 - cover) + colour * cover, 0, 1) * 255
    drops = np.floor(np.where(liquid < threshold, 0, liquid) * 255).astype(np.uint8)
    rims = edges(drops)
    if not rims.any():
        return x * 255
    far = _equalised(_box(distances(rims)).astype(np.uint8))
    far = np.clip(ndimage.correlate(far.astype(int), KERNEL, mode="mirror"), 0, 255)
    cover = drops * np.round(_box(far))
    if not cover.max():
        return x * 255
    cover = (cover / cover.max() * strength)[:, :, None]
    colour = _like(np.array([175, 238, 238]) / 255, x)
    return np.clip(x + cover * colour, 0, 1) * 255


def _affine(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The affine map (2, 3) that takes three points (x, y) to three others."""
    return np.linalg.solve(np.column_stack([start, np.ones(3)]), end).T


def elastic_transform(x: np.ndarray, c: tuple[float, ...], draws: Stream) -> np.ndarray:
    """A random affine map, then smooth random shifts; edges reflected."""
    size, sigma, reach = c
    high, wide = x.shape[:2]
    middle, third = np.array([high // 2, wide // 2], float), min(high, wide) // 3
    start = np.array([middle + third, [middle[0] + third, middle[1] - third], middle - third])
    end = start + draws.uniform(3, 2, low=-reach, high=reach)
    back = _affine(end, start)
    rows, columns = np.meshgrid(np.arange(high), np.arange(wide), indexing="ij")
    across, down = np.einsum("ij,jhw->ihw", back, np.stack([columns, rows, np.ones_like(rows)]))
    x = x / 255

    def taken(y: np.ndarray, across: np.ndarray, mode: Any) -> np.ndarray:
        parts = [
            ndimage.map_coordinates(x[:, :, i], (y, across), order=1, mode=mode)
            for i in range(x.shape[2])
        ]
        return np.stack(parts, 2)

    x = taken(down, across, "mirror")
    dx, dy = (
        smooth(draws.uniform(high, wide, low=-1, high=1), sigma, "reflect", 3) * size
        for _ in range(2)
    )
    return np.clip(taken(rows + dy, columns + dx, "reflect"), 0, 1) * 255
