"""Where a network adds: residual sums, found in any network by watching one forward pass.

A residual block is no class but a sum: two tensors of one shape, both made from the batch, that
meet. Behind each tensor lie weight operations (convolutions, linear layers, products with weights).
The side with more of them since the two parted is the branch, the other one is the shortcut: the
identity where none lies between, else a projection. Tensors that meet with as many on either side
are branches side by side, and no residual sum.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from probes.errors import BadInput
from probes.hooks import handles, refuse_training, refuse_wrapped
from probes.measure.features import where
from probes.measure.watching import Sum, Watch
from probes.naming import modules


@dataclasses.dataclass(frozen=True)
class Residual:
    """A residual sum of a network.

    ``name`` is the module whose forward adds; where it adds several times, the name of the branch.
    ``module`` is that module, and ``place`` says which of its additions of two tensors of one shape
    it is. ``branch`` is the last module with weights on the branch (empty for functions only),
    ``shortcut`` is ``identity`` or ``projection``, ``next`` the activation that the sum goes into
    (empty for none), and ``shape`` that of the sum for one image.
    """

    name: str
    module: str
    place: int
    branch: str
    shortcut: str
    next: str
    shape: tuple[int, ...]
    branch_first: bool


def residuals(model: nn.Module, example: Any) -> tuple[Residual, ...]:
    """The residual sums of a network, in the order in which they are made.

    ``example`` is a batch that the network takes (two images, say), or several as a tuple; the
    network runs once, without gradients, and is left as it was. Raises BadInput for a network that
    is compiled, wrapped or in training mode.

    >>> from torchvision.models import resnet18
    >>> for one in residuals(resnet18().eval(), torch.zeros(2, 3, 64, 64))[1:3]:
    ...     print(one.name, one.branch, one.shortcut, one.next, one.shape)
    layer1.1 layer1.1.conv2 identity ReLU (64, 16, 16)
    layer2.0 layer2.0.conv2 projection ReLU (128, 8, 8)
    """
    refuse_wrapped(model)
    refuse_training(model)
    inputs = example if isinstance(example, tuple) else (example,)
    inputs = tuple(x.to(where(model)) if isinstance(x, Tensor) else x for x in inputs)
    batch = [x for x in tree_leaves(inputs) if isinstance(x, Tensor)]
    if not batch:
        raise BadInput("residuals(model, example): an example is a tensor of a batch, or several")
    watch = Watch()
    watch.follow(batch)
    with watching(model, watch), torch.no_grad(), watch:
        model(*inputs)
    return named(watch.found)


@contextlib.contextmanager
def watching(model: nn.Module, watch: Watch) -> Iterator[Callable[[], None]]:
    """Tell a mode which module runs, by hooks that are gone when the block ends.

    What the hooks of others do (a perturbation adds noise to an output) belongs to no module: ours
    are the first and the last of each. Gives a function that puts them there again, to be called
    before a pass, since others may have come in between.
    """
    began: dict[str, list[int]] = {}
    order: list[tuple[dict[int, Any], RemovableHandle, RemovableHandle]] = []
    with handles() as held:
        for name, module in modules(model).items():

            def begin(_: nn.Module, __: Any, name: str = name) -> None:
                watch.leave(None)
                began.setdefault(name, []).append(watch.bits)
                watch.enter(name)

            def end(_: nn.Module, __: Any, out: Any, name: str = name) -> None:
                watch.ended(name, out, began[name].pop())
                watch.enter(None)

            before = (
                module.register_forward_pre_hook(lambda *_: watch.enter(None), prepend=True),
                module.register_forward_pre_hook(begin),
            )
            after = (
                module.register_forward_hook(end, prepend=True),
                module.register_forward_hook(lambda *_: watch.leave(None)),
            )
            held += [*before, *after]
            order.append((module._forward_pre_hooks, *before))
            order.append((module._forward_hooks, *after))

        def arrange() -> None:
            for hooks, first, last in order:
                if next(iter(hooks)) != first.id:
                    hooks.move_to_end(first.id, last=False)  # type: ignore[attr-defined]
                if next(reversed(hooks)) != last.id:
                    hooks.move_to_end(last.id)  # type: ignore[attr-defined]

        yield arrange


def named(found: Sequence[Sum]) -> tuple[Residual, ...]:
    """Sums with names that are their own: the module, or its branch where it adds several times."""
    several = Counter(one.module for one in found)
    named: Counter[str] = Counter()
    sites = []
    for one in found:
        inside = one.branch.startswith(f"{one.module}." if one.module else "")
        name = one.module
        if several[one.module] > 1 and inside and one.branch:
            rest = one.branch[len(one.module) + bool(one.module) :]
            name = ".".join(filter(None, (one.module, rest.split(".")[0])))
        named[name] += 1
        if named[name] > 1:
            name = f"{name}#{named[name]}"
        sites.append(
            Residual(
                name,
                one.module,
                one.place,
                one.branch,
                one.shortcut,
                one.next or "",
                one.shape,
                one.branch_first,
            )
        )
    return tuple(sites)
