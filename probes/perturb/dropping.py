"""Dropout that stays on while a network is measured (Monte Carlo dropout)."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from probes import philox
from probes.batch import Batch
from probes.errors import BadInput, ProbesError
from probes.hooks import handles, refuse_wrapped
from probes.naming import modules
from probes.perturb.layers import Which, layers_of, several
from probes.perturb.protocol import Forward, Pass, Perturbation

CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
"""The layers of torch that drop whole channels."""


@dataclasses.dataclass(frozen=True)
class Dropout(Perturbation):
    """Outputs of layers are dropped with a probability, the level, and the others divided by 1
    minus the level.

    The layers are the network's own dropout layers whose rate is above 0, which drop at the level
    in place of their own rate (Gal and Ghahramani 2016); ``on`` names others
    (:func:`probes.perturb.layers.layers_of`). Layers for channels (``nn.Dropout2d``) drop whole
    channels. What is dropped is drawn by (seed, dataset, image id, draw, layer, call), whatever
    the batch, and what a lower rate drops a higher rate drops, too. Dropout that a forward calls as
    a function is out of reach.
    """

    levels: tuple[float, ...]
    on: tuple[Which, ...] = ()

    name = "dropout"
    varied = "dropout rate"
    acts_on = "layers"
    version = 1

    def __post_init__(self) -> None:
        levels = tuple(sorted(float(v) for v in self.levels))
        if levels[0] != 0 or len(set(levels)) < len(levels) or not levels[-1] < 1:
            raise BadInput(f"dropout at {self.levels}: 0 and rates below 1, none twice")
        object.__setattr__(self, "levels", levels)

    def describe(self) -> str:
        """Which outputs are dropped."""
        on = (w if isinstance(w, str) else getattr(w, "__name__", str(w)) for w in self.on)
        return (
            f"outputs of {', '.join(on) or 'the dropout layers'} dropped at random, by each image"
        )

    def key(self, level: float) -> dict[str, Any]:
        """The rate and the layers, once they are names."""
        kind = {"kind": "dropout", "version": self.version, "level": level}
        return kind | ({"on": [str(one) for one in self.on]} if level else {})

    def arms(self, model: nn.Module) -> Sequence[tuple[str, Dropout]]:
        """The same on the layers of this model, by name."""
        return [("", self.resolved(model))]

    def resolved(self, model: nn.Module) -> Dropout:
        """The same on named layers. Raises BadInput for a network that has no dropout to keep on.

        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
        >>> dropout(0, 0.1).resolved(net).on
        ('1',)
        """
        if self.on:
            return dataclasses.replace(self, on=tuple(layers_of(model, self.on)))
        own = [
            name
            for name, m in modules(model).items()
            if isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0
        ]
        if not own:
            raise BadInput(
                f"{type(getattr(model, 'net', model)).__name__} has no dropout layer with a rate"
                " above 0: name the layers whose outputs are dropped, e.g. dropout(0, 0.1,"
                " on='Linear')"
            )
        return dataclasses.replace(self, on=tuple(layers_of(model, own)))

    @contextlib.contextmanager
    def open(self, at: Pass) -> Iterator[Forward]:
        """Run the network with dropout."""

        def forward(batch: Batch) -> Tensor:
            with self._dropping(at, batch.ids.tolist()) if at.level else contextlib.nullcontext():
                at.plain(batch.images)
            return batch.images

        yield forward

    @contextlib.contextmanager
    def _dropping(self, at: Pass, ids: Sequence[int]) -> Iterator[None]:
        refuse_wrapped(at.model)
        calls: dict[str, int] = {}

        def drop(name: str, module: nn.Module, out: object) -> Tensor:
            if not isinstance(out, Tensor) or not out.is_floating_point() or len(out) != len(ids):
                raise BadInput(f"layer {name!r} gives no batch of floats: there is nothing to drop")
            call = calls[name] = calls.get(name, 0) + 1
            shape = out.shape[1:]
            if isinstance(module, CHANNELS):
                shape = torch.Size([*shape[:1], *[1] * (len(shape) - 1)])
            kept = self._kept(at, math.prod(shape), ids, out.device, name, call)
            return out * kept.view(len(ids), *shape) / (1 - at.level)

        with handles() as held:
            for name, module in layers_of(at.model, self.on).items():
                hook = lambda m, _, out, name=name: drop(name, m, out)  # noqa: E731
                held.append(module.register_forward_hook(hook, prepend=True))
            yield
        if lost := [name for name in self.on if name not in calls]:
            raise ProbesError(
                f"layer {lost[0]!r} did not run in this forward pass: leave it out of the layers"
                " that drop"
            )

    def _kept(
        self, at: Pass, n: int, ids: Sequence[int], device: torch.device, *where: str | int
    ) -> Tensor:
        draw = at.draw
        names = [("dropout", draw.seed, draw.dataset, i, draw.number, *where) for i in ids]
        # a uniform at or above the level, as integers: not every device has double precision
        uniforms = (philox.words(n, names, device) >> 11).bitwise_and_((1 << 53) - 1)
        return uniforms >= math.ceil(at.level * 2**53)


def dropout(*levels: float, on: Which | Sequence[Which] = ()) -> Dropout:
    """Dropout of these rates that stays on: see :class:`Dropout`. Raises BadInput for rates outside
    [0, 1), without 0, or with one twice.

    >>> dropout(0, 0.1, 0.3).levels
    (0.0, 0.1, 0.3)
    """
    return Dropout(tuple(levels), several(on))
