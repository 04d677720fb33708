"""Networks and images that are in memory already, as subjects: ``Lab(model, images)``."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probes.errors import BadInput
from probes.measure.features import where
from probes.refusing import refuse_wrapped
from probes.subjects import data as datasets
from probes.subjects.code import code_sha256
from probes.subjects.dataset import Dataset
from probes.subjects.opened import at_rest
from probes.subjects.spec import Spec
from probes.subjects.statedict import refuse_nan, state_sha256
from probes.subjects.subject import Subject
from probes.subjects.wrapped import Normalised

WEIGHTS = "in memory"
"""What the weights of a network that was handed over are called."""


def subjects_of(
    models: nn.Module | Mapping[str, nn.Module], data: Any, options: Mapping[str, Any]
) -> dict[str, Subject]:
    """The subjects of networks in memory, by name. They are copies, in eval mode: what was handed
    over is left as it is.

    A network is named after its class, or as the mapping names it. ``data`` is what
    :func:`dataset_of` takes; ``options["images"]`` says how many of them are taken. Raises
    BadInput for what is no network, and for one that can't be hooked.
    """
    named = models if isinstance(models, Mapping) else {type(models).__name__: models}
    if not named or not all(isinstance(model, nn.Module) for model in named.values()):
        raise BadInput(
            f"Lab({type(models).__name__}, data): a network is a torch.nn.Module, or a mapping of"
            " names to such"
        )
    for model in named.values():
        refuse_wrapped(model)
    images = dataset_of(data)
    made = {name: _wrapped(model, images) for name, model in named.items()}
    if isinstance(data, tuple | list):  # a class of the network of which there is no image
        width = max(_outputs(model.eval(), images) for model in made.values())
        images = dataclasses.replace(images, classes=_numbered(max(width, len(images.classes))))
    until = options.get("until")
    images = images.sample(until or options.get("images"), ordered=until is not None)
    found = {}
    for name, model in made.items():
        spec = Spec(name, None, images.name)
        if model.classes is not None:
            model.classes = len(images.classes)
        refuse_nan(name, model.net)
        digest, code = state_sha256(model.net), code_sha256(model)
        notes = at_rest(model)
        found[str(spec)] = Subject(spec, model, images, digest, WEIGHTS, code, notes=notes)
    return found


def _wrapped(model: nn.Module, images: Dataset) -> Normalised:
    """A copy of a network in the wrapper, if it is not in one already."""
    own = copy.deepcopy(model)
    if isinstance(own, Normalised):
        return own
    n = images.channels
    return Normalised(own, (0.0,) * n, (1.0,) * n, len(images.classes))


def _numbered(n: int) -> tuple[str, ...]:
    return tuple(str(i) for i in range(n))


def _outputs(model: Normalised, images: Dataset) -> int:
    """How many logits a network gives; 0 where it can't be told."""
    few = torch.from_numpy(images.images[:2]).float() / 255
    with torch.no_grad():
        out = model(few.to(where(model)))
    return out.shape[1] if isinstance(out, Tensor) and out.ndim == 2 else 0


def _array(given: Any) -> np.ndarray:
    """A tensor, or what numpy takes, as an array; bfloat16, which numpy lacks, as float32."""
    if not isinstance(given, Tensor):
        return np.asarray(given)
    plain = given.detach().cpu()
    return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()


def dataset_of(data: Any) -> Dataset:
    """Images as a dataset: a :class:`Dataset`, the name of one, images (N, C, H, W) as floats in
    [0, 1] or as bytes, or a pair of images and labels, or of images and targets, floats (N,) or
    (N, K), that a network is to give.

    Images are kept as bytes, so that floats are rounded to 256 values. Without labels the class of
    every image is unknown: accuracy is not to be asked. Raises BadInput for another shape, for
    values outside [0, 1], and for labels that are no whole numbers from 0 up.

    >>> len(dataset_of(torch.rand(4, 3, 8, 8)))
    4
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, str):
        return datasets.load(data)
    labels = None
    if isinstance(data, tuple | list) and len(data) == 2:
        data, labels = data
    if not isinstance(data, Tensor | np.ndarray):
        raise BadInput(
            f"Lab(model, {type(data).__name__}): give a dataset, its name, images (N, C, H, W), or"
            " (images, labels)"
        )
    pixels = _array(data)
    if pixels.ndim != 4 or not len(pixels):
        raise BadInput(f"images of shape {pixels.shape}: they are (N, C, H, W)")
    if pixels.dtype != np.uint8:
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= 0 and high <= 1):
            raise BadInput(
                f"images with values from {low:.3g} to {high:.3g}: they lie in [0, 1], before any"
                " normalisation, which is the network's own affair"
            )
        pixels = np.rint(pixels.astype(np.float64) * 255).astype(np.uint8)
    known = labels is not None
    numbers = _array(labels if known else [0] * len(pixels))
    targets = None
    if numbers.dtype.kind == "f" and numbers.ndim in (1, 2) and len(numbers) == len(pixels):
        targets = numbers.astype(np.float64).reshape(len(pixels), -1)
        numbers = np.zeros(len(pixels), np.int64)
    if numbers.shape != (len(pixels),) or numbers.dtype.kind not in "iu" or (numbers < 0).any():
        raise BadInput(
            f"labels of shape {numbers.shape} and type {numbers.dtype} for {len(pixels)} images: a"
            " whole number from 0 up for each, or floats for a network that gives numbers"
        )
    channels = pixels.shape[1]
    return Dataset(
        "images",
        "images in memory",
        "test",
        pixels,
        numbers.astype(np.int64),
        np.arange(len(pixels)),
        _numbered(int(numbers.max()) + 1),
        (0.0,) * channels,
        (1.0,) * channels,
        targets=targets,
    )
