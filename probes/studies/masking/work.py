"""What a network predicts under masks, on clean images and under augmentations, kept piece by
piece.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from probes.errors import BadInput
from probes.hooks import PREFIX_BYTES, Prefix, begins
from probes.perturb.augment import augmentations
from probes.perturb.masks import scaled_units
from probes.run import device
from probes.run.bench import Bench
from probes.run.cells import ENGINE
from probes.run.forward import Where, common_key, network
from probes.run.work import Place, Work, made
from probes.studies.masking.guide import Guide, Guiding
from probes.studies.masking.masks import Mask
from probes.studies.sensitivity.contrasts import Contrasts, factors
from probes.studies.sensitivity.source import Source
from probes.studies.sensitivity.work import own_code
from probes.subjects.dataset import Dataset
from probes.subjects.sending import pixels
from probes.subjects.subject import Subject

CLEAN = "clean"
TOP_K = 5
"""The classes that are kept of each prediction: those with the largest logits."""
PIECE = 20
"""One piece of work holds at most this many draws of a mask, or masks without draws. A killed run
loses at most one piece.
"""


def augmented(
    name: str, images: Tensor, data: Dataset, rows: slice, seed: int, draw: int
) -> Tensor:
    """Images as an input: ``clean``, or under one augmentation, its parameters drawn for each
    image.
    """
    if name == CLEAN:
        return images
    return augmentations[name](images, factors(name, data, rows, Contrasts(seed=seed), draw))


def draws_of(name: str, draws: int) -> int:
    """How often the parameters of an input are drawn: once for clean images and for an augmentation
    without parameters.
    """
    return 1 if name == CLEAN or augmentations[name].switch else draws


def top_classes(
    subject: Subject,
    guide: Guide,
    name: str,
    masks: Sequence[Mask],
    where: Where,
    seed: int = 0,
    draws: int = 1,
    tell: Callable[[float], object] = lambda share: None,
) -> np.ndarray:
    """The five classes with the largest logits, largest first, of every image under every mask.

    int16 (masks, draws, images, 5, or all classes where there are fewer). The factors of a mask are
    made once. What runs before the first masked module runs once for a batch. Raises BadInput for a
    network that gives anything but a number for each image and class.
    """
    data = subject.data
    net = network(subject, where)
    model = net.model
    scales = [{m: t.to(where.device) for m, t in mask.scales(guide).items()} for mask in masks]
    number, k = draws_of(name, draws), min(TOP_K, len(data.classes))
    found = np.empty((len(masks), number, len(data), k), np.int16)
    prefix, shared = Prefix(model), dict[tuple[str, ...], bool]()
    for start in range(0, len(data), where.batch_size):
        part = slice(start, min(start + where.batch_size, len(data)))
        images = pixels(data, part, net.device)
        for draw in range(number):
            with (
                device.exact(where.threads),
                device.cast(torch.device(where.device), where.precision),
            ):
                x = augmented(name, images, data, part, seed, draw)
                with prefix.record():
                    clean = model(net.send(x))
                if not isinstance(clean, Tensor) or clean.shape != (len(images), len(data.classes)):
                    gave = tuple(clean.shape) if isinstance(clean, Tensor) else type(clean).__name__
                    raise BadInput(
                        f"{subject.spec} gives {gave} for {len(images)} images of"
                        f" {len(data.classes)} classes: predictions need a number for each image"
                        " and class"
                    )
                for i, factors_of in enumerate(scales):
                    out, names = clean, tuple(factors_of)
                    if names and names not in shared:
                        shared[names] = prefix.nbytes <= PREFIX_BYTES and begins(
                            model, net.send(x[:4]), names, through=True
                        )
                    if names:
                        with contextlib.ExitStack() as stack:
                            if shared[names]:
                                stack.enter_context(prefix.replay(*names, through=True))
                            stack.enter_context(scaled_units(model, factors_of))
                            out = model(net.send(x))
                    found[i, draw, part] = out.topk(k, 1).indices.cpu().numpy()
            tell((start * number + len(images) * (draw + 1)) / (len(data) * number))
    return found


def correct(topk: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether the label is the first class and whether it is any of the classes, means over draws.

    (masks, draws, images, classes) -> float32 (masks, 2, images).

    >>> correct(np.array([[[[2, 0], [1, 0]]]]), np.array([2, 0])).tolist()
    [[[1.0, 0.0], [1.0, 1.0]]]
    """
    hit = topk == labels[:, None]
    return np.stack([hit[..., 0].mean(1), hit.any(-1).mean(1)], 1, dtype=np.float32)


