"""Contrast of every unit under each augmentation alone, image by image: always on, parameters
uniform, draws averaged per image.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from probes.errors import BadInput
from probes.measure.contrast import FEWEST, FIELDS, Contrast, contrast
from probes.perturb.augment import augmentations
from probes.perturb.augmenting import drawn_factors
from probes.run import device
from probes.run.cells import ENGINE
from probes.run.forward import common_key, pixels
from probes.run.settings import Options
from probes.store import Store
from probes.studies.sensitivity.reader import Reader
from probes.studies.sensitivity.work import own_code
from probes.subjects.dataset import Dataset
from probes.subjects.subject import Subject

BATCH = 128
"""Images, or draws of images, that run together."""
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Contrasts:
    """What is contrasted: ``images`` at most, ``draws`` of the parameters of an augmentation (a
    switch has one), and a seed.

    Raises BadInput for fewer than 6 images, which no test can decide on, and for no draws.
    """

    images: int = 300
    draws: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images < FEWEST or self.draws < 1:
            raise BadInput(
                f"a contrast on {self.images} images with {self.draws} draws: {FEWEST} images and a"
                " draw at least"
            )


def factors(name: str, data: Dataset, rows: slice, plan: Contrasts, draw: int) -> Tensor:
    """The factors of some images for one draw: (images, factors), nested in the image; a switch is
    on.
    """
    return drawn_factors(name, data.name, data.ids[rows].tolist(), plan.seed, draw)


def _values(
    reader: Reader,
    data: Dataset,
    augment: Callable[[Tensor, slice, int], Tensor],
    draws: int,
    clean: Mapping[str, np.ndarray],
    tick: Callable[[int], object],
) -> dict[str, np.ndarray]:
    """Activations (images, units) of every module, averaged over draws, float32.

    What is averaged are differences to ``clean``: a unit that no draw moves is exactly where it
    was.
    """
    found: dict[str, np.ndarray] = {}
    for start in range(0, len(data), BATCH):
        rows = slice(start, min(start + BATCH, len(data)))
        images = pixels(data, rows)
        for draw in range(draws):
            with device.exact(reader.where.threads):
                x = augment(images, rows, draw)
            for name, out in reader.read(x).items():
                if name not in found:
                    found[name] = np.zeros((len(data), out.shape[1]), np.float32)
                values = out.cpu().numpy()
                found[name][rows] += values - clean[name][rows] if clean else values
            tick(len(images))
    for name, before in clean.items():
        found[name] /= draws
        found[name] += before
    return found


def contrasts(
    subject: Subject,
    names: Sequence[str],
    parts: Mapping[str, slice],
    plan: Contrasts,
    store: Store,
    options: Options,
    say: Say,
    pooled: bool = False,
) -> Iterator[tuple[str, dict[str, Contrast], dict[str, int]]]:
    """For each augmentation: its name, the contrast of every module's units, and how many images
    were left out for NaN, by module.

    A module with NaN on so many images that fewer than 6 are left is not among the contrasts. What
    is in the store is taken from there; activations are held for one augmentation at a time, beside
    the clean ones.
    """
    data = subject.data.sample(min(plan.images, len(subject.data)))
    reader = Reader(subject, parts, options.where, pooled=pooled)
    clean: dict[str, np.ndarray] = {}
    for name in names:
        one = augmentations[name]

        def make(path: Path, name: str = name, one: Any = one) -> None:
            if not clean:
                clean.update(_values(reader, data, lambda x, rows, draw: x, 1, {}, lambda n: None))
            draws = 1 if one.switch else plan.draws
            under = lambda x, rows, draw: one(x, factors(name, data, rows, plan, draw))  # noqa: E731
            with tqdm(
                total=len(data) * draws,
                desc=f"probes, {name}",
                unit="image",
                leave=False,
                disable=None,
            ) as bar:
                moved = _values(reader, data, under, draws, clean, bar.update)
            _write(path, clean, moved)
            say(f"contrast under {name}: {len(data)} images")

        key = {
            **common_key(dataclasses.replace(subject, data=data), options.where, store),
            "engine": ENGINE,
            "version": 2,
            "plan": dataclasses.asdict(plan),
            "augmentation": name,
            "own": own_code([name]),
            "pooled": pooled,
            "names": [[n, p.start, p.stop] for n, p in parts.items()],
        }
        yield name, *_read(store.get_or_make("contrasts", key, ".npz", make))


def _write(path: Path, clean: Mapping[str, np.ndarray], moved: Mapping[str, np.ndarray]) -> None:
    arrays, lost, images = {}, {}, {}
    for name, before in clean.items():
        good = np.isfinite(before).all(1) & np.isfinite(moved[name]).all(1)
        lost[name] = int((~good).sum())
        whole = good.all()
        if good.sum() < FEWEST:
            continue  # left out, and told by how many images are lost
        found = contrast(
            before if whole else before[good], moved[name] if whole else moved[name][good]
        )
        images[name] = found.images
        for field in FIELDS:
            arrays[f"{name}/{field}"] = getattr(found, field)
    with open(path, "wb") as f:
        np.savez(f, told=np.array(json.dumps({"lost": lost, "images": images})), **arrays)  # type: ignore[arg-type]


def _read(path: Path) -> tuple[dict[str, Contrast], dict[str, int]]:
    with np.load(path, allow_pickle=False) as file:
        told = json.loads(str(file["told"]))
        return {
            name: Contrast(n, *(file[f"{name}/{field}"] for field in FIELDS))
            for name, n in told["images"].items()
        }, told["lost"]
