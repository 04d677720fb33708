"""The outputs of modules by name, flat, while a network runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from probes.axes import as_maps
from probes.errors import BadInput
from probes.hooks import reading
from probes.naming import modules


@contextlib.contextmanager
def outputs(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Read the outputs of modules at every forward pass inside the block: name -> (images,
    channels, ...) of the last pass. Tokens and maps with channels last are maps with channels first
    (:func:`probes.axes.as_maps`).

    They are copies, taken inside the hook, since a later operation may work in place (trap R1).
    Raises UnknownName for a module; BadInput for an output that is no batch of floats, and for a
    module that runs more than once in a pass; ProbesError for a module that does not run.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    >>> with torch.no_grad(), outputs(net.eval(), ["1"]) as seen:
    ...     _ = net(torch.zeros(2, 1, 2, 2))
    >>> tuple(seen["1"].shape)
    (2, 3)
    """

    known = modules(model)

    def take(name: str, out: object) -> Tensor:
        if not isinstance(out, Tensor) or not out.is_floating_point() or out.ndim < 2:
            shape = (
                f"{tuple(out.shape)} of {out.dtype}"
                if isinstance(out, Tensor)
                else type(out).__name__
            )
            raise BadInput(f"module {name!r} gives {shape}, no batch of floats")
        return as_maps(known[name], out).clone(
            memory_format=torch.contiguous_format
        )  # the order that units have: no second copy to flatten it

    with reading(model, names, take, "module") as seen:
        yield seen