def pieces(masks: Iterable[Mask]) -> list[list[Mask]]:
    """Masks in pieces of work: up to 20 draws of a mask, or up to 20 masks without draws. The same
    masks give the same pieces, whatever else is asked for.
    """
    found: list[list[Mask]] = []
    for drawn, part in groupby(masks, key=_drawn):
        ms = list(part)
        if drawn:
            found += [list(some) for _, some in groupby(ms, key=lambda m: m.draw // PIECE)]
        else:
            found += [ms[i : i + PIECE] for i in range(0, len(ms), PIECE)]
    return found


def _drawn(mask: Mask) -> Mask | None:
    """The mask that all draws of a mask share; None for a mask without draws."""
    return dataclasses.replace(mask, draw=0) if mask.kind in ("random", "matched") else None


@dataclasses.dataclass(frozen=True)
class TopClasses(Work):
    """A subject's top classes on an input under some masks: a piece of work.

    At most ``images`` images are tested. ``draws`` counts the draws of an augmentation's parameters
    for each image. The indices of ``guiding`` guide the masks.
    """

    guiding: Guiding
    input: str
    masks: tuple[Mask, ...]
    seed: int
    draws: int = 1
    images: int | None = None

    kind = "answers"
    suffix = ".npy"

    @property
    def source(self) -> Source:
        """The subject on the images that masks are tested on."""
        return Source(self.guiding.subject, self.images)

    def key(self, place: Place) -> dict[str, Any]:
        """What the predictions depend on; random masks need no indices."""
        guided = any(m.kind not in ("none", "random") for m in self.masks)
        return {
            **common_key(self.source.of(place), self.guiding.where, place.store),
            "engine": ENGINE,
            "masking": 4,
            "seed": self.seed,
            "names": self.guiding.plan.names,
            "input": self.input,
            "draws": self.draws,
            "masks": [dataclasses.astuple(m) for m in self.masks],
            "own": own_code([self.input]) if self.input != CLEAN else {},
            **({"guide": self.guiding.key(place)} if guided else {}),
        }

    def needs(self, place: Place) -> Sequence[Work]:
        """The indices that guide."""
        return self.guiding.works(place)

    def make(self, place: Place, path: Path) -> None:
        """Write what :func:`top_classes` gives."""
        found = top_classes(
            self.source.of(place),
            self.guiding.guide(place),
            self.input,
            self.masks,
            self.guiding.where,
            self.seed,
            self.draws,
            place.tell,
        )
        with open(path, "wb") as f:
            np.save(f, found)


class MaskedPredictions:
    """The predictions of a lab's subject under masks, from the store or computed now.

    ``draws`` counts the draws of an augmentation's parameters for each image. At most ``images``
    images are used.
    """

    def __init__(
        self, lab: Bench, guiding: Guiding, draws: int = 1, images: int | None = None
    ) -> None:
        self._lab, self.guiding, self.draws, self.images = lab, guiding, draws, images

    @cached_property
    def guide(self) -> Guide:
        """The indices, from the store or sampled now."""
        self._lab.fill(self.guiding.works(self._lab.place), "indices")
        return self.guiding.guide(self._lab.place)

    def of(self, wanted: Mapping[str, Sequence[Mask]]) -> dict[str, np.ndarray]:
        """What :func:`top_classes` gives for each input and its masks."""
        seed = self._lab.options.seed
        works = [
            TopClasses(
                self.guiding, name, tuple(some), seed, draws_of(name, self.draws), self.images
            )
            for name, masks in wanted.items()
            for some in pieces(masks)
        ]
        if any(made(work, self._lab.place) is None for work in works):
            self._lab.fill(self.guiding.works(self._lab.place), "indices")
        found: dict[str, list[np.ndarray]] = {}
        for work, path in zip(works, self._lab.fill(works, "masks"), strict=True):
            found.setdefault(work.input, []).append(np.load(path))
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def hits(self, wanted: Mapping[str, Sequence[Mask]]) -> pd.DataFrame:
        """Whether each image is classified correctly, by input and mask.

        Columns: ``image``, ``input``, the fields of a :class:`probes.studies.masking.masks.Mask`,
        ``correct`` and ``top5`` (the label is among the five largest logits). The last two are
        means over the draws of parameters.
        """
        data = Source(self.guiding.subject, self.images).of(self._lab.place).data
        rows = [
            pd.DataFrame(
                {
                    "image": data.ids,
                    "input": name,
                    **dataclasses.asdict(mask),
                    "correct": of[0],
                    "top5": of[1],
                }
            )
            for name, topk in self.of(wanted).items()
            for mask, of in zip(wanted[name], correct(topk, data.labels), strict=True)
        ]
        return pd.concat(rows, ignore_index=True)
