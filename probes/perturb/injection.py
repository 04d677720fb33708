"""Noise added to the outputs of layers while a network runs."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probes import philox
from probes.errors import BadInput, ProbesError
from probes.hooks import handles, refuse_wrapped
from probes.perturb.layers import Which, layers_of


@dataclasses.dataclass
class Injected:
    """The state of :func:`inject`: the layers, which images get noise at which layers, and the
    noise itself, to be used again.
    """

    layers: tuple[str, ...]
    chosen: np.ndarray
    drawn: dict[tuple[str, int], Tensor] = dataclasses.field(default_factory=dict)


@contextlib.contextmanager
def inject(
    model: nn.Module,
    layers: Which | Sequence[Which],
    noise: Any,
    ids: Sequence[int],
    *,
    level: float | None = None,
    spread: Mapping[str, float] | None = None,
    dataset: str = "",
    seed: int = 0,
    draw: int = 0,
    again: Injected | None = None,
) -> Iterator[Injected]:
    """Add noise to the outputs of layers at every forward pass inside the block. ``ids`` are the
    ids of the images of the batch.

    ``level`` is the strength (default: the highest level of ``noise``). At 0 the pass is the clean
    one, bit for bit. ``spread`` gives each layer's clean standard deviation, for relative noise.
    Yields the draw. Pass it as ``again`` to use it once more, at this or another strength. The
    hooks are removed when the block ends, however it ends; nothing else of the model is touched. A
    module that is called twice gets noise at each call.

    Raises UnknownName and BadInput for layers, for an output that is no batch of floats, for a
    missing or bad standard deviation, and for models that are compiled or in DataParallel;
    ProbesError for a layer that never runs.

    >>> from probes.perturb import layer_noise
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 2))
    >>> noise = layer_noise(0, 0.1, scale="absolute")
    >>> with torch.no_grad(), inject(net, "1", noise, [0, 1]) as done:
    ...     noisy = net(torch.zeros(2, 1, 2, 2))
    >>> done.chosen.tolist()
    [[True], [True]]
    """
    refuse_wrapped(model)
    found = layers_of(model, layers)
    names = tuple(found)
    noise = dataclasses.replace(noise, on=names).resolved(model)
    level = noise.levels[-1] if level is None else level
    if not (math.isfinite(level) and level >= 0):
        raise BadInput(f"layer noise of strength {level}: a finite number from 0 up")
    if again is not None and (again.layers != names or len(again.chosen) != len(ids)):
        raise BadInput(
            f"the draw to use again is of {len(again.chosen)} images and other layers; these are"
            f" {len(ids)} images"
        )
    done = again or Injected(names, noise.chosen(dataset, ids, seed, draw))
    if level == 0:
        yield done
        return
    scales = {name: _scale(noise, name, spread) for name in names}
    calls: dict[str, int] = {}

    def add(name: str, rows: Tensor, inputs: tuple, out: object) -> object:
        call = calls[name] = calls.get(name, 0) + 1
        if not len(rows):
            return out
        if (
            not isinstance(out, Tensor)
            or not out.is_floating_point()
            or out.ndim < 1
            or len(out) != len(ids)
        ):
            shape = (
                f"{tuple(out.shape)} of {out.dtype}"
                if isinstance(out, Tensor)
                else type(out).__name__
            )
            raise BadInput(
                f"layer {name!r} gives {shape}: noise is added to floats with {len(ids)} images"
                " along the first axis"
            )
        last = out.ndim == 4 and out.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        eps = done.drawn.get((name, call))
        if (
            eps is None  # or it was drawn for another network
            or eps.shape != (len(rows), *out.shape[1:])
            or (eps.device, eps.dtype) != (out.device, out.dtype)
            or not eps.is_contiguous(memory_format=layout)
        ):
            names = [
                ("outputs", seed, dataset, int(ids[i]), draw, name, call) for i in rows.tolist()
            ]
            z = philox.normals(math.prod(out.shape[1:]), names, out.device)
            z = z.reshape(len(rows), *out.shape[1:]).contiguous(memory_format=layout)
            eps = z.to(out.dtype)
            done.drawn[name, call] = eps
        aliased = any(isinstance(x, Tensor) and x.data_ptr() == out.data_ptr() for x in inputs)
        target = out.clone() if aliased or out.requires_grad else out
        return target.index_add_(0, rows.to(out.device), eps, alpha=level * scales[name])

    with handles() as held:
        held.append(model.register_forward_pre_hook(lambda *_: calls.clear()))
        for i, (name, module) in enumerate(found.items()):
            rows = torch.from_numpy(np.flatnonzero(done.chosen[:, i]))
            hook = lambda _, x, out, name=name, rows=rows: add(name, rows, x, out)  # noqa: E731
            held.append(
                module.register_forward_hook(hook, prepend=True)
                # a module that reads this layer reads it with its noise
            )

        def ran(*_: object) -> None:
            if lost := [name for name in found if name not in calls]:
                raise ProbesError(
                    f"layer {lost[0]!r} did not run in this forward pass: leave it out of the"
                    " layers with noise"
                )

        held.append(model.register_forward_hook(ran))
        yield done


def _scale(noise: Any, name: str, spread: Mapping[str, float] | None) -> float:
    if noise.scale == "absolute":
        return 1.0
    if spread is None or name not in spread:
        raise BadInput(
            f"noise relative to the clean outputs of {name!r} needs spread={{layer: standard"
            " deviation}; or scale='absolute'"
        )
    if not (math.isfinite(spread[name]) and spread[name] >= 0):
        raise BadInput(
            f"the clean outputs of layer {name!r} have the standard deviation {spread[name]}"
        )
    return spread[name]
