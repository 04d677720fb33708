"""The wrapper in which a network is measured, with normalisation inside, and the registry of
networks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from probes.registry import Registry

Builder = Callable[..., nn.Module]


nets: Registry[Builder] = Registry("network")
"""Builders of networks: ``build(channels, classes)``. ``@nets.register("name")`` registers your
own.
"""


@dataclasses.dataclass(frozen=True)
class Takes:
    """What a builder needs to know of the images beside their number of channels: see
    :func:`takes`.

    ``size`` is the one side of images that the network takes: others are resized to it inside.
    ``mean``, ``std`` and ``own_size`` are those that its own weights were trained with.
    """

    channels: int | None = None
    side: bool = False
    raw: bool = False
    size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    own_size: int | None = None


def takes(
    *, channels: int | None = None, side: bool = False, raw: bool = False, size: int | None = None
) -> Callable[[Builder], Builder]:
    """A decorator for builders. ``channels`` is the number of channels of the network (grey images
    are repeated to it). ``side`` means that the builder gets the side of the images as a third
    argument. ``raw`` means that the network takes values in [0, 1] as they are. ``size`` is the
    side that images are resized to inside the network, for one that takes no other.

    >>> takes(channels=3)(lambda channels, classes: nn.Identity()).takes.channels
    3
    """

    def declare(build: Builder) -> Builder:
        build.takes = Takes(channels, side, raw, size)  # type: ignore[attr-defined]
        return build

    return declare


DYNAMIC = ("torch.ao.nn.quantized.dynamic", "torch.nn.quantized.dynamic")
"""Where torch keeps layers whose activations are quantised while they run."""


def logits_of(output: Any, classes: int | None = None) -> tuple[Tensor | None, str]:
    """The logits in what a network gives, and where they were found; None where it can't be told.

    A tensor is taken as it is; else ``.logits`` or ``["logits"]``; else the one 2-d float tensor
    with as many columns as there are classes.

    >>> out = {"logits": torch.zeros(2, 3), "hidden": torch.zeros(2, 3)}
    >>> logits_of(out)[1], logits_of((torch.zeros(2, 3), torch.zeros(2, 3)), 3)[0]
    ("'logits' of its dict", None)
    """
    if isinstance(output, Tensor):
        return output, ""
    kind = type(output).__name__
    named = output.get("logits") if isinstance(output, Mapping) else None
    named = getattr(output, "logits", None) if named is None else named
    if isinstance(named, Tensor):
        return named, f"'logits' of its {kind}"
    if isinstance(output, Mapping):
        parts = {repr(name): value for name, value in output.items()}
    elif isinstance(output, tuple | list):
        parts = {f"output {i}": value for i, value in enumerate(output)}
    else:
        return None, ""
    fitting = [
        (where, t)
        for where, t in parts.items()
        if isinstance(t, Tensor)
        and t.ndim == 2
        and t.is_floating_point()
        and classes in (None, t.shape[1])
    ]
    if len(fitting) != 1:
        return None, ""
    return fitting[0][1], f"{fitting[0][0]} of its {kind}"


def described(output: Any) -> str:
    """What a network gives, in words, for an error.

    >>> described((torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int64)))
    'a tuple of (2, 3), (2, 3) of int64'
    """
    if isinstance(output, Tensor):
        kind = "" if output.dtype == torch.float32 else f" of {str(output.dtype).split('.')[-1]}"
        return f"{tuple(output.shape)}{kind}"
    name = type(output).__name__
    if isinstance(output, Mapping):
        return f"a {name} of " + ", ".join(f"{k!r} {described(v)}" for k, v in output.items())
    if isinstance(output, tuple | list):
        more = f", ... ({len(output)} of them)" if len(output) > 3 else ""
        return f"a {name} of " + ", ".join(map(described, output[:3])) + more
    return f"a {name}"


class Normalised(nn.Module):
    """A network on images in [0, 1]. It subtracts ``mean``, divides by ``std`` per channel, runs
    ``net`` in the precision of its weights, and gives its logits (:func:`logits_of`).

    Normalisation is inside, so that noise is always added in pixel space. Grey images are repeated
    to as many channels as there are means. ``side`` is the side of the images that the network
    takes, where it is another one than theirs: they are resized inside (bilinear, antialiased).
    Dynamically quantised layers round by the range of a whole batch, so that what an image gives
    would depend on its neighbours: images then pass one by one.
    """

    WRAPPED = "net"  # what :func:`probes.naming.plain` leaves out of names
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        classes: int | None = None,
        side: int | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.classes, self.side = classes, side
        self.dtype = next((p.dtype for p in net.parameters() if p.is_floating_point()), None)
        self.one_by_one = any(type(m).__module__.startswith(DYNAMIC) for m in net.modules())
        self.as_they_are = all(m == 0 for m in mean) and all(
            s == 1 for s in std
        )  # 0 and 1 would change nothing, at a price
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Any:
        if self.side and images.shape[-1] != self.side:
            images = F.interpolate(images, (self.side, self.side), mode="bilinear", antialias=True)
        if not self.as_they_are:
            images = (images - self.mean) / self.std
        elif images.shape[1] != (channels := self.mean.shape[1]):
            images = images.repeat(1, channels, 1, 1)
        if self.dtype is not None:
            images = images.to(self.dtype)
        if self.one_by_one:
            return torch.cat([self._logits(image) for image in images.split(1)])
        return self._logits(images)

    def _logits(self, images: Tensor) -> Any:
        output = self.net(images)
        if isinstance(output, Tensor):
            return output
        logits, _ = logits_of(output, self.classes)
        return output if logits is None else logits


def half_precision(model: nn.Module) -> str:
    """The 16-bit precision in which a network computes; empty for one that has 32 bits or more.

    >>> half_precision(nn.Linear(2, 2).bfloat16()), half_precision(nn.Linear(2, 2))
    ('bfloat16', '')
    """
    kinds = {p.dtype for p in model.parameters() if p.is_floating_point()}
    short = sorted(str(kind).split(".")[-1] for kind in kinds if kind.itemsize <= 2)
    return short[0] if short else ""
