"""The standard deviations of the outputs of layers on clean images. Relative noise is scaled by
them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping

import torch
from torch import Tensor, nn

from probes.errors import BadInput, ProbesError
from probes.hooks import handles, refuse_training, refuse_wrapped
from probes.moments import flatten_images, mean_and_variance


@contextlib.contextmanager
def layer_std(
    model: nn.Module, layers: Mapping[str, nn.Module], lost: Collection[str] = ()
) -> Iterator[Callable[[], dict[str, float]]]:
    """Measure the standard deviations of layers over all forward passes inside the block. Yields a
    function that returns one number per layer.

    It is the population standard deviation over images, channels and places, in double precision,
    over all calls of a layer that runs several times. Raises BadInput for an output that is no
    batch of floats; ProbesError for a layer that did not run, unless it is in ``lost``.

    >>> net = nn.Sequential(nn.Flatten(), nn.ReLU())
    >>> with torch.no_grad(), layer_std(net.eval(), {"1": net[1]}) as std:
    ...     _ = net(torch.tensor([[[[0.0, 2.0]]]]))
    >>> std()
    {'1': 1.0}
    """
    refuse_wrapped(model)
    refuse_training(model)
    found: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}

    def keep(name: str, out: object) -> None:
        if not isinstance(out, Tensor) or not out.is_floating_point() or out.ndim < 2:
            shape = (
                f"{tuple(out.shape)} of {out.dtype}"
                if isinstance(out, Tensor)
                else type(out).__name__
            )
            raise BadInput(f"layer {name!r} gives {shape}, no batch of floats")
        found[name].append(mean_and_variance(flatten_images(out)))

    def read() -> dict[str, float]:
        if still := [name for name, parts in found.items() if not parts and name not in lost]:
            raise ProbesError(
                f"layer {still[0]!r} did not run in this forward pass: leave it out of the layers"
            )
        out = {}
        for name, parts in ((name, parts) for name, parts in found.items() if parts):
            mean, variance = (torch.cat([part[i] for part in parts]) for i in (0, 1))
            out[name] = math.sqrt(float(variance.mean() + mean.var(correction=0)))
        return out

    with handles() as held:
        for name, module in layers.items():
            held.append(module.register_forward_hook(lambda _, __, out, name=name: keep(name, out)))
        yield read
