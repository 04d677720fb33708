"""What a network computes beside its weights, as a hash: so that an edited network is trained and measured again."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from probes.measure.taps import adapter_of

PLAIN = (bool, int, float, str, tuple, type(None))


def code_sha256(model: nn.Module, builder: Callable[..., Any] | None = None) -> str:
    """The SHA-256 of a model's structure, plain attributes, block adapters, and the source files of its own code.

    Own code is that of its classes and its builder; classes of torch and torchvision are left out, since their versions
    are known.

    >>> code_sha256(nn.ReLU()) == code_sha256(nn.ReLU()) != code_sha256(nn.ReLU(inplace=True))
    True
    """
    h = hashlib.sha256()
    for name, module in model.named_modules():
        plain = {k: v for k, v in sorted(vars(module).items()) if k != "training" and isinstance(v, PLAIN)}
        h.update(repr((name, type(module).__qualname__, plain, adapter_of(module))).encode())
    for name, tensor in model.named_buffers():
        if name in ("mean", "std"):
            h.update(f"{name}{tensor.flatten().tolist()}".encode())
    own = {type(m).__module__ for m in model.modules()} | {getattr(builder, "__module__", "torch")}
    for module_name in sorted(m for m in own if m.split(".")[0] not in ("torch", "torchvision")):
        source = inspect.getsourcefile(sys.modules[module_name]) if hasattr(sys.modules.get(module_name), "__file__") else None
        if source and Path(source).is_file():
            h.update(Path(source).read_bytes())
    return h.hexdigest()
