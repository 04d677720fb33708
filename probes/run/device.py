"""Where a network runs: the device, exact arithmetic with a fixed number of threads, and
autocast."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from probes import freed
from probes.errors import BadInput, Unavailable
from probes.registry import unknown
from probes.tf32 import without_tf32


def best_device(asked: str | None = None) -> torch.device:
    """The device to run on: the one asked for, else cuda, else mps, else cpu.

    Raises UnknownName for a device that torch does not know, Unavailable for one that is not here.

    >>> best_device("cpu")
    device(type='cpu')
    """
    here = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if asked is None:
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if here[name]))
    kind = asked.partition(":")[0]
    if kind not in here:
        raise unknown("device", asked, here)
    if not here[kind]:
        raise Unavailable(
            f"device {asked!r} is not on this machine; leave the option out for the best one here"
        )
    return torch.device(asked)


def card(asked: str) -> str:
    """The name of a graphics card, as its driver gives it; empty for other devices.

    >>> card("cpu")
    ''
    """
    return torch.cuda.get_device_name(asked) if asked.startswith("cuda") else ""


@contextlib.contextmanager
def on_one_device(subject: Any) -> Iterator[None]:
    """Turn torch's error of tensors on several devices into one that names the network and a way
    out: a forward that makes a tensor makes it on the cpu, unless it is told where.
    """
    try:
        yield
    except RuntimeError as e:
        if "same device" not in str(e):
            raise
        raise BadInput(
            f"{subject.spec} makes tensors on another device than its images are on: write"
            " torch.ones(n, device=x.device) in its forward, or run on the cpu"
            f" (--probes-device cpu, Lab(..., device='cpu')); torch says: {str(e).splitlines()[0]}"
        ) from e


OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")
"""What torch says, in a RuntimeError, where memory is lacking."""


def largest_that_fits(run: Callable[[int], object], start: int) -> int:
    """The first of ``start``, half of it, and so on, down to 1, at which ``run(n)`` has enough
    memory.

    Any other error passes through. Raises Unavailable if not even one image fits.

    >>> def run(n):
    ...     if n > 100:
    ...         raise MemoryError
    >>> largest_that_fits(run, 250)
    62
    """
    n = start
    while not _fits(run, n):
        if n == 1:
            raise Unavailable(
                "the network does not fit: a pass over a single image runs out of memory; run on"
                " another device, in bf16, or on smaller images (DATASET@SIDEpx)"
            )
        n //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return n


def _fits(run: Callable[[int], object], n: int) -> bool:
    try:
        run(n)
    except (MemoryError, RuntimeError) as e:
        lacking = isinstance(e, MemoryError | torch.OutOfMemoryError)
        if not lacking and not any(words in str(e) for words in OUT_OF_MEMORY):
            raise
        return False
    return True


@contextlib.contextmanager
def exact(threads: int) -> Iterator[None]:
    """Inference with a fixed number of threads and without TF32 inside the block. The settings are
    restored afterwards.
    """
    freed.keep()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with without_tf32(), torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def cast(device: torch.device, precision: str) -> Iterator[None]:
    """Autocast of convolutions and products to bf16 inside the block, if that precision is asked
    for.

    On a CPU a convolution whose output is a single position stays in fp32. Measured for 128 images,
    512 channels and a 3 x 3 kernel, bf16 takes six times as long there (7.5 ms and 1.2 ms).
    Everywhere else it is faster.
    """
    if precision != "bf16":
        yield
        return
    with (
        torch.autocast(device.type, torch.bfloat16),
        _WideWhereNarrow() if device.type == "cpu" else contextlib.nullcontext(),
    ):
        yield


class _WideWhereNarrow(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv2d and _one_position(*args, **kwargs):
            with torch.autocast("cpu", enabled=False):
                x, *others = args if args else (kwargs["input"],)
                return func(x.float(), *others, **{k: v for k, v in kwargs.items() if k != "input"})
        return func(*args, **kwargs)


def _one_position(
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> bool:
    if isinstance(padding, str) or weight.dtype != torch.float32 or weight[0, 0].numel() == 1:
        return False

    def two(value: Any) -> tuple[int, int]:
        pair = (value,) if isinstance(value, int) else tuple(value)
        return pair * 2 if len(pair) == 1 else pair  # type: ignore[return-value]

    geometry = zip(
        input.shape[-2:], weight.shape[-2:], two(stride), two(padding), two(dilation), strict=True
    )
    return all((n + 2 * p - d * (k - 1) - 1) // s == 0 for n, k, s, p, d in geometry)
