"""What a network computes beside its weights, as a hash: so that results of an edited network are
measured again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from probes.fingerprint import fingerprint
from probes.hooks import refuse_wrapped
from probes.measure.adapters import adapter_of

INTERNAL = {
    "training",
    "_is_full_backward_hook",
    "_parameters",
    "_buffers",
    "_modules",
    "_non_persistent_buffers_set",
    "_is_hf_initialized",
    "call_super_init",
    "dump_patches",
    "T_destination",
}


def source_sha256(model: nn.Module, builder: Callable[..., Any] | None = None) -> str:
    """The SHA-256 of a model's structure, all that its modules hold beside weights, and the code of
    their classes and its builder.

    Code is what runs (:func:`probes.fingerprint.fingerprint`): comments, docstrings and what else
    stands in the file are no part. Raises BadInput, naming it, for an attribute whose content can't
    be told, and for a compiled, scripted or DataParallel model.

    >>> source_sha256(nn.ReLU()) == source_sha256(nn.ReLU()) != source_sha256(nn.ReLU(inplace=True))
    True
    """
    refuse_wrapped(model)
    kept = model.state_dict()
    kinds = {type(m) for m in model.modules()}
    shapes = [
        (name, str(tensor.dtype), tuple(tensor.shape))
        for name, tensor in kept.items()
        if hasattr(tensor, "dtype")
    ]
    constants = {name: tensor for name, tensor in model.named_buffers() if name not in kept}
    return fingerprint(
        {name: _settings(module) for name, module in model.named_modules()},
        shapes,
        constants,
        sorted(kinds, key=lambda kind: (kind.__module__, kind.__qualname__)),
        builder,
    )


def code_sha256(model: nn.Module, builder: Callable[..., Any] | None = None) -> str:
    """What stored results of a network depend on beside its weights: its source, and the adapters
    by which its blocks are read.
    """
    adapters = [
        (name, repr(adapter_of(module)))
        for name, module in model.named_modules()
        if adapter_of(module) is not None
    ]
    return fingerprint(source_sha256(model, builder), adapters)


def _settings(module: nn.Module) -> dict[str, Any]:
    """All attributes of a module that are neither weights, modules nor torch's own."""
    hooks = ("_hooks", "_hooks_with_kwargs", "_hooks_always_called")
    own = {
        name: value
        for name, value in vars(module).items()
        if name not in INTERNAL and not name.endswith(hooks)
    }
    return own | {"class": type(module).__qualname__}
