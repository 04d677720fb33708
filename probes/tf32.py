"""TF32, in which a GPU multiplies numbers of fp32 with 10 bits of their mantissa, and how it is
turned off.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def without_tf32() -> Iterator[None]:
    """Products and convolutions of fp32 in fp32. Torch has two ways to say so, and refuses to read
    the older one where somebody used the newer one; the newer one counts, where there is one.
    """
    b = torch.backends
    asked: list[tuple[Any, str, Any]] = [
        (b.cuda.matmul, "allow_tf32", False),
        (b.cudnn, "allow_tf32", False),
    ]
    if hasattr(b.cudnn, "conv"):  # torch 2.9; later, since what is set last counts
        asked += [(one, "fp32_precision", "ieee") for one in (b.cuda.matmul, b.cudnn.conv)]
        asked += [(b.cudnn.rnn, "fp32_precision", "ieee")]
    before = []
    for place, name, _ in asked:
        with contextlib.suppress(RuntimeError):
            before.append((place, name, getattr(place, name)))
    read = [(place, name) for place, name, _ in before]
    try:
        for place, name, value in asked:
            if (place, name) in read:
                setattr(place, name, value)
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)
