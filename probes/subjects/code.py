"""What a network computes beside its weights, as a hash: so that results of an edited network are measured again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from probes.fingerprint import PLAIN, fingerprint, installed
from probes.measure.taps import adapter_of

INTERNAL = {"training", "_is_full_backward_hook"}


def source_sha256(model: nn.Module, builder: Callable[..., Any] | None = None) -> str:
    """The SHA-256 of a model's structure, the attributes of its modules, and the code of their classes and of its builder.

    Code is what runs (:func:`probes.fingerprint.fingerprint`): comments, docstrings and what else stands in the file are no part.

    >>> source_sha256(nn.ReLU()) == source_sha256(nn.ReLU()) != source_sha256(nn.ReLU(inplace=True))
    True
    """
    kinds = {type(m) for m in model.modules()}
    shapes = [(name, str(tensor.dtype), _shape(tensor)) for name, tensor in model.state_dict().items() if hasattr(tensor, "dtype")]
    constants = [(name, tensor.flatten().tolist()) for name, tensor in model.named_buffers() if name in ("mean", "std")]
    return fingerprint(
        [(name, list(_plain(module))) for name, module in model.named_modules()],
        shapes, constants, sorted(kinds, key=lambda kind: (kind.__module__, kind.__qualname__)), builder,
    )  # fmt: skip


def code_sha256(model: nn.Module, builder: Callable[..., Any] | None = None) -> str:
    """What stored results of a network depend on beside its weights: its source, and the adapters by which its blocks are read."""
    adapters = [(name, repr(adapter_of(module))) for name, module in model.named_modules() if adapter_of(module) is not None]
    return fingerprint(source_sha256(model, builder), adapters)


def _plain(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The settings of a module: plain attributes, and functions that it was given."""
    yield "class", type(module).__qualname__
    for name, value in sorted(vars(module).items()):
        if name in INTERNAL or name in ("_parameters", "_buffers", "_modules") or name.endswith("_hooks"):
            continue
        if isinstance(value, (*PLAIN, tuple)) or (callable(value) and hasattr(value, "__code__")):
            yield name, value if not isinstance(value, tuple) or all(isinstance(v, PLAIN) for v in value) else repr(value)
        elif callable(value) and installed(getattr(value, "__module__", None) or "builtins"):
            yield name, getattr(value, "__name__", type(value).__name__)


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(tensor.shape)
