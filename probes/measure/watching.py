"""Follows a forward pass: what is made from the batch, and where two such tensors are added."""

from __future__ import annotations

import dataclasses
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

ADDS = ("add", "add_", "__add__", "__iadd__", "__radd__")


WEIGHS = (
    *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
    *("linear", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "baddbmm", "einsum"),
    *("bilinear", "multi_head_attention_forward"),
)
"""Functions that are weight operations where one of their arguments is no tensor of the batch."""


ACTIVATIONS = {
    **{name: "ReLU" for name in ("relu", "relu_", "relu6", "threshold", "clamp_min")},
    **{name: "leaky ReLU" for name in ("leaky_relu", "leaky_relu_", "prelu", "rrelu")},
    **{"gelu": "GELU", "silu": "SiLU", "mish": "Mish", "elu": "ELU", "selu": "SELU"},
    **{"hardswish": "hard swish", "hardsigmoid": "hard sigmoid", "hardtanh": "hard tanh"},
    **{"sigmoid": "sigmoid", "tanh": "tanh", "softplus": "softplus", "celu": "CELU"},
}


@dataclasses.dataclass
class _Seen:
    """What is known of a tensor: the weight operations behind it, as bits, and the last module
    with weights that it came from. The tensor is held weakly: its id may be another one's later.
    """

    tensor: weakref.ref[Tensor]
    behind: int
    branch: str = ""


@dataclasses.dataclass
class Sum:
    """A residual sum while the network runs; its names come later."""

    module: str
    place: int
    branch: str
    shortcut: str
    shape: tuple[int, ...]
    branch_first: bool
    next: str | None = None


class Adding(TorchFunctionMode):
    """Sees every addition of two tensors of one shape, and knows in which module it stands: what
    watching for sums and meeting them again have in common.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str | None] = []
        self.counts: Counter[str] = Counter()

    def enter(self, name: str | None) -> None:
        """A module begins; None: the hooks of one."""
        self.stack.append(name)

    def leave(self, name: str | None) -> None:
        """A module ends, or its hooks; those inside that an error left open end with it."""
        while self.stack and self.stack.pop() != name:
            pass

    def place(self) -> tuple[str, int] | None:
        """The module that adds now, and which of its additions this is; None in a hook."""
        module = self.stack[-1] if self.stack else ""
        if module is None:
            return None
        self.counts[module] += 1
        return module, self.counts[module] - 1

    def begin(self) -> None:
        """A pass begins."""
        self.stack, self.counts = [], Counter()


def adds(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> bool:
    """Whether a call adds two tensors of one shape, as they are (``alpha`` is 1)."""
    return (
        getattr(func, "__name__", "") in ADDS
        and len(args) == 2
        and isinstance(args[0], Tensor)
        and isinstance(args[1], Tensor)
        and args[0].shape == args[1].shape
        and not (kwargs and kwargs.get("alpha", 1) != 1)
    )


class Watch(Adding):
    """Follows what is made from a batch, and finds the sums whose sides have passed through unequal
    numbers of weights since they parted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, _Seen] = {}
        self.sums: dict[int, tuple[Tensor, Sum]] = {}
        self.bits, self.found = 0, list[Sum]()

    def follow(self, batch: Sequence[Tensor]) -> None:
        """A pass of this batch begins."""
        self.begin()
        self.known, self.sums, self.bits, self.found = {}, {}, 0, []
        for tensor in batch:
            self._know(tensor, 0, "")

    def _know(self, tensor: Tensor, behind: int, branch: str) -> None:
        self.known[id(tensor)] = _Seen(weakref.ref(tensor), behind, branch)

    def _seen(self, tensor: Tensor) -> _Seen | None:
        one = self.known.get(id(tensor))
        return one if one is not None and one.tensor() is tensor else None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", "")
        leaves = [x for x in tree_leaves((args, kwargs or {})) if isinstance(x, Tensor)]
        made = [one for x in leaves if (one := self._seen(x)) is not None]
        used = [found for x in leaves if (found := self.sums.pop(id(x), None)) is not None]
        for _, sum_ in used:
            sum_.next = ACTIVATIONS.get(name, "")
            self.used(sum_)
        summed = self._sum(args, len(made)) if adds(func, args, kwargs) else None
        if summed is not None:
            self.meets(summed, args)
        out = func(*args, **(kwargs or {}))
        for _, sum_ in used:
            if sum_.next and isinstance(out, Tensor):
                self.activated(sum_, out)
        if not made:
            return out
        behind = 0
        for one in made:
            behind |= one.behind
        if name in WEIGHS and len(made) < len(leaves):
            behind |= 1 << self.bits
            self.bits += 1
        longest = max(made, key=lambda one: one.behind.bit_count())
        target = args[0] if name == "__setitem__" else out
        for tensor in (x for x in tree_leaves(target) if isinstance(x, Tensor)):
            self._know(tensor, behind, longest.branch)
        if summed is not None and isinstance(out, Tensor):
            self.found.append(summed)
            self.sums[id(out)] = out, summed
            self.summed(summed, out)
        return out

    def meets(self, one: Sum, sides: Sequence[Tensor]) -> None:
        """The two sides of a residual sum, before they are added."""

    def summed(self, one: Sum, total: Tensor) -> None:
        """The sum."""

    def used(self, one: Sum) -> None:
        """What comes next is known, and not yet done."""

    def activated(self, one: Sum, out: Tensor) -> None:
        """What the activation of a sum gives."""

    def _sum(self, args: Sequence[Any], made: int) -> Sum | None:
        here = self.place()
        if here is None or made != 2 or args[0] is args[1]:
            return None
        a, b = (self._seen(x) for x in args)
        assert a is not None
        assert b is not None
        common = a.behind & b.behind
        own = [(one.behind & ~common).bit_count() for one in (a, b)]
        if own[0] == own[1]:
            return None
        first = own[0] > own[1]
        branch = (a if first else b).branch
        shortcut = "projection" if min(own) else "identity"
        return Sum(*here, branch, shortcut, tuple(args[0].shape[1:]), first)

    def ended(self, name: str, out: Any, before: int) -> None:
        """A module has ended: what it gives came from it, if it has weights."""
        self.leave(name)
        if self.bits > before:
            for tensor in (x for x in tree_leaves(out) if isinstance(x, Tensor)):
                if (one := self._seen(tensor)) is not None:
                    one.branch = name
