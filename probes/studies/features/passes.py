"""Passes of a batch of images at every level of noise: maps, logits and predictions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import Tensor

from probes.batch import Draw
from probes.kept import Kept
from probes.measure import extract
from probes.perturb import Gaussian
from probes.perturb.own import own
from probes.run import device
from probes.run.cells import images_under
from probes.run.forward import Where, network
from probes.subjects.folders import categories
from probes.subjects.sending import pixels
from probes.subjects.subject import Subject


@dataclasses.dataclass
class NoisyMaps:
    """One batch at one level: the images that the network saw, the maps by layer, the logits."""

    images: np.ndarray
    maps: dict[str, Tensor]
    logits: Tensor


def batches(subject: Subject, where: Where) -> list[range]:
    """The places of a subject's images, batch by batch. Batches of large images are smaller."""
    total, shape = len(subject.data), subject.data.images.shape
    size = min(where.batch_size, max(4, 4_000_000 // math.prod(shape[1:])))
    return [range(start, min(start + size, total)) for start in range(0, total, size)]


def passes_over(
    subject: Subject,
    layers: Sequence[str],
    under: Gaussian,
    where: Where,
    seed: int,
    batch: range,
    tell: Callable[[float], object] = lambda share: None,
) -> dict[float, NoisyMaps]:
    """Run a batch of images at every level."""
    data, part = subject.data, slice(batch.start, batch.stop)
    net, draw = network(subject, where), Draw(seed, data.name, 0)
    found: dict[float, NoisyMaps] = {}
    clean, kept = pixels(data, part, "cpu" if own(under) else net.device), Kept()
    with (
        device.exact(where.threads),
        device.cast(net.device, where.precision),
        extract(net.model, layers) as seen,
    ):
        for level in under.levels:
            images = images_under(
                under, clean, data.ids[part], level, draw, data.mean, data.std, kept
            )
            logits = net.model(net.send(images))
            found[level] = NoisyMaps(images.cpu().numpy(), dict(seen), logits.float())
            tell(len(found) / len(under.levels))
    return found


def class_names(subject: Subject, outputs: int) -> Sequence[str]:
    """The names of a network's outputs: the dataset's classes, ImageNet's categories for 1,000,
    else their numbers.
    """
    known = subject.data.classes
    if len(known) != outputs == 1000:
        known = categories()
    return known if len(known) == outputs else [str(i) for i in range(outputs)]


def captions(passes: Mapping[float, NoisyMaps], i: int, subject: Subject) -> dict[float, str]:
    """The prediction for an image of the batch, at each level."""
    out = {}
    for level, one in passes.items():
        share, label = one.logits[i].softmax(0).max(0)
        out[level] = f"{class_names(subject, one.logits.shape[1])[int(label)]} ({share.item():.0%})"
    return out
