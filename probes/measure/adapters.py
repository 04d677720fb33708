"""Where the types of residual blocks keep their streams."""

from __future__ import annotations

import dataclasses
import sys

from torch import nn

from probes.errors import BadInput
from probes.naming import modules


@dataclasses.dataclass(frozen=True)
class BlockAdapter:
    """Where a block type keeps its streams.

    ``branch`` is the module whose output is h. ``relu`` is the module that gets x + h, at its
    ``calls``-th call in a forward pass. ``shortcut`` is the attribute that holds the shortcut
    module. If that attribute is None, x is the block's input when ``identity`` is true. Otherwise
    the block is plain: it has no x, and its sum is h.
    """

    branch: str
    relu: str
    calls: int = 1
    shortcut: str | None = None
    identity: bool = True


_ADAPTERS: dict[type[nn.Module], BlockAdapter] = {}


def register_block(block: type[nn.Module], adapter: BlockAdapter) -> None:
    """Register a block type: an ``nn.Module`` class of your own, and where its streams are.

    >>> class Mine(nn.Module): ...
    >>> register_block(Mine, BlockAdapter(branch="f", relu="act"))
    """
    if (known := adapters().get(block, adapter)) != adapter:
        raise BadInput(f"block type {block.__name__} is already registered with {known}")
    _ADAPTERS[block] = adapter


_TORCHVISIONS = {
    "BasicBlock": BlockAdapter("bn2", "relu", calls=2, shortcut="downsample"),
    "Bottleneck": BlockAdapter("bn3", "relu", calls=3, shortcut="downsample"),
}


def adapters() -> dict[type[nn.Module], BlockAdapter]:
    """All adapters. Those of torchvision's blocks are added once torchvision is loaded, which takes
    longer than a small measurement.
    """
    resnet = sys.modules.get("torchvision.models.resnet")
    for name, adapter in _TORCHVISIONS.items():
        if block := getattr(resnet, name, None):
            _ADAPTERS.setdefault(block, adapter)
    return _ADAPTERS


def adapter_of(module: nn.Module) -> BlockAdapter | None:
    """The adapter of a block, None for any other module. A subclass with a forward of its own
    counts as another block.
    """
    known = adapters()
    for kind in type(module).__mro__:
        if kind in known:
            return known[kind] if type(module).forward is kind.forward else None
    return None


def block_sites(model: nn.Module) -> dict[str, nn.Module]:
    """The blocks of a model that taps know, by name (:func:`probes.naming.modules`), in the model's
    order.

    >>> from probes.subjects.nets import nets
    >>> list(block_sites(nets["resnet20"](1, 10)))[:2]
    ['layer1.0', 'layer1.1']
    """
    return {name: m for name, m in modules(model).items() if adapter_of(m) is not None}


def whose(kind: type) -> str:
    """A class by its package and its name: ``torchvision's BasicBlock``."""
    return f"{kind.__module__.partition('.')[0]}'s {kind.__name__}"


def known() -> str:
    """The types of blocks that have an adapter, in words."""
    ours = {f"torchvision's {name}" for name in _TORCHVISIONS}
    return ", ".join(sorted(ours | {whose(kind) for kind in adapters()}))
