"""Corrupted images that lie on this machine, as published: ImageNet-C's folders, CIFAR-10-C's
arrays.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from probes.batch import Batch, Draw
from probes.errors import BadInput, Unavailable
from probes.perturb.protocol import Forward, Pass, Perturbation
from probes.reading import array

ENDINGS = (".jpeg", ".jpg", ".png")
LEAST = 8
"""Images of a batch from which on it is checked that they resemble their clean ones."""


@dataclasses.dataclass(frozen=True)
class OnFile(Perturbation):
    """Corrupted images from files, as levels of a clean dataset: see :func:`corrupted`."""

    path: str
    names: tuple[str, ...]
    levels: tuple[float, ...]

    name = "published corruption"
    varied = "severity"
    unit = "1 to 5"
    column = "corruption"
    version = 1

    def describe(self) -> str:
        """Which images these are."""
        return f"Published corrupted images ({', '.join(self.names)}), paired with the clean ones"

    def key(self, level: float) -> dict[str, Any]:
        """The corruptions, and the SHA-256 of their files."""
        kind = {"kind": self.name, "version": self.version, "level": level}
        if not level:
            return kind
        return kind | {
            "names": list(self.names),
            "files": {n: _state(Path(self.path), n, int(level)) for n in self.names},
        }

    def drawn(self, draw: Draw) -> dict[str, Any]:
        """Nothing is drawn; the images belong to a dataset."""
        return {"dataset": draw.dataset}

    def arms(self, model: nn.Module) -> Sequence[tuple[str, OnFile]]:
        """One arm per corruption."""
        return [(name, dataclasses.replace(self, names=(name,))) for name in self.names]

    @contextlib.contextmanager
    def open(self, at: Pass) -> Iterator[Forward]:
        """Run the network on the corrupted images of the same ids."""

        def forward(batch: Batch) -> Tensor:
            seen = batch.images
            if at.level:
                arrays = (Path(self.path) / f"{self.names[0]}.npy").is_file()
                read = _arrays if arrays else _folder
                made, labels = read(Path(self.path), self.names[0], int(at.level), batch.ids)
                self._refuse_others(batch, made, labels, at.draw.dataset, arrays)
                seen = torch.from_numpy(made).float().div_(255).to(seen.device)
            at.plain(seen)
            return seen

        yield forward

    def _refuse_others(
        self, batch: Batch, made: np.ndarray, labels: np.ndarray, dataset: str, exact: bool
    ) -> None:
        """Raise BadInput for images that are not those of the batch. Where labels are not
        ``exact``, as the classes of a folder, each of them has another number here, and only one.
        """
        what = f"corrupted({self.path!r}), {self.names[0]}"
        if made.shape != tuple(batch.images.shape):
            raise BadInput(
                f"{what}: images are {made.shape[1:]}, those of {dataset} are"
                f" {tuple(batch.images.shape[1:])}"
            )
        first = {name: here for name, here in zip(labels[::-1], batch.labels[::-1], strict=True)}
        back = {here: name for name, here in zip(labels[::-1], batch.labels[::-1], strict=True)}
        pairs = enumerate(zip(labels.tolist(), batch.labels.tolist(), strict=True))
        wrong = [
            i
            for i, (name, here) in pairs
            if (name != here if exact else first[name] != here or back[here] != name)
        ]
        if wrong and batch.labels.any():  # pictures have no labels
            i = wrong[0]
            raise BadInput(
                f"{what}: image {batch.ids[i]} has the label {labels[i]} there and"
                f" {batch.labels[i]} in {dataset}: these are other images, or in another order"
            )
        if len(batch) < LEAST:
            return
        clean = batch.images.cpu().numpy().reshape(len(batch), -1).astype(float)
        own = _alike(clean, made.reshape(len(batch), -1).astype(float))
        other = _alike(np.roll(clean, 1, 0), made.reshape(len(batch), -1).astype(float))
        if own <= other:
            raise BadInput(
                f"{what}: the images resemble those of {dataset} no more than those of their"
                f" neighbours (correlations {own:.2f} and {other:.2f}): they are in another order"
            )


def _alike(a: np.ndarray, b: np.ndarray) -> float:
    """The median correlation of rows."""
    a, b = (v - v.mean(1, keepdims=True) for v in (a, b))
    size = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return float(np.median((a * b).sum(1) / np.where(size > 0, size, 1)))


def _arrays(root: Path, name: str, severity: int, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, H, W) and labels from ``NAME.npy`` and ``labels.npy``: five severities one
    after the other.
    """
    images, labels = (array(root / f"{n}.npy") for n in (name, "labels"))
    each, rest = divmod(len(images), 5)
    if rest or images.ndim != 4 or len(labels) not in (len(images), each):
        raise BadInput(
            f"{root / name}.npy holds {images.shape}, and labels.npy {len(labels)}: five severities"
            " of images (5 N, H, W, 3), and a label for each"
        )
    if ids.max() >= each:
        raise BadInput(f"{root / name}.npy has {each} images a severity; there is no {ids.max()}")
    rows = (severity - 1) * each + ids
    return (
        np.ascontiguousarray(np.asarray(images[rows]).transpose(0, 3, 1, 2)),
        np.asarray(labels)[ids].astype(int),
    )


