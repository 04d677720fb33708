"""The contrast of every unit under each augmentation alone, image by image. The augmentation is
always on, its parameters are uniform, and draws are averaged per image.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from probes.errors import BadInput
from probes.measure.contrast import FEWEST, FIELDS, Contrast, contrast
from probes.perturb.augment import augmentations
from probes.perturb.augmenting import drawn_factors
from probes.run import device
from probes.run.bench import Bench
from probes.run.cells import ENGINE
from probes.run.forward import Where, common_key
from probes.run.work import Place, Work
from probes.studies.sensitivity.indices import spans
from probes.studies.sensitivity.reader import Reader
from probes.studies.sensitivity.source import Source
from probes.studies.sensitivity.work import own_code
from probes.subjects.dataset import Dataset
from probes.subjects.sending import pixels

BATCH = 128
"""The number of images, or draws of images, that run together."""


@dataclasses.dataclass(frozen=True)
class Contrasts:
    """The design of contrasts: at most ``images`` images, ``draws`` of the parameters of an
    augmentation (a switch has one), and a seed.

    Raises BadInput for fewer than 6 images, on which no test can decide, and for no draws.
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
    """The factors of some images for one draw: (images, factors), nested in the image. A switch is
    on.
    """
    return drawn_factors(name, data.name, data.ids[rows].tolist(), plan.seed, draw)


def _values(
    reader: Reader,
    data: Dataset,
    augment: Callable[[Tensor, slice, int], Tensor],
    draws: int,
    clean: Mapping[str, np.ndarray],
    tell: Callable[[float], object],
) -> dict[str, np.ndarray]:
    """Activations (images, units) of every module, averaged over draws, float32.

    Differences to ``clean`` are averaged, so that a unit that no draw moves stays exactly where it
    was.
    """
    found: dict[str, np.ndarray] = {}
    for start in range(0, len(data), BATCH):
        rows = slice(start, min(start + BATCH, len(data)))
        images = pixels(data, rows, reader.device)
        for draw in range(draws):
            with device.exact(reader.where.threads):
                x = augment(images, rows, draw)
            for name, out in reader.read(x).items():
                if name not in found:
                    found[name] = np.zeros((len(data), out.shape[1]), np.float32)
                values = out.cpu().numpy()
                found[name][rows] += values - clean[name][rows] if clean else values
            tell((start * draws + len(images) * (draw + 1)) / (len(data) * draws))
    for name, before in clean.items():
        found[name] /= draws
        found[name] += before
    return found


@dataclasses.dataclass(frozen=True)
class Contrasted(Work):
    """The contrast of some modules' units under one augmentation: a piece of work.

    It holds the activations under one augmentation. The process keeps the clean activations.
    """

    source: Source
    augmentation: str
    parts: tuple[tuple[str, int, int], ...]
    plan: Contrasts
    where: Where
    pooled: bool = False

    kind = "contrasts"
    suffix = ".npz"

    def key(self, place: Place) -> dict[str, Any]:
        """What the contrasts depend on."""
        return {
            **common_key(self._source.of(place), self.where, place.store),
            "engine": ENGINE,
            "version": 2,
            "plan": dataclasses.asdict(self.plan),
            "augmentation": self.augmentation,
            "own": own_code([self.augmentation]),
            "pooled": self.pooled,
            "names": [list(part) for part in self.parts],
        }

    def make(self, place: Place, path: Path) -> None:
        """Run the images, clean and under each draw, and write the contrasts."""
        subject = self._source.of(place)
        parts = {name: slice(start, stop) for name, start, stop in self.parts}
        reader = Reader(subject, parts, self.where, pooled=self.pooled)
        data, one, plan = subject.data, augmentations[self.augmentation], self.plan
        clean = place.kept.get(
            ("clean", dataclasses.replace(self, augmentation="")),
            lambda: _values(reader, data, lambda x, rows, draw: x, 1, {}, lambda share: None),
        )

        def under(x: Tensor, rows: slice, draw: int) -> Tensor:
            return one(x, factors(self.augmentation, data, rows, plan, draw))

        draws = 1 if one.switch else plan.draws
        _write(path, clean, _values(reader, data, under, draws, clean, place.tell))

    @property
    def _source(self) -> Source:
        return dataclasses.replace(self.source, images=self.plan.images)


def contrasts_of(
    lab: Bench,
    source: Source,
    names: Sequence[str],
    parts: Mapping[str, slice],
    plan: Contrasts,
    pooled: bool = False,
) -> Iterator[tuple[str, dict[str, Contrast], dict[str, int]]]:
    """For each augmentation: its name, the contrast of every module's units, and the number of
    images left out for NaN, by module.

    A module with NaN on so many images that fewer than 6 are left is missing from the contrasts.
    """
    works = [
        Contrasted(source, name, spans(parts), plan, lab.options.where, pooled) for name in names
    ]
    for name, path in zip(names, lab.fill(works, "contrasts"), strict=True):
        yield name, *_read(path)


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
