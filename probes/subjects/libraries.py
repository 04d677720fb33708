"""Networks of other libraries by name: ``torchvision:NAME``, ``timm:NAME``, ``hf:FOLDER_OR_ID``,
and the weights that come with them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from probes.errors import BadInput, Unavailable
from probes.reading import loads
from probes.registry import unknown
from probes.subjects.checkpoints import IN_FOLDERS, Opened, opened_file, read
from probes.subjects.configured import configuration
from probes.subjects.spec import PRETRAINED, Spec
from probes.subjects.wrapped import Builder, Takes, nets

FIXED = {"vit_": 224, "maxvit": 224}
"""The sides that torchvision's networks of a fixed input size take, by the beginning of names."""


@dataclasses.dataclass(frozen=True)
class Published:
    """Weights that come with a network: their file, what they are called, how many classes they
    tell apart, and the names of these in order, if known.
    """

    path: Path
    origin: str
    outputs: int
    names: tuple[str, ...] = ()

    def opened(self, net: nn.Module) -> Opened:
        """The weights for a network. Those of transformers are read by transformers, which knows
        the names that its files had in the past.
        """
        if not self.origin.startswith("hf "):
            return opened_file(str(self.path), net)
        _, digest = read(self.path)
        model, told = _module("transformers", "hf").AutoModelForImageClassification.from_pretrained(
            self.path, local_files_only=True, output_loading_info=True, dtype=torch.float32
        )
        lost = sorted(str(one) for one in told["missing_keys"])
        if lost:
            raise BadInput(
                f"{self.path.name} lacks {lost[0]!r}"
                + (f" and {len(lost) - 1} more" if len(lost) > 1 else "")
                + ": a network whose weights are partly random is not what was trained"
            )
        return Opened(dict(model.state_dict()), digest)


def published(spec: Spec) -> Published | None:
    """The weights that come with the network of a spec: ``timm:NAME:pretrained``, ``hf:FOLDER``;
    None where a spec names other weights.

    Raises Unavailable, with the command that fetches them, where they are not on this machine.
    """
    library, _, name = spec.net.partition(":")
    if library == "hf" and spec.weights in (None, PRETRAINED) and spec.seed is None:
        return _of_hugging_face(name)
    if library == "timm" and spec.weights == PRETRAINED:
        return _of_timm(name)
    return None


def fetch(spec: Spec) -> Path:
    """Download the weights that come with a network of timm or of Hugging Face.

    Raises Unavailable, with a way round, if the host can't be reached, and UnknownName for a
    network whose weights can't be fetched.
    """
    library, _, name = spec.net.partition(":")
    if library not in ("timm", "hf") or spec.weights not in (None, PRETRAINED):
        raise unknown("weights", str(spec), ["timm:resnet18:pretrained", "hf:microsoft/resnet-18"])
    hub = _module("huggingface_hub", library)
    repo = name if library == "hf" else _config_of_timm(name).hf_hub_id
    if not repo:
        raise unknown("weights of timm", name, [])
    wanted = ["config.json", "preprocessor_config.json"] if library == "hf" else []
    found = None
    try:
        for file in wanted:
            _download(hub, repo, file)
        for file in IN_FOLDERS:
            if found := _download(hub, repo, file):
                if file.endswith(".index.json"):
                    index = loads(Path(found).read_text(encoding="utf-8"))
                    for shard in sorted(set(index["weight_map"].values())):
                        hub.hf_hub_download(repo, shard)
                return Path(found)
    except Exception as e:
        why = (str(e).splitlines() or [type(e).__name__])[0]
        raise Unavailable(
            f"{spec}: {repo} can't be fetched ({why}); fetch it on another machine, `hf download"
            f" {repo}`, and bring its cache (HF_HOME)"
        ) from e
    raise Unavailable(f"{spec}: {repo} holds none of {', '.join(IN_FOLDERS)}")


def _download(hub: Any, repo: str, file: str) -> str | None:
    """A file of a repository; None where it has no such file."""
    try:
        return str(hub.hf_hub_download(repo, file))
    except hub.errors.EntryNotFoundError as e:
        if isinstance(e, hub.errors.LocalEntryNotFoundError):
            raise
        return None


def _cached(repo: str, file: str, library: str) -> Path | None:
    found = _module("huggingface_hub", library).try_to_load_from_cache(repo, file)
    return Path(found) if isinstance(found, str) else None


def _module(name: str, library: str) -> Any:
    """A library that is not a dependency of ours; Unavailable, with the command, without it."""
    try:
        return __import__(name)
    except ImportError as e:
        raise Unavailable(
            f"{library}:... needs {name}: pip install 'neural-probes[{library}]'"
        ) from e


def _built(build: Builder, what: str, **how: Any) -> Builder:
    build.takes = Takes(**how)  # type: ignore[attr-defined]
    build.__doc__ = what
    return build


@nets.library("torchvision")
@functools.cache
def torchvision(name: str) -> Builder:
    """A network of torchvision.models, with a head of its own."""
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise unknown("network of torchvision", name, known)
    side = next((n for start, n in FIXED.items() if name.startswith(start)), None)

    def build(channels: int, classes: int) -> nn.Module:
        _three(f"torchvision:{name}", channels)
        more = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        return models.get_model(name, weights=None, num_classes=classes, **more)

    return _built(build, f"Torchvision's {name}, with a head of its own.", channels=3, size=side)