@functools.lru_cache(8)
def _listed(folder: Path) -> tuple[tuple[Path, ...], tuple[int, ...]]:
    """The images of ``SEVERITY/CLASS/*`` and their labels, sorted as image folders are."""
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    found = [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((folder / name).iterdir())
        if file.suffix.lower() in ENDINGS
    ]
    return tuple(f for f, _ in found), tuple(n for _, n in found)


def _folder(root: Path, name: str, severity: int, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, H, W) and labels from ``NAME/SEVERITY/CLASS/*``; an id is a place among the
    sorted paths.
    """
    files, labels = _listed(root / name / str(severity))
    if ids.max() >= len(files):
        raise BadInput(
            f"{root / name / str(severity)} has {len(files)} images; there is no {ids.max()}: the"
            " clean folder has others"
        )
    made = [np.asarray(Image.open(files[i]).convert("RGB")).transpose(2, 0, 1) for i in ids]
    if len(shapes := {m.shape for m in made}) > 1:
        raise BadInput(f"{root / name / str(severity)}: images of several sizes, {shapes}")
    return np.stack(made), np.asarray(labels)[ids]


@functools.cache
def _hash(path: Path, size: int, when: int) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _state(root: Path, name: str, severity: int) -> str:
    """The SHA-256 of the files of a corruption at a severity; each is read once in a process."""
    array = root / f"{name}.npy"
    files: Sequence[Path] = (array, root / "labels.npy")
    if not array.is_file():
        files, _ = _listed(root / name / str(severity))
    every = hashlib.sha256()
    for file in files:
        state = file.stat()
        every.update(f"{file.name} {_hash(file, state.st_size, state.st_mtime_ns)}\n".encode())
    return every.hexdigest()


def corrupted(
    path: str | Path, *names: str, severity: int | Sequence[int] = (1, 2, 3, 4, 5)
) -> OnFile:
    """Corrupted images that were published, as levels of the clean dataset; an arm per corruption,
    in the key column ``corruption``.

    ``path`` is a folder as of CIFAR-10-C (``NAME.npy``, ``labels.npy``), for the dataset
    ``cifar10``, or as of ImageNet-C (``NAME/SEVERITY/CLASS/*.JPEG``), for ``imagefolder:`` of the
    clean images at the same size. ``names`` are the corruptions, by default all that lie there.
    Images are paired by id; labels are compared, and each image must resemble its clean one.

    Raises Unavailable for a folder that is not here, BadInput for one that holds neither, and, at
    the first batch, for images that don't pair.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise Unavailable(
            f"corrupted({str(path)!r}): no such folder on this machine; unpack CIFAR-10-C or"
            " ImageNet-C there (both are on zenodo.org)"
        )
    levels = (severity,) if isinstance(severity, int) else tuple(severity)
    if not levels or not set(levels) <= {1, 2, 3, 4, 5} or len(set(levels)) < len(levels):
        raise BadInput(f"severity {levels}: whole numbers from 1 to 5, none twice")
    first = str(min(levels))
    here = sorted(
        {p.stem for p in root.glob("*.npy") if p.stem != "labels"}
        | {p.parent.name for p in root.glob(f"*/{first}") if p.is_dir()}
    )
    if not here:
        raise BadInput(
            f"corrupted({str(path)!r}): neither NAME.npy and labels.npy nor"
            f" NAME/{first}/CLASS/*.JPEG"
        )
    if lost := [name for name in names if name not in here]:
        raise BadInput(f"corrupted({str(path)!r}): no {lost[0]!r}; there are {', '.join(here)}")
    if (root / f"{here[0]}.npy").is_file() and not (root / "labels.npy").is_file():
        raise BadInput(f"corrupted({str(path)!r}): labels.npy is not beside {here[0]}.npy")
    return OnFile(str(root), tuple(names or here), (0.0, *sorted(map(float, levels))))
