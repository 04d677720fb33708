"""Random draws with names. The same name gives the same numbers, whatever the batch, the order or
the machine.

Every draw is a stream of numpy's counter-based Philox4x64-10 generator (Salmon et al., "Parallel
random numbers: as easy as 1, 2, 3", 2011), keyed by the SHA-256 of its name. Only the raw 64-bit
words of that generator are used: they are fixed by its definition, while the floats of
``numpy.random.Generator`` may change between versions. There is no global state, and 0 is a seed
like any other.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

Name = str | int

_written = json.JSONEncoder(
    separators=(",", ":")
).encode  # json.dumps would make an encoder for every name


def key(name: Sequence[Name]) -> np.ndarray:
    """The key of a named stream: two words, uint64, the start of the SHA-256 of the name.

    Raises TypeError for a part that is neither a string nor an integer, ValueError for no parts.

    >>> key(("example", 0)).dtype
    dtype('uint64')
    """
    parts = [part if isinstance(part, str) else operator.index(part) for part in name]
    if not parts:
        raise ValueError("a draw needs a name: seeds.words(4, 'noise', seed, image_id)")
    digest = hashlib.sha256(_written(parts).encode()).digest()
    return np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)


def words(n: int, *name: Name) -> np.ndarray:
    """The first ``n`` raw words of the named stream: shape ``(n,)``, uint64.

    Raises TypeError when a part of the name is neither a string nor an integer.

    >>> int(words(2, "example", 0)[0]) == int(words(1, "example", 0)[0])
    True
    """
    return next(_streams(n, [name]))


def _streams(n: int, names: Iterable[Sequence[Name]]) -> Iterator[np.ndarray]:
    # One generator, set to the start of each stream: a new Philox object per name costs four times
    # the draw itself.
    generator = np.random.Philox(key=0)
    start: Any = dict(generator.state)
    zero = np.zeros(4, dtype=np.uint64)
    for name in names:
        start["state"] = {"counter": zero, "key": key(name)}
        generator.state = start
        yield generator.random_raw(n)


def uniform(n: int, *name: Name) -> np.ndarray:
    """``n`` uniforms in [0, 1): shape ``(n,)``, float64, multiples of 2**-53.

    >>> bool((uniform(100, "example", 0) < 1).all())
    True
    """
    return (words(n, *name) >> np.uint64(11)) * 2.0**-53


def permutation(n: int, *name: Name) -> np.ndarray:
    """A random order of ``range(n)``: shape ``(n,)``, int64.

    >>> sorted(permutation(4, "example", 0).tolist())
    [0, 1, 2, 3]
    """
    return np.argsort(words(n, *name), kind="stable")


def normals(size: int, names: Iterable[Sequence[Name]]) -> np.ndarray:
    """Standard normals, one row per name: shape ``(names, size)``, float32 (Box and Muller 1958).

    One 64-bit word makes two normals, so a row is the start of any longer row of the same name only
    in pairs of halves; rows never depend on one another.

    >>> a = normals(6, [("example", 0), ("example", 1)])
    >>> b = normals(6, [("example", 1)])
    >>> bool((a[1] == b[0]).all())
    True
    """
    half = (size + 1) // 2
    names = list(names)
    out = np.empty((len(names), 2 * half), dtype=np.float32)
    raw = np.empty((max(1, _BLOCK // max(1, half)), half), dtype=np.uint64)
    for i, stream in enumerate(_streams(half, names)):
        row = i % len(raw)
        raw[row] = stream
        if row + 1 == len(raw) or i + 1 == len(names):
            _box_muller(raw[: row + 1], out[i - row : i + 1])
    return out[:, :size]


_BLOCK = 1 << 15
"""The number of words that are made normal together: few enough for the cache, enough for numpy's
vector loops.
"""


def _box_muller(words: np.ndarray, out: np.ndarray) -> None:
    half = words.shape[1]
    parts = words.view(np.uint32).reshape(len(words), half, 2)
    low = 0 if np.little_endian else 1
    # (k + 1/2) / 2**32 lies in (0, 1], so the logarithm is finite and |z| stays below 6.8.
    radius = parts[..., low].astype(np.float32)
    radius += np.float32(0.5)
    radius *= np.float32(2.0**-32)
    np.log(radius, out=radius)
    radius *= np.float32(-2)
    np.sqrt(radius, out=radius)
    angle = parts[..., 1 - low].astype(np.float32)
    angle *= np.float32(2 * np.pi * 2.0**-32)
    np.multiply(radius, np.cos(angle), out=out[:, :half])
    np.multiply(radius, np.sin(angle), out=out[:, half:])
