"""Named draws on a device: the raw words of :mod:`probes.seeds`, bit for bit, by integer operations
of torch or by a Triton kernel.

Where a network runs on a device that computes its own draws (:data:`DEVICES`), noise is made there:
only the keys of its names go over. On any other device it is made by numpy and sent. Words are
int64 tensors that hold the bits of uint64. Normals agree with those of numpy within 1e-6, since
logarithms and cosines of two libraries differ in their last bits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probes import seeds
from probes.seeds import Name

DEVICES = {"cuda"}
"""The kinds of devices on which draws are made."""
TOGETHER = {"cpu": 1 << 14}
"""The number of counters, of four words each, that one step takes, by the kind of device."""
MOST = 1 << 21
"""The same on any other device: the steps then need less than 1 GB beside their result."""
LOW = (1 << 32) - 1


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (_signed(0x9E3779B97F4A7C15), _signed(0xBB67AE8584CAA73B))
"""The constants of Philox4x64 (Salmon et al. 2011)."""


def words(n: int, names: Sequence[Sequence[Name]], device: torch.device | str = "cpu") -> Tensor:
    """The first ``n`` raw words of each named stream: shape (names, n), int64, on the device.

    >>> from probes import seeds
    >>> found = words(5, [("example", 0)])[0].numpy().view("uint64")
    >>> bool((found == seeds.words(5, "example", 0)).all())
    True
    """
    device = torch.device(device)
    if device.type not in DEVICES:
        made = np.empty((len(names), n), dtype=np.int64)
        for row, name in zip(made, names, strict=True):
            row[:] = seeds.words(n, *name).view(np.int64)
        return torch.from_numpy(made).to(device)
    out = torch.empty((len(names), n), dtype=torch.int64, device=device)
    for rows, part, drawn in _steps(n, keys(names, device)):
        out[rows, part] = drawn
    return out


def normals(
    size: int, names: Sequence[Sequence[Name]], device: torch.device | str = "cpu"
) -> Tensor:
    """Standard normals, one row per name: shape (names, size), float32, on the device.

    They are those of :func:`probes.seeds.normals`: itself, sent, where the device does not draw;
    else equal within 1e-6. Logarithms and cosines are then taken in double precision of the numbers
    that numpy takes them of, so that what is left are the errors of numpy's own.

    >>> normals(3, [("example", 0), ("example", 1)]).shape
    torch.Size([2, 3])
    """
    device = torch.device(device)
    if device.type not in DEVICES:
        return torch.from_numpy(seeds.normals(size, names)).to(device)
    half = (size + 1) // 2
    out = torch.empty((len(names), size), dtype=torch.float32, device=device)
    for rows, part, drawn in _steps(half, keys(names, device)):
        # (k + 1/2) / 2**32 lies in (0, 1], as in probes.seeds.
        radius = (drawn & LOW).float().add_(0.5).mul_(2.0**-32).double().log_().mul_(-2).sqrt_()
        angle = _high(drawn).float().mul_(2 * math.pi * 2.0**-32).double()
        left = out[rows, half + part.start : half + part.stop]
        out[rows, part] = (radius * angle.cos()).float()
        left.copy_(radius.mul_(angle.sin_())[:, : left.shape[1]])
    return out


def keys(names: Sequence[Sequence[Name]], device: torch.device) -> Tensor:
    """The keys of names: shape (names, 2), int64, on the device."""
    found = np.empty((len(names), 2), dtype=np.int64)
    for row, name in zip(found, names, strict=True):
        row[:] = seeds.key(name).view(np.int64)
    return torch.from_numpy(found).to(device)


def _steps(n: int, keys: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Words in steps that fit in memory: the rows and the columns of the result, and the words."""
    device = keys.device
    most = TOGETHER.get(device.type, MOST)
    counters = max(1, -(-n // 4))
    wide = min(counters, most)
    high = max(1, most // wide)
    draw = _maker(device.type)
    for top in range(0, len(keys), high):
        rows = slice(top, min(top + high, len(keys)))
        for first in range(0, counters, wide):
            part = slice(4 * first, min(4 * (first + wide), n))
            yield rows, part, draw(keys[rows], part.stop - part.start, first + 1)


def by_torch(keys: Tensor, n: int, first: int = 1) -> Tensor:
    """``n`` words of each key (names, 2), int64, from the counter ``first`` on: shape (names, n).

    numpy counts before it draws, so a stream begins at the counter 1.
    """
    counters = -(-n // 4)
    count = torch.arange(first, first + counters, dtype=torch.int64, device=keys.device)
    key0, key1 = keys[:, :1], keys[:, 1:]
    high0, low0 = _product(count[None], MULTIPLIERS[0])
    # The other three words of a counter are 0, so the first round is short.
    c0, c1, c2, c3 = key0.expand(-1, counters), torch.zeros_like(low0), high0 ^ key1, low0
    for _ in range(9):
        key0, key1 = key0 + WEYL[0], key1 + WEYL[1]
        high0, low0 = _product(c0, MULTIPLIERS[0])
        high1, low1 = _product(c2, MULTIPLIERS[1])
        c0, c1 = high1.bitwise_xor_(c1).bitwise_xor_(key0), low1
        c2, c3 = high0.bitwise_xor_(c3).bitwise_xor_(key1), low0
    return torch.stack((c0, c1, c2, c3), 2).flatten(1)[:, :n]


def _high(word: Tensor) -> Tensor:
    """The upper half of words as numbers: a shift of int64 repeats the sign, which is cut off."""
    return (word >> 32).bitwise_and_(LOW)


def _product(word: Tensor, by: int) -> tuple[Tensor, Tensor]:
    """The upper and the lower 64 bits of the product of unsigned words, from halves of 32 bits:
    none of the sums below passes 2**64.
    """
    high, low = by >> 32, by & LOW
    upper, lower = _high(word), word & LOW
    middle = upper * low
    middle += _high(lower * low)
    side = (lower * high).add_(middle & LOW)
    return (upper * high).add_(_high(middle)).add_(_high(side)), word * _signed(by)


Maker = Callable[[Tensor, int, int], Tensor]


@functools.cache
def _maker(kind: str) -> Maker:
    """What draws words on a kind of device: the Triton kernel, if it compiles there and gives the
    words of torch's operations.
    """
    if kind != "cuda":
        return by_torch
    try:
        return kernel(torch.device(kind))
    except Exception:  # noqa: BLE001  # no Triton, or none that compiles here
        return by_torch


def kernel(device: torch.device) -> Any:
    """The Triton kernel, tried on a device. Raises what Triton raises where it can't be had, and
    ValueError if its words are others.
    """
    from probes import philoxkernel

    some = keys([("kernel", 0), ("kernel", 1)], device)
    if not torch.equal(philoxkernel.words(some, 4099, 3), by_torch(some, 4099, 3)):
        raise ValueError("the kernel draws other words than torch's operations")
    return philoxkernel.words
