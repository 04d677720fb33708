"""Segments cut out of a network and fed with one HSV channel of an image: do their units show there what moves them inside?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from probes.errors import BadInput
from probes.hooks import handles, modules
from probes.measure.features import has_places
from probes.measure.indexstats import same_units
from probes.measure.sensitivity import Replicates
from probes.perturb.hsv import HSV, hsv
from probes.registry import unknown
from probes.run import sensitivity
from probes.run.forward import pixels
from probes.run.masking import learnt_of
from probes.run.readers import default_modules, shapes_of, whole
from probes.run.scramblings import Plan
from probes.run.sensing import OTHERS
from probes.run.settings import Options
from probes.store import Store
from probes.subjects.pretrained import Subject
from probes.subjects.spec import on
from probes.tell import evidence, report, segmentpages

CUT = {
    "alexnet": ("features.0..2", "features.3..5", "features.6..7", "features.8..9", "features.10..12"),
    "vgg11": ("features.0..2", "features.3..5", "features.6..10", "features.11..15", "features.16..20"),
}
"""Segments between the study's checkpoints; of other networks the stages are."""
PART = "part"
Say = Callable[[str], None]


class Segment(nn.Module):
    """A part of a network on images in [0, 1]: fed with one HSV channel, at the part's own input size, in each of its channels.

    ``shape`` is that of the part's input for one image, (C, H, W).
    """

    def __init__(self, part: nn.Module, channel: str, shape: Sequence[int]) -> None:
        super().__init__()
        if channel not in HSV:
            raise unknown("channel", channel, HSV)
        self.part, self.channel, self.shape = part, HSV.index(channel), tuple(shape)

    def forward(self, images: Tensor) -> Tensor:
        """What the part gives for images (N, C, H, W) in [0, 1]."""
        one = hsv(images.clamp(0, 1))[:, self.channel, None]
        small = functional.interpolate(one, self.shape[1:], mode="bilinear", antialias=True)
        return self.part(small.expand(-1, self.shape[0], -1, -1).contiguous())


@dataclasses.dataclass(frozen=True)
class Cut:
    """A segment by name: the part itself, the module of the whole network whose output it gives, and the shape of its input."""

    name: str
    part: nn.Module
    last: str
    shape: tuple[int, ...]
    told: Mapping[str, float]

    def on(self, subject: Subject, channel: str) -> Subject:
        """The subject that is this segment, fed with a channel."""
        model = Segment(self.part, channel, self.shape).eval()
        return dataclasses.replace(subject, model=model, code=f"{subject.code} {self.name} {channel} {self.shape}")


def default_segments(subject: Subject) -> tuple[str, ...]:
    """The segments of the study's networks, else the modules with maps that sensitivity reads and that are fed maps."""
    return CUT.get(subject.spec.net) or default_modules(subject)


def cut(subject: Subject, names: Sequence[str] | None) -> list[Cut]:
    """Cut segments out of a network: modules by name, or members of an ``nn.Sequential`` as ``features.3..5``.

    Without names those of :func:`default_segments` that have weights, are fed maps and give maps. Raises UnknownName for a module,
    BadInput for a segment that is not fed with one map (C, H, W) an image, or gives none of several places.
    """
    found = []
    if names and len(set(names)) < len(names):
        raise BadInput(f"segments {', '.join(names)}: each once")
    for name in names or default_segments(subject):
        part, first, last = _part(subject.model, name)
        shape, told = _fed(subject, first)
        gives = shapes_of(subject, [last], Options(device="cpu", threads=1).where)[last]
        weighty = bool(names) or any(True for _ in part.parameters())
        if len(shape) == 3 and has_places(gives) and gives[0] > 1 and gives[1] * gives[2] > 2 and weighty:
            found.append(Cut(name, part, last, shape, told))
        elif names:
            fed, out = " x ".join(map(str, shape)) or "no one tensor", " x ".join(map(str, gives))
            raise BadInput(
                f"segment {name!r} is fed {fed} and gives {out}: maps in and out, of two channels and three places at least"
            )
    if not found:
        raise BadInput(
            f"{subject.spec}: none of its modules is fed maps and gives maps; name segments, e.g. layer1 or features.3..5"
        )
    return found


def _part(model: nn.Module, name: str) -> tuple[nn.Module, str, str]:
    """The part that a name means, and its first and last module."""
    known = modules(model)
    head, dots, end = name.partition("..")
    if not dots:
        if name not in known:
            raise unknown("module of a segment", name, known)
        return known[name], name, name
    above, _, start = head.rpartition(".")
    parent = known.get(above) if above else getattr(model, "net", model)
    if not isinstance(parent, nn.Sequential) or not (start.isdigit() and end.isdigit() and int(start) <= int(end) < len(parent)):
        raise BadInput(
            f"segment {name!r}: FIRST..LAST are members of one nn.Sequential by number, in its order, e.g. features.3..5"
        )
    last = f"{above}.{end}".lstrip(".")
    return nn.Sequential(*list(parent)[int(start) : int(end) + 1]).eval(), head, last


