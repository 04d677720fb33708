"""What a network answers under masks, on clean images and under augmentations, kept piece by
piece."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Sequence
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
from probes.run.cells import ENGINE
from probes.run.forward import common_key, network, pixels
from probes.run.settings import Options
from probes.store import Store
from probes.studies.masking.guide import Guide, guide_of
from probes.studies.masking.masks import Mask
from probes.studies.sensitivity import work as scramblings
from probes.studies.sensitivity.contrasts import Contrasts, factors
from probes.studies.sensitivity.plan import Plan
from probes.studies.sensitivity.reader import learnt_of
from probes.subjects.dataset import Dataset
from probes.subjects.subject import Subject

CLEAN = "clean"
BEST = 5
"""Classes that are kept of an answer, at most."""
PIECE = 20
"""Draws of a mask, or masks without draws, whose answers are one piece of work: what a kill may
lose.
"""


def augmented(
    name: str, images: Tensor, data: Dataset, rows: slice, seed: int, draw: int
) -> Tensor:
    """Images as an input: ``clean``, or under one augmentation, its parameters drawn for each
    image.
    """
    if name == CLEAN:
        return images
    return augmentations[name].apply(images, factors(name, data, rows, Contrasts(seed=seed), draw))


def draws_of(name: str, draws: int) -> int:
    """How often the parameters of an input are drawn: once for clean images and for an augmentation
    without parameters.
    """
    return 1 if name == CLEAN or augmentations[name].switch else draws


def answers(
    subject: Subject,
    guide: Guide,
    name: str,
    masks: Sequence[Mask],
    options: Options,
    draws: int = 1,
    tick: Callable[[int], object] = lambda n: None,
) -> np.ndarray:
    """The classes that a network names for every image of an input under every mask, the best
    first.

    int16 (masks, draws, images, five at most). The factors of a mask are made once, and what runs
    before the first masked module once for a batch. Raises BadInput for a network that gives
    anything but a number for each image and class.
    """
    where, data = options.where, subject.data
    net = network(subject, where)
    model = net.model
    scales = [{m: t.to(where.device) for m, t in mask.scales(guide).items()} for mask in masks]
    many, few = draws_of(name, draws), min(BEST, len(data.classes))
    found = np.empty((len(masks), many, len(data), few), np.int16)
    prefix, shared = Prefix(model), dict[tuple[str, ...], bool]()
    for start in range(0, len(data), where.batch_size):
        part = slice(start, min(start + where.batch_size, len(data)))
        images = pixels(data, part)
        for draw in range(many):
            with (
                device.exact(where.threads),
                device.cast(torch.device(where.device), where.precision),
            ):
                x = augmented(name, images, data, part, options.seed, draw)
                with prefix.record():
                    clean = model(net.send(x))
                if not isinstance(clean, Tensor) or clean.shape != (len(images), len(data.classes)):
                    gave = tuple(clean.shape) if isinstance(clean, Tensor) else type(clean).__name__
                    raise BadInput(
                        f"{subject.spec} gives {gave} for {len(images)} images of"
                        f" {len(data.classes)} classes: answers need a number for each image and"
                        " class"
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
                    found[i, draw, part] = out.topk(few, 1).indices.cpu().numpy()
                    tick(len(images))
    return found


def right(best: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Right or wrong of answers (masks, draws, images, classes): the first of them and any of them,
    means over draws.

    float32 (masks, 2, images).

    >>> right(np.array([[[[2, 0], [1, 0]]]]), np.array([2, 0])).tolist()
    [[[1.0, 0.0], [1.0, 1.0]]]
    """
    hit = best == labels[:, None]
    return np.stack([hit[..., 0].mean(1), hit.any(-1).mean(1)], 1, dtype=np.float32)


def pieces(masks: Iterable[Mask]) -> list[list[Mask]]:
    """Masks in pieces of work: up to 20 draws of a mask, or up to 20 masks without draws, so that
    equal work has an equal name.
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
    """What all draws of a mask have in common; None for a mask without draws."""
    return dataclasses.replace(mask, draw=0) if mask.kind in ("random", "matched") else None


class Answered:
    """The answers of a subject under masks, from the store or computed now; masks are guided by
    indices that a plan samples.

    ``draws`` of an augmentation's parameters for each image.
    """

    def __init__(
        self,
        subject: Subject,
        plan: Plan,
        measures: Sequence[str],
        store: Store,
        options: Options,
        draws: int = 1,
    ) -> None:
        self.subject, self.plan, self.measures, self.draws = subject, plan, tuple(measures), draws
        self._store, self._options = store, options
        self.guiding: Callable[[], object] = lambda: None
        """Called at every block of rows while the indices are sampled."""

    @cached_property
    def guide(self) -> Guide:
        """The indices, from the store or sampled now."""
        return guide_of(
            self.subject, self.plan, self.measures, self._store, self._options, self.guiding
        )

    @cached_property
    def _keys(self) -> tuple[dict[str, Any], dict[str, Any]]:
        learnt, (augmented_, _) = (
            learnt_of(self.subject, self._store),
            self.plan.designs(self.subject.data.channels)[0],
        )
        pool = self.plan.pool(learnt.data, self._store)
        own = {
            **common_key(self.subject, self._options.where, self._store),
            "engine": ENGINE,
            "masking": 4,
            "seed": self._options.seed,
            "names": self.plan.names,
        }
        guided = scramblings.key_of(learnt, self.plan, pool, {}, self._options) | {
            "scramblings": self.plan.scramblings
        }
        return own, guided | {"augmentations": list(augmented_.names)}

    def of(
        self, name: str, masks: Sequence[Mask], tick: Callable[[int], object] = lambda n: None
    ) -> np.ndarray:
        """The classes named under an input, as :func:`answers` gives them."""
        own, guided = self._keys
        found = []
        for some in pieces(masks):
            key = own | {
                "input": name,
                "draws": draws_of(name, self.draws),
                "masks": [dataclasses.astuple(m) for m in some],
            }
            key["own"] = scramblings.own_code([name]) if name != CLEAN else {}
            if any(m.kind not in ("none", "random") for m in some):
                key["guide"] = guided
            done = [0]

            def make(path: Path, some: list[Mask] = some, done: list[int] = done) -> None:
                def each(n: int) -> None:
                    done[0] += n
                    tick(n)

                with open(path, "wb") as f:
                    np.save(
                        f,
                        answers(
                            self.subject, self.guide, name, some, self._options, self.draws, each
                        ),
                    )

            found.append(np.load(self._store.get_or_make("answers", key, ".npy", make)))
            tick(found[-1].shape[0] * found[-1].shape[1] * found[-1].shape[2] - done[0])
        return np.concatenate(found)

    def hits(
        self, name: str, masks: Sequence[Mask], tick: Callable[[int], object] = lambda n: None
    ) -> pd.DataFrame:
        """Right or wrong of every image under an input, mask by mask.

        Columns ``image, input``, the fields of a :class:`probes.studies.masking.masks.Mask`,
        ``correct, top5``, both means over the draws of parameters; ``top5`` is among the five
        largest logits.
        """
        data = self.subject.data
        found = right(self.of(name, masks, tick), data.labels)
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
            for mask, of in zip(masks, found, strict=True)
        ]
        return pd.concat(rows, ignore_index=True)
