"""Weights that torchvision publishes: their names, their files, and how they are fetched."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from probes.errors import Unavailable
from probes.registry import unknown
from probes.subjects import libraries, pins
from probes.subjects.spec import Spec


def torchvisions(spec: Spec) -> Any:
    """Torchvision's entry for the weights of a spec, by name in any case (``imagenet1k_v1``); None
    if there is none.
    """
    return torchvisions_names(spec.net).get(str(spec.weights).lower())


def torchvisions_names(net: str) -> dict[str, Any]:
    """The names of torchvision's weights for a network."""
    from torchvision import models

    try:
        net = net.removeprefix("torchvision:")
        return {
            name.lower(): entry for name, entry in models.get_model_weights(net).__members__.items()
        }
    except ValueError:
        return {}


def checkpoint(entry: Any) -> Path:
    """The path at which torchvision keeps the file of an entry (``TORCH_HOME``)."""
    return Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rpartition("/")[2]


def fetch(spec: Spec, sha256: str | None = None, say: Callable[[str], None] = print) -> Path:
    """Download the weights of a spec that torchvision, timm or Hugging Face publish; say by which
    SHA-256 they were accepted (:func:`probes.subjects.pins.accept`).

    Raises Unavailable, with a way round, if the host can't be reached, UnknownName for weights that
    they do not have, and BadInput for other bytes than those that were asked for, or came before.
    """
    path = _fetched(spec)
    name = str(dataclasses.replace(spec, dataset=None, seed=None))
    say(f"{name}: {pins.accept(name, path, sha256)}")
    return path


def _fetched(spec: Spec) -> Path:
    entry = torchvisions(spec)
    if entry is None and spec.net.startswith(("timm:", "hf:")):
        return libraries.fetch(spec)
    if entry is None:
        raise unknown("weights of torchvision", str(spec), ["resnet18:imagenet1k_v1"])
    try:
        entry.get_state_dict(progress=True, check_hash=True)
    except OSError as e:
        raise Unavailable(
            f"{spec}: {entry.url} can't be reached ({e}); fetch it on another machine and put it at"
            f" {checkpoint(entry)}"
        ) from e
    return checkpoint(entry)
