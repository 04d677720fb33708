"""Hooks that read or change a forward pass and are removed together, and passes that begin in the
middle of a network.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from probes.errors import BadInput, ProbesError
from probes.naming import modules, prefix_of, twins
from probes.refusing import refuse_training, refuse_wrapped
from probes.registry import unknown


@contextlib.contextmanager
def handles() -> Iterator[list[RemovableHandle]]:
    """A list for hook handles. All of them are removed when the block ends, however it ends."""
    with contextlib.ExitStack() as stack:
        held = _Handles(stack)
        yield held


@contextlib.contextmanager
def reading(
    model: nn.Module, names: Sequence[str], take: Callable[[str, Any], Any], what: str
) -> Iterator[dict[str, Any]]:
    """Read modules by name at every forward pass inside the block. Yields a mapping from a name to
    ``take(name, output)`` of the last pass.

    ``what`` is what error messages call a module. Raises UnknownName for a name; BadInput for a
    module that runs more than once in a pass, and for a model that is compiled, in DataParallel or
    in training mode; ProbesError for a module that does not run.
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

    def extend(self, many: Iterable[RemovableHandle]) -> None:
        for handle in many:
            self.append(handle)

    def __iadd__(self, many: Iterable[RemovableHandle]) -> Self:  # type: ignore[override, misc]
        self.extend(many)
        return self


class Prefix:
    """A clean pass whose outputs are kept. A later pass that differs from it only after some layer
    does not compute the layers before.

    The outputs of the network's own children and of the members of ``nn.Sequential`` are kept:
    stages, blocks, the layers of a plain network. A module that runs once and ends before the layer
    begins returns a copy of its kept output, since an in-place operation may come next. Everything
    else runs. A replayed pass is bit for bit the whole pass, for the same images, if the passes
    differ in nothing but hooks on that layer and after it.

    >>> import torch
    >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).eval()
    >>> prefix, x = Prefix(net), torch.ones(3, 2)
    >>> with torch.no_grad(), prefix.record():
    ...     clean = net(x)
    >>> with torch.no_grad(), prefix.replay("2"):
    ...     bool(torch.equal(net(x), clean))
    True
    """

    def __init__(self, model: nn.Module) -> None:
        refuse_wrapped(model)
        self._modules = dict(model.named_modules())
        self._prefix = prefix_of(model)
        root = self._prefix.removesuffix(".")
        above = [root, *(name for name, m in self._modules.items() if isinstance(m, nn.Sequential))]
        self._units = [
            f"{name}.{child}".lstrip(".")
            for name in dict.fromkeys(above)
            for child, _ in self._modules[name].named_children()
        ]
        self._kept: dict[str, Tensor] = {}
        self._began: dict[str, int] = {}
        self._ended: dict[str, int] = {}
        self._calls: dict[str, int] = {}

    @property
    def nbytes(self) -> int:
        """The memory that the kept outputs take."""
        return sum(t.nbytes for t in {id(t): t for t in self._kept.values()}.values())

    @contextlib.contextmanager
    def record(self) -> Iterator[None]:
        """Keep the pass that runs inside the block. It replaces the pass that was kept before."""
        for kept in (self._kept, self._began, self._ended, self._calls):
            kept.clear()
        clock = iter(range(1 << 62))

        def begin(name: str) -> None:
            self._began.setdefault(name, next(clock))
            self._calls[name] = self._calls.get(name, 0) + 1

        def end(name: str, out: Any) -> None:
            self._ended[name] = next(clock)
            last = next(reversed(self._kept), "")
            module = self._modules[name]
            whole = type(module) is nn.Sequential and "forward" not in module.__dict__
            if whole and last.rpartition(".")[0] == name:
                self._kept[name] = self._kept[last]  # what its last member gave, just now
            elif isinstance(out, Tensor):
                self._kept[name] = out.detach().clone()

        with handles() as held:
            for name, module in self._modules.items():
                held.append(module.register_forward_pre_hook(lambda *_, name=name: begin(name)))
            for name in self._units:
                hook = lambda *a, name=name: end(name, a[2])  # noqa: E731
                held.append(
                    self._modules[name].register_forward_hook(hook, prepend=True)
                )  # hooks of others come at the replay
            yield

    @contextlib.contextmanager
    def replay(self, *layers: str, through: bool = False) -> Iterator[None]:
        """Passes inside the block begin at the first of ``layers``, named as :func:`modules` names
        them.

        With ``through`` they begin where that layer ends. Hooks on the layer then get its kept
        output. Raises BadInput for a layer that did not run.
        """
        names = [f"{self._prefix}{layer}" for layer in layers]
        for name, layer in zip(names, layers, strict=True):
            if name not in self._began:
                raise BadInput(
                    f"layer {layer!r} did not run in the pass that was kept: there is nothing to"
                    " begin from"
                )
        kept = {
            name for name in names if through and name in self._ended and self._calls[name] == 1
        }
        start = min(self._ended[name] + 1 if name in kept else self._began[name] for name in names)
        done = [
            name
            for name in self._units
            if name in self._kept and self._calls[name] == 1 and self._ended[name] < start
        ]
        with contextlib.ExitStack() as stack:
            for name in done:
                module, given = self._modules[name], self._kept[name]
                own = module.__dict__.get(
                    "forward"
                )  # accelerate, peft and users put a forward of their own there
                if own is None:
                    stack.callback(module.__dict__.pop, "forward")
                else:
                    stack.callback(module.__dict__.__setitem__, "forward", own)
                module.forward = lambda *_, given=given, **__: given.clone()  # type: ignore[method-assign]
            yield


def floats(values: Any) -> list[Tensor]:
    """The floating-point tensors in the output of a network."""
    return [
        leaf
        for leaf in tree_leaves(values)
        if isinstance(leaf, Tensor) and leaf.is_floating_point()
    ]


PREFIX_BYTES = 500_000_000
"""The memory that kept clean passes may take. They let a pass with one perturbed layer start at
that layer.

If the clean pass of a batch does not fit, it is not kept (None), and its passes run as whole ones.
"""


def read_inside(model: nn.Module) -> bool:
    """Whether somebody has hooks on modules inside a network, not only on the whole of it.

    >>> net = nn.Sequential(nn.ReLU())
    >>> handle = net[0].register_forward_hook(lambda *_: None)
    >>> read_inside(net), handle.remove(), read_inside(net)
    (True, None, False)
    """
    inside = (m for m in model.modules() if m is not model)
    return any(m._forward_hooks or m._forward_pre_hooks for m in inside)


_begins: weakref.WeakKeyDictionary[nn.Module, dict[tuple, bool]] = weakref.WeakKeyDictionary()


def begins(model: nn.Module, x: Tensor, layers: Sequence[str], through: bool = False) -> bool:
    """Whether a pass that begins at these layers gives exactly the whole pass. This is tested once
    for each, with another pass in between.

    It does not if the network hands something on beside the outputs of its modules, or changes kept
    outputs in place.
    """
    known = _begins.setdefault(model, {})
    name = (tuple(layers), through)
    if name not in known:
        prefix = Prefix(model)
        with prefix.record():
            whole = floats(model(x.clone()))
        whole = [t.clone() for t in whole]
        model(x.flip(0) * 0.5 + 0.25)
        with prefix.replay(*layers, through=through):
            found = floats(model(x.clone()))
        known[name] = len(found) == len(whole) and all(
            torch.equal(a, b) for a, b in zip(whole, found, strict=True)
        )
    return known[name]
