"""A network cut into segments. Each segment gets the clean input that it has inside the whole
network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from probes.errors import BadInput
from probes.hooks import handles
from probes.measure.features import has_places
from probes.naming import modules
from probes.registry import unknown
from probes.run.settings import Options
from probes.run.work import Place
from probes.studies.segments.hsv import HSV, hsv
from probes.studies.sensitivity.reader import default_modules, shapes_of
from probes.studies.sensitivity.source import Source
from probes.subjects.sending import pixels
from probes.subjects.subject import Subject

CUT = {
    "alexnet": (
        "features.0..2",
        "features.3..5",
        "features.6..7",
        "features.8..9",
        "features.10..12",
    ),
    "vgg11": (
        "features.0..2",
        "features.3..5",
        "features.6..10",
        "features.11..15",
        "features.16..20",
    ),
}
"""The segments of the study's networks, between checkpoints. Segments of other networks are their
stages.
"""


PART = "part"


class Segment(nn.Module):
    """A part of a network on images in [0, 1]. One HSV channel, resized to the part's own input, is
    given to each of its channels.

    ``shape`` is the shape of the part's input for one image, (C, H, W).
    """

    def __init__(self, part: nn.Module, channel: str, shape: Sequence[int]) -> None:
        super().__init__()
        if channel not in HSV:
            raise unknown("channel", channel, HSV)
        self.part, self.channel, self.shape = part, HSV.index(channel), tuple(shape)

    def forward(self, images: Tensor) -> Tensor:
        """The output of the part for images (N, C, H, W) in [0, 1]."""
        one = hsv(images.clamp(0, 1))[:, self.channel, None]
        small = functional.interpolate(one, self.shape[1:], mode="bilinear", antialias=True)
        return self.part(small.expand(-1, self.shape[0], -1, -1).contiguous())


@dataclasses.dataclass(frozen=True)
class Cut:
    """A segment by name: the part itself, the module of the whole network with the same output, and
    the shape of its input.
    """

    name: str
    part: nn.Module
    last: str
    shape: tuple[int, ...]
    told: Mapping[str, float]

    def on(self, subject: Subject, channel: str) -> Subject:
        """This segment as a subject, fed with a channel."""
        model = Segment(self.part, channel, self.shape).eval()
        return dataclasses.replace(
            subject, model=model, code=f"{subject.code} {self.name} {channel} {self.shape}"
        )


def default_segments(subject: Subject) -> tuple[str, ...]:
    """The segments of the study's networks; for other networks the modules that sensitivity reads
    and whose input and output are maps.
    """
    return CUT.get(subject.spec.net) or default_modules(subject)


def cut(subject: Subject, names: Sequence[str] | None) -> list[Cut]:
    """Cut segments out of a network: modules by name, or members of an ``nn.Sequential`` as
    ``features.3..5``.

    By default the segments are those of :func:`default_segments` that have weights and whose input
    and output are maps. Raises UnknownName for a module, BadInput for a segment whose input is not
    one map (C, H, W) per image or whose output has no maps of several places.
    """
    found = []
    if names and len(set(names)) < len(names):
        raise BadInput(f"segments {', '.join(names)}: each once")
    for name in names or default_segments(subject):
        part, first, last = _part(subject.model, name)
        shape, told = _fed(subject, first)
        gives = shapes_of(subject, [last], Options(device="cpu", threads=1).where)[last]
        weighty = bool(names) or any(True for _ in part.parameters())
        if (
            len(shape) == 3
            and has_places(gives)
            and gives[0] > 1
            and gives[1] * gives[2] > 2
            and weighty
        ):
            found.append(Cut(name, part, last, shape, told))
        elif names:
            fed, out = " x ".join(map(str, shape)) or "no one tensor", " x ".join(map(str, gives))
            raise BadInput(
                f"segment {name!r} is fed {fed} and gives {out}: maps in and out, of two channels"
                " and three places at least"
            )
    if not found:
        raise BadInput(
            f"{subject.spec}: none of its modules is fed maps and gives maps; name segments, e.g."
            " layer1 or features.3..5"
        )
    return found


def _part(model: nn.Module, name: str) -> tuple[nn.Module, str, str]:
    """The part that a name stands for, and its first and last module."""
    known = modules(model)
    head, dots, end = name.partition("..")
    if not dots:
        if name not in known:
            raise unknown("module of a segment", name, known)
        return known[name], name, name
    above, _, start = head.rpartition(".")
    parent = known.get(above) if above else getattr(model, "net", model)
    if not isinstance(parent, nn.Sequential) or not (
        start.isdigit() and end.isdigit() and int(start) <= int(end) < len(parent)
    ):
        raise BadInput(
            f"segment {name!r}: FIRST..LAST are members of one nn.Sequential by number, in its"
            " order, e.g. features.3..5"
        )
    last = f"{above}.{end}".lstrip(".")
    return nn.Sequential(*list(parent)[int(start) : int(end) + 1]).eval(), head, last


def _fed(subject: Subject, name: str) -> tuple[tuple[int, ...], dict[str, float]]:
    """The shape of a module's input for one image, () if it is not one tensor, with its mean and
    standard deviation on images.
    """
    seen: list[tuple[Any, ...]] = []
    with handles() as held, torch.inference_mode():
        held.append(
            modules(subject.model)[name].register_forward_pre_hook(
                lambda _, given: seen.append(given)
            )
        )
        model = subject.model.cpu().to(memory_format=torch.contiguous_format)
        model(pixels(subject.data, slice(0, 64)))
    if len(seen) != 1 or len(seen[0]) != 1 or not isinstance(seen[0][0], Tensor):
        return (), {}
    x = seen[0][0].double()
    return tuple(x.shape[1:]), {"mean": float(x.mean()), "spread": float(x.std())}


@dataclasses.dataclass(frozen=True)
class Fed(Source):
    """A segment of a subject by name, fed with an HSV channel."""

    segment: str = ""
    channel: str = ""

    def made(self, place: Place) -> Subject:
        """The subject that is the segment."""
        (one,) = cut(super().made(place), [self.segment])
        return one.on(super().made(place), self.channel)
