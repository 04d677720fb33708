"""A hash of a network's code and settings. If they change, its stored results are not used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx, nn

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
    """The SHA-256 of a model's structure, of all that its modules hold beside weights, and of the
    code of their classes and its builder.

    Code means what runs (:func:`probes.fingerprint.fingerprint`): comments, docstrings and the rest
    of the file do not count. Raises BadInput, naming it, for an attribute whose content can't be
    told, and for a compiled, scripted or DataParallel model.

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
    """What stored results of a network depend on beside its weights: its code, and the adapters of
    its blocks.
    """
    adapters = [
        (name, repr(adapter_of(module)))
        for name, module in model.named_modules()
        if adapter_of(module) is not None
    ]
    return fingerprint(source_sha256(model, builder), adapters)


def _settings(module: nn.Module) -> dict[str, Any]:
    """All attributes of a module that are neither weights, modules nor torch's own, and the hooks
    that somebody put there: a result is of the network with them.
    """
    if isinstance(module, fx.GraphModule):  # traced or exported: its graph is its code
        return {"class": "GraphModule", "code": module.code}
    hooks = ("_hooks", "_hooks_with_kwargs", "_hooks_always_called")
    own = {
        name: value
        for name, value in vars(module).items()
        if name not in INTERNAL and not name.endswith(hooks)
    }
    theirs = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
    return own | {"class": type(module).__qualname__} | ({"hooks": theirs} if theirs else {})
