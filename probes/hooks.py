"""Forward hooks that are ours alone: registered together, counted, and gone together, also after an exception."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn
from torch.utils.hooks import RemovableHandle

from probes.errors import BadInput


def refuse_wrapped(model: nn.Module) -> None:
    """Raise BadInput for a model whose hooks would not fire, or would fire in shared dictionaries.

    A compiled model ignores hooks added after its first call (pytorch#117758); replicas of DataParallel share hook
    dictionaries (pytorch#42478). Both are refused, with the way out.
    """
    for name, module in model.named_modules():
        where = f"module {name!r}" if name else "the model"
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            raise BadInput(
                f"{where} is a {type(module).__name__}, whose replicas share hooks: pass the network inside it (.module)"
            )
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            raise BadInput(
                f"{where} is compiled, and hooks on a compiled model never fire: pass the original"
                " (the argument of torch.compile, or ._orig_mod)"
            )


def refuse_training(model: nn.Module) -> None:
    """Raise BadInput for a model in training mode, where a pass changes its buffers or draws at random."""
    if any(m.training for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm | nn.Dropout)):
        raise BadInput("the model is in training mode, where a pass changes its buffers: call model.eval() first")


@contextlib.contextmanager
def handles() -> Iterator[list[RemovableHandle]]:
    """A list for hook handles, each of which is removed when the block ends, however it ends."""
    with contextlib.ExitStack() as stack:
        held = _Handles(stack)
        yield held


class _Handles(list):
    def __init__(self, stack: contextlib.ExitStack) -> None:
        super().__init__()
        self._stack = stack

    def append(self, handle: RemovableHandle) -> None:
        self._stack.callback(handle.remove)
        super().append(handle)
