"""What reads or changes a forward pass: hooks that are ours alone and gone together, and passes
that begin in the middle.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from probes.errors import BadInput, ProbesError
from probes.registry import unknown


def refuse_wrapped(model: nn.Module) -> None:
    """Raise BadInput for a model whose hooks would not fire, or would fire in shared dictionaries.

    A compiled model ignores hooks added after its first call (pytorch#117758); replicas of
    DataParallel share hook dictionaries (pytorch#42478); of TorchScript neither the code nor the
    inner tensors can be seen. All are refused, with the way out.
    """
    for name, module in model.named_modules():
        where = f"module {name!r}" if name else "the model"
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            raise BadInput(
                f"{where} is a {type(module).__name__}, whose replicas share hooks: pass the"
                " network inside it (.module)"
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise BadInput(
                f"{where} is TorchScript, whose code can't be told nor its layers read: pass the"
                " module that was scripted"
            )
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            raise BadInput(
                f"{where} is compiled, and hooks on a compiled model never fire: pass the original"
                " (the argument of torch.compile, or ._orig_mod)"
            )


def refuse_training(model: nn.Module) -> None:
    """Raise BadInput for a model with any module in training mode, where a pass may change its
    buffers or draw at random.
    """
    for name, module in model.named_modules():
        if module.training:
            where = f" (module {name!r}, a {type(module).__name__})" if name else ""
            if not model.training:
                raise BadInput(
                    f"the model is in eval mode, and a part of it in training mode{where}: set it"
                    " to eval, or let its train() do so"
                )
            raise BadInput(
                f"the model is in training mode{where}, where a pass changes buffers or draws at"
                " random: call model.eval() first"
            )


@contextlib.contextmanager
def handles() -> Iterator[list[RemovableHandle]]:
    """A list for hook handles, each of which is removed when the block ends, however it ends."""
    with contextlib.ExitStack() as stack:
        held = _Handles(stack)
        yield held


def prefix_of(model: nn.Module) -> str:
    """What the names of a model's modules begin with: ``net.`` in the package's own wrapper, which
    says so; else nothing.
    """
    inside = getattr(type(model), "WRAPPED", "")
    return f"{inside}." if inside else ""


def plain(model: nn.Module, name: str) -> str:
    """The name of a module or parameter without what the package's own wrapper adds; a user's own
    ``self.net`` keeps its name.

    >>> plain(nn.Sequential(nn.ReLU()), "net.conv")
    'net.conv'
    """
    return name.removeprefix(prefix_of(model))


def modules(model: nn.Module) -> dict[str, nn.Module]:
    """The modules of a model by name, in its order; what the package's own wrapper adds to names is
    left out.

    A module that stands in two places has both names.
    """
    own = ("", prefix_of(model).removesuffix("."))
    return {
        plain(model, name): m
        for name, m in model.named_modules(remove_duplicate=False)
        if name not in own
    }


def twins(known: Mapping[str, nn.Module], name: str) -> list[str]:
    """The other names of a module that stands in several places.

    >>> relu = nn.ReLU()
    >>> twins(modules(nn.Sequential(relu, nn.Flatten(), relu)), "2")
    ['0']
    """
    return [other for other, module in known.items() if module is known[name] and other != name]


@contextlib.contextmanager
def reading(
    model: nn.Module, names: Sequence[str], take: Callable[[str, Any], Any], what: str
) -> Iterator[dict[str, Any]]:
    """Read modules by name at every forward pass inside the block: name -> ``take(name, output)``
    of the last pass.

    ``what`` is what errors call a module. Raises UnknownName for a name; BadInput for one that runs
    more than once in a pass, and for a model that is compiled, in DataParallel or in training mode;
    ProbesError for one that does not run.
    """
    refuse_wrapped(model)
    refuse_training(model)
    known = modules(model)
    for name in names:
        if name not in known:
            raise unknown(what, name, known)
    seen: dict[str, Any] = {}

    def keep(name: str, out: Any) -> None:
        if name in seen:
            same = "".join(
                f" ({name!r} and {other!r} are one module)" for other in twins(known, name)[:1]
            )
            raise BadInput(
                f"{what} {name!r} runs more than once in a pass{same}: name the block that it"
                " belongs to"
            )
        seen[name] = take(name, out)

    def ran(*_: Any) -> None:
        if lost := [name for name in names if name not in seen]:
            raise ProbesError(f"{what} {lost[0]!r} did not run in this forward pass")

    with handles() as held:
        held.append(model.register_forward_pre_hook(lambda *_: seen.clear()))
        for name in dict.fromkeys(names):
            held.append(
                known[name].register_forward_hook(lambda _, __, out, name=name: keep(name, out))
            )
        held.append(model.register_forward_hook(ran))
        yield seen


class _Handles(list):
    def __init__(self, stack: contextlib.ExitStack) -> None:
        super().__init__()
        self._stack = stack

    def append(self, handle: RemovableHandle) -> None:
        self._stack.callback(handle.remove)
        super().append(handle)
