"""What a study of units reads: the images that factors choose, and the outputs of the modules of a
network for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from probes.measure.features import stages_of
from probes.measure.modules import outputs
from probes.naming import modules
from probes.run import device
from probes.run.forward import network
from probes.subjects.subject import Subject

CHECKPOINTS = {
    "alexnet": (
        "features.2",
        "features.5",
        "features.7",
        "features.9",
        "avgpool",
        "classifier.2",
        "classifier.5",
        "classifier.6",
    ),
    "vgg11": (
        "features.2",
        "features.5",
        "features.10",
        "features.15",
        "avgpool",
        "classifier.1",
        "classifier.4",
        "classifier.6",
    ),
    "resnet18": ("maxpool", "layer1", "layer2", "layer3", "avgpool", "fc"),
}
"""The modules that the study reads in its three networks."""


class Reader:
    """Reads modules of one subject. ``parts`` are their units, a slice of their flat order. With
    ``pooled`` the units are means of channels.

    ``minmax`` first stretches every image to [0, 1].
    """

    def __init__(
        self,
        subject: Subject,
        parts: Mapping[str, slice],
        where: Any,
        minmax: bool = False,
        pooled: bool = False,
    ) -> None:
        self.subject, self.parts, self.where, self.minmax, self.pooled = (
            subject,
            dict(parts),
            where,
            minmax,
            pooled,
        )
        self.net = network(subject, where)
        self.device, self.model = self.net.device, self.net.model

    def read(self, images: Tensor) -> dict[str, Tensor]:
        """The outputs of the modules for images in [0, 1]: name -> (images, units)."""
        with device.exact(self.where.threads), outputs(self.model, list(self.parts)) as seen:
            x = minmax(images) if self.minmax else images
            with device.cast(self.device, self.where.precision):
                self.model(self.net.send(x))
            return {
                name: (pooled(out.float()) if self.pooled else out.float().flatten(1))[
                    :, self.parts[name]
                ]
                for name, out in seen.items()
            }


def default_modules(subject: Subject) -> tuple[str, ...]:
    """The study's checkpoints of its networks; for other networks the places where the maps become
    smaller, and the last linear layer.
    """
    net = subject.spec.net
    if net in CHECKPOINTS:
        return CHECKPOINTS[net]
    known = modules(subject.model)
    linear = [name for name, m in known.items() if isinstance(m, nn.Linear)]
    found = stages_of(subject.model, torch.zeros(2, *subject.data.images.shape[1:]))
    return tuple(dict.fromkeys([*found, *linear[-1:]]))


def shapes_of(
    subject: Subject, names: Sequence[str], where: Any, pooled: bool = False
) -> dict[str, list[int]]:
    """The shape of each module's output for one image, or its number of channels. An error about a
    module comes before the work.

    Raises UnknownName for a module, BadInput and ProbesError as
    :func:`probes.measure.modules.outputs` does.
    """
    model = subject.model.to(where.device)
    with torch.inference_mode(), outputs(model, names) as seen:
        model(torch.zeros(2, *subject.data.images.shape[1:], device=where.device))
        return {
            name: [out.shape[1]] if pooled else list(out.shape[1:]) for name, out in seen.items()
        }


def whole(shapes: Mapping[str, Sequence[int]]) -> dict[str, slice]:
    """All units of modules, as parts.

    >>> whole({"layer1": [16, 2, 2]})
    {'layer1': slice(0, 64, None)}
    """
    return {name: slice(0, math.prod(shape)) for name, shape in shapes.items()}


def pooled(out: Tensor) -> Tensor:
    """The mean of every channel of a module's outputs (images, channels, ...), (images,
    channels)."""
    return out.flatten(2).mean(2) if out.ndim > 2 else out


def minmax(x: Tensor) -> Tensor:
    """Each channel of each image stretched to [0, 1], as the published code does after augmenting.
    A constant channel becomes 0.
    """
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return (x - low) / torch.where(high > low, high - low, 1)
