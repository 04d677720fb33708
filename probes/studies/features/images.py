"""The images and the network of a study of feature maps."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np

from probes.errors import BadInput
from probes.run.options import ranges
from probes.run.settings import Options
from probes.store import Store
from probes.subjects import data as datasets
from probes.subjects import hub, pretrained
from probes.subjects.dataset import Dataset
from probes.subjects.folders import IMAGENET, categories
from probes.subjects.imagefiles import WANTED, endings, images_below, read_image, tell_skipped
from probes.subjects.spec import parse
from probes.subjects.subject import Subject

TAKEN = ("histograms", "claims")
"""Folders that the run itself writes. No image may have these names."""


def chosen_images(
    net: str, images: str, store: Store, options: Options
) -> tuple[Subject, list[str]]:
    """The network, with the requested images (a file, a folder, a dataset, ``DATASET:IDS``), and a
    name for each image.
    """
    spec = parse(net)
    place = Path(images).expanduser()
    if (
        place.exists()
        or images.startswith(("/", "./", "../", "~"))
        or place.suffix.lower() in WANTED
    ):
        known = hub.torchvisions(spec) if spec.weights else None
        trained_on = None if known else datasets.load(spec.dataset or "mnist5k", "test", store)
        data, names = files(place, trained_on)
    else:
        name, ids = (
            (images, "") if images.startswith(datasets.FOLDER) else images.partition(":")[::2]
        )
        data = datasets.load(name, options.split, store)
        data = by_id(data, ids) if ids else data.sample(options.images)
        names = [f"image_{i}" for i in data.ids]
        trained_on = data
        if spec.dataset not in (
            None,
            name,
            # the network was trained on another dataset, with its own classes and constants
        ):
            trained_on = datasets.load(str(spec.dataset), "test", store)
            if trained_on.images.shape[1:] != data.images.shape[1:]:
                raise BadInput(
                    f"{net} takes images of {trained_on.images.shape[1:]}, those of {name} are"
                    f" {data.images.shape[1:]}: give files instead, which are resized"
                )
            data = dataclasses.replace(
                data,
                classes=trained_on.classes,
                mean=trained_on.mean,
                std=trained_on.std,
                labels=np.zeros(len(data), np.int64),
            )
    spec = dataclasses.replace(
        spec, dataset=spec.dataset or (trained_on.name if trained_on else "imagenet")
    )
    return pretrained.load(spec, data, store), names


def files(place: Path, like: Dataset | None) -> tuple[Dataset, list[str]]:
    """Image files as a dataset with the size and constants of another dataset (None: ImageNet's),
    and a name for each image.
    """
    if not place.exists():
        raise BadInput(
            f"images {str(place)!r}: no such file or folder; give one, or a dataset, or DATASET:IDS"
        )
    paths, skipped = images_below(place) if place.is_dir() else ([place], [])
    tell_skipped(f"images {str(place)!r}", place, skipped)
    if not paths:
        raise BadInput(
            f"images {str(place)!r}: no image in this folder ({', '.join(sorted(endings()))})"
        )
    side, channels = (224, 3) if like is None else (like.images.shape[2], like.channels)
    pixels = np.stack([read_image(p, side, channels) for p in paths])
    classes = like.classes if like else categories()
    constants = IMAGENET if like is None else {"mean": like.mean, "std": like.std}
    stems = [re.sub(r"[^\w.-]+", "_", p.stem) for p in paths]
    names = [f"{i}_{s}" if stems.count(s) > 1 or s in TAKEN else s for i, s in enumerate(stems)]
    if len(set(names)) < len(names):
        names = [f"{i:04}_{s}" for i, s in enumerate(stems)]
    n = len(paths)
    return (
        Dataset(
            "files",
            place.name,
            "test",
            pixels,
            np.zeros(n, np.int64),
            np.arange(n),
            classes,
            **constants,
        ),
        names,
    )


def by_id(data: Dataset, text: str) -> Dataset:
    """The images with these ids. A range takes the ids that exist, since a split does not have
    every id.
    """
    ids = data.ids.astype(int)
    chosen = np.zeros(len(ids), bool)
    wanted = ranges(text)
    if wanted is None:
        raise BadInput(
            f"image ids {text!r}: numbers and ranges from small to large, e.g. {data.name}:{ids[0]}"
            f" or {data.name}:0-40"
        )
    for first, last in wanted:
        here = (ids >= first) & (ids <= last)
        if not here.any():
            near = ", ".join(
                map(str, sorted(ids[np.argsort(np.abs(ids - first), kind="stable")[:3]].tolist()))
            )
            asked = first if first == last else f"{first}-{last}"
            raise BadInput(
                f"{data.name} ({data.split}) has no image with id {asked}; the nearest are {near}"
            )
        chosen |= here
    return data.take(chosen)