def _three(name: str, channels: int) -> None:
    if channels != 3:
        raise BadInput(
            f"{name} takes images of 3 channels (grey ones are repeated), these have {channels}"
        )


def _config_of_timm(name: str) -> Any:
    timm = _module("timm", "timm")
    if not timm.is_model(name):
        raise unknown("network of timm", name, timm.list_models())
    return timm.get_pretrained_cfg(name, allow_unregistered=False)


@nets.library("timm")
@functools.cache
def timm(name: str) -> Builder:
    """A network of timm, with a head of its own. One of a fixed input size gets images of that
    size.
    """
    config = _config_of_timm(name)
    channels, side, wide = config.input_size if config is not None else (3, 224, 224)
    fixed = config is not None and config.fixed_input_size and side == wide

    def build(channels: int, classes: int) -> nn.Module:
        return _module("timm", "timm").create_model(
            name, pretrained=False, in_chans=channels, num_classes=classes
        )

    return _built(
        build,
        f"timm's {name}, with a head of its own.",
        channels=channels,
        size=side if fixed else None,
        mean=tuple(config.mean) if config is not None else None,
        std=tuple(config.std) if config is not None else None,
        own_size=side if side == wide else None,
    )


def _of_timm(name: str) -> Published:
    config = _config_of_timm(name)
    files = (config.hf_hub_filename,) if config.hf_hub_filename else IN_FOLDERS
    for file in files:
        if config.hf_hub_id and (path := _cached(config.hf_hub_id, file, "timm")):
            return Published(path, f"timm {config.hf_hub_id}", config.num_classes)
    raise Unavailable(
        f"timm:{name}: its weights are not on this machine; bring them with `probes fetch"
        f" timm:{name}:{PRETRAINED}`"
    )


def _folder_of_hugging_face(name: str) -> Path:
    """Where the files of a model lie: a folder, or the cache of the hub."""
    if (Path(name) / "config.json").is_file():
        return Path(name)
    if Path(name).exists():
        raise BadInput(f"hf:{name}: the folder holds no config.json")
    if found := _cached(name, "config.json", "hf") if name.count("/") <= 1 else None:
        return found.parent
    raise Unavailable(
        f"hf:{name}: no such folder, and not in the cache of the hub; bring it with `probes fetch"
        f" hf:{name}`"
    )


@nets.library("hf")
@functools.cache
def hugging_face(name: str) -> Builder:
    """An image classifier of transformers by its folder, or by its name on the hub."""
    folder = _folder_of_hugging_face(name)
    config, seen = configuration(folder / "config.json"), folder / "preprocessor_config.json"
    prepared = configuration(seen) if seen.is_file() else {}
    side = config.get("image_size")
    own = _side(prepared.get("size")) or (side if isinstance(side, int) else None)

    def build(channels: int, classes: int) -> nn.Module:
        transformers = _module("transformers", "hf")
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        config.num_labels = classes
        if hasattr(config, "num_channels"):
            config.num_channels = channels
        try:
            return transformers.AutoModelForImageClassification.from_config(config)
        except ValueError as e:
            raise BadInput(
                f"hf:{name} is a {config.model_type}, no image classifier of transformers"
            ) from e

    normalise = prepared.get("do_normalize", bool(prepared))
    return _built(
        build,
        f"The {config.get('model_type')} of {name}, from transformers.",
        channels=config.get("num_channels", 3),
        size=side if isinstance(side, int) else None,
        mean=tuple(prepared["image_mean"]) if normalise and "image_mean" in prepared else None,
        std=tuple(prepared["image_std"]) if normalise and "image_std" in prepared else None,
        own_size=own,
    )


def _side(size: Any) -> int | None:
    """The side that a preprocessor of transformers resizes to."""
    if isinstance(size, Mapping):
        size = size.get("height", size.get("shortest_edge"))
    return size if isinstance(size, int) else None


def _of_hugging_face(name: str) -> Published:
    folder = _folder_of_hugging_face(name)
    config = configuration(folder / "config.json")
    if not any((folder / file).is_file() for file in IN_FOLDERS):
        raise Unavailable(
            f"hf:{name}: {folder} holds a configuration and no weights; name hf:{name}:untrained"
            f" for random ones, or bring them with `probes fetch hf:{name}`"
        )
    labels = {int(k): str(v) for k, v in (config.get("id2label") or {}).items()}
    names = tuple(labels[i] for i in sorted(labels))
    return Published(folder, f"hf {name}", len(names) or config.get("num_labels", 2), names)


def same_classes(spec: Spec, names: tuple[str, ...], classes: tuple[str, ...]) -> None:
    """Raise BadInput where a network names the classes of a dataset in another order.

    >>> same_classes(Spec("hf:x"), ("Cat", "dog"), ("cat", "dog"))
    """
    mine, theirs = ([_plain(name) for name in every] for every in (names, classes))
    if mine != theirs and sorted(mine) == sorted(theirs):
        place = next(i for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b)
        raise BadInput(
            f"{spec}: the network's class {place} is {names[place]!r}, the dataset's is"
            f" {classes[place]!r}: the same classes in another order, so that every answer would be"
            " compared with another label; sort the folders or the labels as the network has them"
        )


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