def _fed(subject: Subject, name: str) -> tuple[tuple[int, ...], dict[str, float]]:
    """The shape of what a module is fed for one image, () where that is no one tensor, with its mean and spread on images."""
    seen: list[tuple[Any, ...]] = []
    with handles() as held, torch.inference_mode():
        held.append(modules(subject.model)[name].register_forward_pre_hook(lambda _, given: seen.append(given)))
        subject.model.cpu()(pixels(subject.data, slice(0, 64)))
    if len(seen) != 1 or len(seen[0]) != 1 or not isinstance(seen[0][0], Tensor):
        return (), {}
    x = seen[0][0].double()
    return tuple(x.shape[1:]), {"mean": float(x.mean()), "spread": float(x.std())}


def study(
    net: str,
    dataset: str,
    store: Store,
    out: Path,
    plan: Plan,
    *,
    names: Sequence[str] | None = None,
    memory: float = sensitivity.MEMORY,
    options: Options | None = None,
    command: Sequence[str] = ("probes", "run", "segments"),
    say: Say = lambda _: None,
) -> Path:
    """Indices of a network's units inside it and in segments fed with H, S and V, as files, figures and a page in ``out``.

    Of every segment the channel with the largest mean total index for each augmentation is chosen, on training images; all are
    measured on test images. Grey images have a V only. Tables ``units`` (chosen channels), ``likeness`` (all channels) and
    ``means``. Raises what :func:`cut` and a plan do.
    """
    report.replaceable(out)
    if memory <= 0:
        raise BadInput(f"memory {memory:g} GB: the sums need some")
    options, spec = options or Options(), on(net, dataset)
    subject = sensitivity.subject_of(net, dataset, store, options, say)
    cuts = cut(subject, names)
    channels = HSV if subject.data.channels == 3 else HSV[2:]
    if len(channels) == 1:
        say("grey images: hue and saturation are 0, segments are fed with the value only")
    lasts = [c.last for c in cuts]
    shapes = shapes_of(subject, lasts, options.where)
    facts: dict[str, Any] = {"subject": str(spec), "dataset": subject.data.title, "images": len(subject.data), "lost": {},
                             "images_sha256": subject.data.sha256, "weights": subject.sha256, "without": [],
                             "where": dataclasses.asdict(options.where), "plan": dataclasses.asdict(plan),
                             "fed": {c.name: {"shape": list(c.shape), **c.told} for c in cuts}}  # fmt: skip

    def measured(one: Subject, of: Sequence[str], shape: Mapping[str, Sequence[int]], what: str) -> dict[str, Replicates]:
        say(f"{spec}: {what}")
        units = {name: part.stop for name, part in whole({name: shape[name] for name in of}).items()}
        asked = dataclasses.replace(plan, names=tuple(of))
        told = say if one is subject else lambda _: None  # the design is the same throughout
        return dict(sensitivity.indices_of(one, asked, units, facts, memory, options, store, told))

    learnt = measured(learnt_of(subject, store), lasts, shapes, "the whole network on training images, to choose channels")
    tested = measured(subject, lasts, shapes, "the whole network on test images")
    groups = [i for i, g in enumerate(facts["groups"]) if g not in OTHERS]
    names_of = [facts["groups"][i] for i in groups]
    facts["augmentations"] = names_of
    rows: dict[str, list[Any]] = {"units": [], "likeness": [], "means": []}
    maps: dict[str, dict[str, np.ndarray]] = {}
    for one in cuts:
        shape = shapes[one.last]
        if one.last not in learnt or one.last not in tested:
            continue
        found = {segmentpages.WHOLE: tested[one.last]}
        for channel in channels:
            part = measured(one.on(subject, channel), [PART], {PART: shape}, f"{one.name} alone, fed with {channel}")
            if PART in part:
                found[channel] = part[PART]
        maps[one.name] = {where: r.maps("total", shape)[groups] for where, r in found.items()}
        before = learnt[one.last].maps("total", shape)[groups]
        chosen = {v: int(np.nan_to_num(before[j]).mean((1, 2)).argmax()) for j, v in enumerate(names_of)}
        rows["means"] += [(one.name, where, v, float(np.nan_to_num(m[j]).mean()), int(np.isnan(m[j]).sum()), m[j].size)
                          for where, m in maps[one.name].items() for j, v in enumerate(names_of)]  # fmt: skip
        for where, m in maps[one.name].items():
            alike = same_units(maps[one.name][segmentpages.WHOLE], m) if where != segmentpages.WHOLE else None
            if alike:
                rows["likeness"] += [(one.name, where, c, alike.rho[c], alike.p[c], alike.difference[c], alike.difference_p[c])
                                     for c in range(shape[0])]  # fmt: skip
            rows["units"] += [_unit(one.name, where, v, chosen[v], before[j], m[j]) for j, v in enumerate(names_of)]
    tables = {name: pd.DataFrame(found, columns=list(segmentpages.COLUMNS[name])) for name, found in rows.items()}
    return segmentpages.write(out, tables, maps, facts, evidence.provenance(Path.cwd(), command, {}))


def _unit(segment: str, where: str, variable: str, channel: int, before: np.ndarray, now: np.ndarray) -> tuple[Any, ...]:
    """A chosen channel: its mean index where it was chosen and where it is tested, and its rank among the channels there."""
    level = np.nan_to_num(now).mean((1, 2))
    rank = int((level > level[channel]).sum()) + 1
    return segment, where, variable, channel, float(np.nan_to_num(before[channel]).mean()), float(level[channel]), rank, len(level)
