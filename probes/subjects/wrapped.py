"""A network as it is measured, normalised inside, and the register of networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from probes.registry import Registry

Builder = Callable[..., nn.Module]


nets: Registry[Builder] = Registry("network")
"""Builders of networks: ``build(channels, classes)``. ``@nets.register("name")`` files your own."""


@dataclasses.dataclass(frozen=True)
class Takes:
    """What a builder wants of the images beside their number of channels: see :func:`takes`."""

    channels: int | None = None
    side: bool = False
    raw: bool = False


def takes(
    *, channels: int | None = None, side: bool = False, raw: bool = False
) -> Callable[[Builder], Builder]:
    """A decorator for builders: ``channels`` that the network has (grey images are repeated to so
    many), whether the builder gets the images' ``side`` as a third argument, and whether the
    network takes values in [0, 1] as they are (``raw``).

    >>> takes(channels=3)(lambda channels, classes: nn.Identity()).takes
    Takes(channels=3, side=False, raw=False)
    """

    def declare(build: Builder) -> Builder:
        build.takes = Takes(channels, side, raw)  # type: ignore[attr-defined]
        return build

    return declare


class Normalised(nn.Module):
    """A network on images in [0, 1]: subtracts ``mean`` and divides by ``std`` per channel, then
    runs ``net``.

    Normalisation lives here, so that noise is always added in pixel space. Grey images are repeated
    to as many channels as there are means.
    """

    WRAPPED = "net"  # what :func:`probes.naming.plain` leaves out of names
    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.as_they_are = all(m == 0 for m in mean) and all(
            s == 1 for s in std
        )  # 0 and 1 would change nothing, at a price
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if not self.as_they_are:
            return self.net((images - self.mean) / self.std)
        channels = self.mean.shape[1]
        return self.net(images if images.shape[1] == channels else images.repeat(1, channels, 1, 1))
