"""The words of named streams by a Triton kernel: one pass over memory instead of some hundred."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 512
"""The number of counters that one program of the kernel takes; each gives four words."""


@triton.jit
def _kernel(keys, out, first, counters, n, size: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * size + tl.arange(0, size)
    zero = tl.zeros((size,), tl.uint64)
    k0 = zero + tl.load(keys + 2 * row).to(tl.uint64, bitcast=True)
    k1 = zero + tl.load(keys + 2 * row + 1).to(tl.uint64, bitcast=True)
    c0 = (first + place).to(tl.uint64)
    c0, c1, c2, c3 = tl.philox_impl(c0, zero, zero, zero, k0, k1, 10)
    at = out + row * n + 4 * place
    here = place < counters
    tl.store(at, c0.to(tl.int64, bitcast=True), mask=here & (4 * place < n))
    tl.store(at + 1, c1.to(tl.int64, bitcast=True), mask=here & (4 * place + 1 < n))
    tl.store(at + 2, c2.to(tl.int64, bitcast=True), mask=here & (4 * place + 2 < n))
    tl.store(at + 3, c3.to(tl.int64, bitcast=True), mask=here & (4 * place + 3 < n))


def words(keys: Tensor, n: int, first: int = 1) -> Tensor:
    """``n`` words of each key (names, 2), int64, from the counter ``first`` on: shape (names, n),
    int64, where the keys are.
    """
    out = torch.empty((len(keys), n), dtype=torch.int64, device=keys.device)
    counters = -(-n // 4)
    if out.numel():
        grid = len(keys), triton.cdiv(counters, BLOCK)
        with torch.cuda.device_of(out):  # Triton launches on the current card
            _kernel[grid](keys, out, first, counters, n, BLOCK)
    return out
