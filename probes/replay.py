"""A clean pass that is kept, so that another one may begin in the middle."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from probes.errors import BadInput
from probes.hooks import handles, prefix_of, refuse_wrapped


class Prefix:
    """A clean pass, kept so that a pass that differs from it only from some layer on need not
    compute what comes before.

    Kept are the outputs of the network's own children and of the members of ``nn.Sequential``:
    stages, blocks, the layers of a plain network. What runs once and ends before the layer begins
    gives its kept output again, a copy, since an in-place operation may come next; all else runs.
    So a replayed pass is bit for bit the whole one, for the same images and where the passes differ
    in nothing but hooks on that layer and after it.

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
        """The memory of what is kept."""
        return sum(t.nbytes for t in {id(t): t for t in self._kept.values()}.values())

    @contextlib.contextmanager
    def record(self) -> Iterator[None]:
        """Keep the pass that runs inside the block; the one that was kept before is forgotten."""
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

        With ``through`` they begin where that one ends, and its own kept output is what hooks on it
        are given. BadInput for a layer that did not run.
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
    """The tensors of floats in what a network gives."""
    return [
        leaf
        for leaf in tree_leaves(values)
        if isinstance(leaf, Tensor) and leaf.is_floating_point()
    ]


PREFIX_BYTES = 500_000_000
"""Memory of clean passes that are kept, so that a layer that is perturbed alone need not wait for
what comes before it.

A clean pass of a batch that does not fit is not kept (None), and its passes are whole ones."""


_begins: weakref.WeakKeyDictionary[nn.Module, dict[tuple, bool]] = weakref.WeakKeyDictionary()


def begins(model: nn.Module, x: Tensor, layers: Sequence[str], through: bool = False) -> bool:
    """Whether a pass that begins at layers is the whole one: seen once for each, after another pass
    in between.

    It is not where a network hands something on beside what its modules give, or works in place on
    what was kept.
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
