"""The wrapper in which a network is measured, with normalisation inside, and the registry of
networks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
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
    """

    channels: int | None = None
    side: bool = False
    raw: bool = False


def takes(
    *, channels: int | None = None, side: bool = False, raw: bool = False
) -> Callable[[Builder], Builder]:
    """A decorator for builders. ``channels`` is the number of channels of the network (grey images
    are repeated to it). ``side`` means that the builder gets the side of the images as a third
    argument. ``raw`` means that the network takes values in [0, 1] as they are.

    >>> takes(channels=3)(lambda channels, classes: nn.Identity()).takes
    Takes(channels=3, side=False, raw=False)
    """

    def declare(build: Builder) -> Builder:
        build.takes = Takes(channels, side, raw)  # type: ignore[attr-defined]
        return build

    return declare


class Normalised(nn.Module):
    """A network on images in [0, 1]. It subtracts ``mean``, divides by ``std`` per channel, and
    runs ``net``.

    Normalisation is inside, so that noise is always added in pixel space. Grey images are repeated
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
