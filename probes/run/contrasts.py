"""Contrast of every unit under each augmentation alone, image by image: always on, parameters uniform, draws averaged per image."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probes import seeds
from probes.measure.contrast import FIELDS, Contrast, contrast
from probes.perturb.augment import Augmented, augmentations
from probes.run import engine
from probes.run.cells import ENGINE
from probes.run.lab import Options
from probes.run.scramblings import Passes
from probes.store import Store
from probes.subjects.data import Dataset
from probes.subjects.pretrained import Subject

BATCH = 128
"""Images, or draws of images, that run together."""
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Contrasts:
    """What is contrasted: ``images`` at most, ``draws`` of the parameters of an augmentation (a switch has one), and a seed."""

    images: int = 300
    draws: int = 10
    seed: int = 0


def factors(name: str, data: Dataset, rows: slice, plan: Contrasts, draw: int) -> Tensor:
    """The factors of some images for one draw: (images, factors), nested in the image; a switch is on."""
    one = augmentations[name]
    if one.switch:
        return torch.zeros(len(data.ids[rows]), 1)
    drawn = [seeds.uniform(len(one.factors), "contrast", plan.seed, name, data.name, int(i), draw) for i in data.ids[rows]]
    return torch.from_numpy(np.stack(drawn).astype(np.float32))


def _values(passes: Passes, data: Dataset, augment: Callable[[Tensor, slice, int], Tensor], draws: int) -> dict[str, np.ndarray]:
    """Activations (images, units) of every module, averaged over draws, float32."""
    found: dict[str, np.ndarray] = {}
    for start in range(0, len(data), BATCH):
        rows = slice(start, min(start + BATCH, len(data)))
        images = torch.from_numpy(np.array(data.images[rows])).float().div_(255)
        for draw in range(draws):
            with engine.exact(passes.where.threads):
                x = augment(images, rows, draw)
            for name, out in passes.read(x).items():
                if name not in found:
                    found[name] = np.zeros((len(data), out.shape[1]), np.float32)
                found[name][rows] += out.cpu().numpy() / draws
    return found


def contrasts(
    subject: Subject, augmented: Augmented, parts: Mapping[str, slice], plan: Contrasts, store: Store, options: Options, say: Say
) -> Iterator[tuple[str, dict[str, Contrast], dict[str, int]]]:
    """For each augmentation: its name, the contrast of every module's units, and how many images were left out for NaN, by module.

    What is in the store is taken from there; activations are held for one augmentation at a time, beside the clean ones.
    """
    data = subject.data.sample(min(plan.images, len(subject.data)))
    passes = Passes(subject, parts, augmented, None, options.where)  # type: ignore[arg-type]
    clean: dict[str, np.ndarray] = {}
    for name in augmented.names:
        one = augmentations[name]

        def make(path: Path, name: str = name, one: Any = one) -> None:
            if not clean:
                clean.update(_values(passes, data, lambda x, rows, draw: x, 1))
            moved = _values(passes, data, lambda x, rows, draw: one.apply(x, factors(name, data, rows, plan, draw)),
                            1 if one.switch else plan.draws)  # fmt: skip
            _write(path, clean, moved)
            say(f"contrast under {name}: {len(data)} images")

        key = {"engine": ENGINE, "version": 1, "torch": torch.__version__, "weights": subject.sha256, "code": subject.code,
               "images": data.sha256, "plan": dataclasses.asdict(plan), "augmentation": name, "where":
               dataclasses.asdict(options.where), "names": [[n, p.start, p.stop] for n, p in parts.items()]}  # fmt: skip
        yield name, *_read(store.get_or_make("contrasts", key, ".npz", make))


def _write(path: Path, clean: Mapping[str, np.ndarray], moved: Mapping[str, np.ndarray]) -> None:
    arrays, lost, images = {}, {}, {}
    for name, before in clean.items():
        good = np.isfinite(before).all(1) & np.isfinite(moved[name]).all(1)
        lost[name] = int((~good).sum())
        whole = good.all()
        found = contrast(before if whole else before[good], moved[name] if whole else moved[name][good])
        images[name] = found.images
        for field in FIELDS:
            arrays[f"{name}/{field}"] = getattr(found, field)
    with open(path, "wb") as f:
        np.savez(f, told=np.array(json.dumps({"lost": lost, "images": images})), **arrays)  # type: ignore[arg-type]


def _read(path: Path) -> tuple[dict[str, Contrast], dict[str, int]]:
    with np.load(path, allow_pickle=False) as file:
        told = json.loads(str(file["told"]))
        return {name: Contrast(n, *(file[f"{name}/{field}"] for field in FIELDS)) for name, n in told["images"].items()}, told[
            "lost"
        ]
