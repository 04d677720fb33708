"""Weights for a network: shipped with the package, trained into the store, or a file; always known by their SHA-256."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from probes.errors import BadInput, ProbesError, Unavailable
from probes.origin import installed, outside
from probes.registry import unknown
from probes.store import Store, sha256
from probes.subjects import training
from probes.subjects.code import code_sha256, source_sha256
from probes.subjects.data import FOLDER, strange
from probes.subjects.dataset import Dataset, datasets
from probes.subjects.folders import as_imagenet
from probes.subjects.nets import Normalised, nets
from probes.subjects.opened import opened
from probes.subjects.recipes import OWN_NAMES
from probes.subjects.spec import Spec
from probes.subjects.statedict import misfit, read_weights, state_sha256

SHIPPED = Path(__file__).with_name("weights")
UNTRAINED = "untrained"
"""The name of random weights, from the seed of the subject (0 where none is given): ``resnet20:untrained@mnist5k``."""


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A network with its weights, in eval mode, on images in [0, 1] of one dataset.

    ``spec`` names one training run; ``sha256`` is of the weights, ``code`` of what computes with them (see
    :func:`probes.subjects.code.code_sha256`); ``card`` tells how the weights came about, where known; ``training`` are
    training images, where a perturbation needs some; ``notes`` is what a reader should know of them, a sentence each.
    """

    spec: Spec
    model: nn.Module
    data: Dataset
    sha256: str
    weights: str
    code: str = ""
    card: Mapping[str, Any] | None = None
    training: Dataset | None = None
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> dict[str, Any]:
        """The key columns (:data:`probes.table.KEYS`) that name this training run in every table."""
        seed = -1 if self.spec.seed is None else int(self.spec.seed)
        return {"net": self.spec.net, "weights": self.weights, "dataset": self.data.title, "train_seed": seed}

    @property
    def untrained(self) -> bool:
        """Whether the weights are random ones, which were asked for."""
        return self.weights == UNTRAINED


@dataclasses.dataclass(frozen=True)
class Weights:
    """A file of weights that is on this machine: shipped, or in the store."""

    net: str
    dataset: str
    seed: int
    origin: str
    path: Path
    card: Mapping[str, Any]


def available(store: Store) -> Iterator[Weights]:
    """The weights on this machine: those shipped with the package, then those trained into the store, newest first."""
    for path in sorted(SHIPPED.glob("*.safetensors")):
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        yield Weights(card["net"], card["dataset"], card["seed"], "shipped", path, card)
    trained = (store.folder / "weights").glob("*.safetensors")
    for path in sorted(trained, key=lambda p: (-p.stat().st_mtime_ns, p.name)):
        try:
            card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["note"]
            yield Weights(card["net"], card["dataset"], card["seed"], "trained", path, card)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # an entry without a readable sidecar does not exist yet


def find(spec: Spec, store: Store) -> dict[int, list[Weights]]:
    """The weights on this machine for a net and a dataset, by training seed; shipped ones come first, then the newest.

    ``net:recipe@dataset`` are those of exactly that recipe; without a name, those of any that has no name of its own.
    """
    named = None if spec.weights is None else training.recipes[spec.weights].json()
    found: dict[int, list[Weights]] = {}
    for weights in available(store):
        recipe = weights.card["recipe"]
        fits = recipe["name"] not in OWN_NAMES if named is None else recipe == named
        if fits and (weights.net, weights.dataset) == (spec.net, spec.dataset):
            found.setdefault(weights.seed, []).append(weights)
    return dict(sorted(found.items()))


def by_recipe(spec: Spec) -> bool:
    """Whether the weights of a spec are named by the recipe that trains them: ``mlp_small:noisy@mnist5k``."""
    return spec.weights is not None and spec.weights in OWN_NAMES


def resolved(spec: Spec) -> Spec:
    """A spec whose net is known: ``module:thing`` of a module without a dot is read as a name, not as weights.

    >>> resolved(Spec("json", "dumps", "mnist5k")).net
    'json:dumps'
    """
    if spec.weights is None or spec.net in nets or ":" in spec.net or importlib.util.find_spec(spec.net) is None:
        return spec
    thing, _, weights = spec.weights.partition(":")
    return dataclasses.replace(spec, net=f"{spec.net}:{thing}", weights=weights or None)


def expand(spec: Spec, store: Store) -> list[Spec]:
    """One subject per training run: ``#*`` becomes every seed on this machine, anything else stays itself.

    Raises Unavailable, with the command, when ``#*`` finds no run.
    """
    spec = resolved(spec)
    if spec.seed != "*":
        return [spec]
    if spec.weights == UNTRAINED:
        raise BadInput(f"{spec}: untrained networks are no training runs; name a seed, e.g. {dataclasses.replace(spec, seed=0)}")
    if not (seeds := find(spec, store)):
        raise Unavailable(f"{spec}: no trained weights on this machine; bring them with `{_command(spec, '0-7', store)}`")
    return [dataclasses.replace(spec, seed=seed) for seed in seeds]


def _command(spec: Spec, seeds: str | int, store: Store) -> str:
    """The command that trains the weights of a spec, which finds what a test registered or has in a folder of its own."""
    recipe = ["--recipe", str(spec.weights)] if by_recipe(spec) else []
    filed = {str(thing.__module__) for name, known in ((spec.net, nets), (str(spec.dataset), datasets))
             if name in known and outside(thing := known[name])}  # fmt: skip
    written = {name.partition(":")[0] for name in (spec.net, str(spec.dataset)) if ":" in name and not name.startswith(FOLDER)}
    places = dict.fromkeys(place for module in sorted(filed | written) if (place := _place(module)))
    path = f"PYTHONPATH={shlex.quote(os.pathsep.join(places))} " if places else ""
    words = ["probes", "train", spec.net, str(spec.dataset), "--seeds", str(seeds), *recipe]
    words += [word for module in sorted(filed) for word in ("--import", module)]
    if store.folder.resolve() != Store.default().folder.resolve():
        words += ["--store", str(store.folder)]
    return path + shlex.join(words)


def _place(module: str) -> str:
    """The folder that a module is imported from, where that is neither the current one nor an installation's; else empty."""
    top = sys.modules.get(module.partition(".")[0])
    if installed(module) or top is None or not getattr(top, "__file__", None):
        return ""
    folder = Path(str(top.__file__)).resolve().parent
    folder = folder.parent if hasattr(top, "__path__") else folder
    if folder == Path.cwd():
        return ""
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)


def load(spec: Spec, data: Dataset, store: Store) -> Subject:
    """The subject that a spec names (one training run), in eval mode on the CPU, with gradients off.

    Weights that are not named, or named by a recipe, are those trained on the dataset with the seed (0 where none is given):
    shipped, else from the store, whatever the network: one of one's own is no exception. ``untrained`` are random ones. Weights are
    a network's when they fit what its builder builds; that its code changed since they were trained is a note. A network with
    ImageNet's 1,000 outputs gets the images of WordNet folders with ImageNet's labels.

    Raises Unavailable with the command that trains them, UnknownName, or BadInput for a file that does not fit.
    """
    spec = resolved(spec)
    seed = 0 if spec.seed is None else int(spec.seed)
    if spec.weights == UNTRAINED:
        model = training.initial(spec.net, data, seed)
        return _subject(spec, model, data, state_sha256(model.net), UNTRAINED, None)
    if by_recipe(spec) or spec.weights is None:
        return _trained(dataclasses.replace(spec, seed=seed), data, store)
    if not Path(spec.weights).exists() and (known := torchvisions(spec)):
        path = checkpoint(known)
        if not path.exists():
            raise Unavailable(f"{spec}: torchvision's weights are not on this machine; bring them with"
                              f" `probes fetch {spec.net}:{spec.weights}`")  # fmt: skip
        if not sha256(path).startswith(wanted := path.stem.rpartition("-")[2]):
            raise BadInput(f"{path.name} is damaged: its SHA-256 does not begin with {wanted}; remove it and fetch it again")
        outputs = len(known.meta["categories"])
        return _of_file(spec, data, seed, path, f"torchvision {known.name}", outputs)
    if not Path(spec.weights).suffix and (names := _torchvisions_names(spec.net)):
        known = [*names, *OWN_NAMES, UNTRAINED]
        raise unknown("weights", spec.weights, known, "or the path of a .safetensors or .pt file")
    path = Path(spec.weights)
    try:
        return _of_file(spec, data, seed, path, path.name)
    except BadInput:
        if len(data.classes) == IMAGENET_CLASSES or as_imagenet(data) is None:
            raise
        return _of_file(spec, data, seed, path, path.name, IMAGENET_CLASSES)


IMAGENET_CLASSES = 1000


def _of_file(spec: Spec, data: Dataset, seed: int, path: Path, origin: str, outputs: int | None = None) -> Subject:
    """The subject of a file of weights; a head with 1,000 outputs gets ImageNet's labels, where the folders name them."""
    if outputs == IMAGENET_CLASSES:
        data = as_imagenet(data) or data
    return filled(spec, training.initial(spec.net, data, seed, outputs), data, path, origin, None)


def _trained(spec: Spec, data: Dataset, store: Store) -> Subject:
    """The subject whose weights were trained here or shipped: the first that fit what the builder builds."""
    seed, builder = int(str(spec.seed)), nets[spec.net]
    why = "no such weights on this machine"
    for found in find(spec, store).get(seed, []):
        if sha256(found.path) != found.card["sha256"]:
            raise BadInput(f"{found.path.name} is not what its card says (SHA-256 differs): remove it or install again")
        model = training.initial(spec.net, data, seed)
        if problem := misfit(model.net, read_weights(found.path)):
            why = f"its weights were trained when {spec.net} had another shape (they {problem}), and do not fit any more"
            continue
        before, now = found.card.get("source"), source_sha256(model, builder)
        notes = () if before in (None, now) else (f"the code of {spec.net} changed after these weights were trained",)
        origin = spec.weights if by_recipe(spec) and spec.weights else found.origin
        subject = filled(spec, model, data, found.path, origin, found.card)
        return dataclasses.replace(subject, notes=(*subject.notes, *notes))
    raise Unavailable(f"{spec}: {why}; bring them with `{_command(spec, seed, store)}`")


def torchvisions(spec: Spec) -> Any:
    """Torchvision's entry for the weights of a spec, by name in any case (``imagenet1k_v1``), or None."""
    return _torchvisions_names(spec.net).get(str(spec.weights).lower())


def _torchvisions_names(net: str) -> dict[str, Any]:
    try:
        return {name.lower(): entry for name, entry in torchvision.models.get_model_weights(net).__members__.items()}
    except ValueError:
        return {}


def checkpoint(entry: Any) -> Path:
    """Where torchvision keeps the file of an entry (``TORCH_HOME``)."""
    return Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rpartition("/")[2]


def fetch(spec: Spec) -> Path:
    """Download torchvision's weights of a spec; Unavailable, with the way round, where the host can't be reached.

    Raises UnknownName for weights that torchvision does not have.
    """
    entry = torchvisions(spec)
    if entry is None:
        raise unknown("weights of torchvision", str(spec), ["resnet18:imagenet1k_v1"])
    try:
        entry.get_state_dict(progress=True, check_hash=True)
    except OSError as e:
        raise Unavailable(f"{spec}: {entry.url} can't be reached ({e}); fetch it on another machine and put it at"
                          f" {checkpoint(entry)}") from e  # fmt: skip
    return checkpoint(entry)


def filled(spec: Spec, model: Normalised, data: Dataset, path: Path, origin: str, card: Mapping[str, Any] | None) -> Subject:
    """The subject whose weights a file holds, in eval mode; BadInput for a file that can't be read or does not fit the model."""
    state = read_weights(path)
    if problem := misfit(model.net, state):
        shapes = "of shape" in problem and strange(data.name)
        hint = f"; {data.name} has {_classes(data)}" if shapes else "; is it of another architecture?"
        raise BadInput(f"{spec}: {path.name} does not fit: its weights {problem}{hint}")
    try:
        model.net.load_state_dict(state, strict=False)
    except RuntimeError as e:
        raise BadInput(f"{spec}: {path.name} does not fit: {str(e).splitlines()[-1].strip()}") from e
    return _subject(spec, model, data, sha256(path), origin, card)


def _classes(data: Dataset) -> str:
    """The classes of a dataset with their numbers of images, the first few of them."""
    counts = np.bincount(data.labels, minlength=len(data.classes))
    some = ", ".join(f"{name} ({n})" for name, n in list(zip(data.classes, counts, strict=True))[:6])
    return f"{len(data.classes)} classes: {some}{', ...' if len(data.classes) > 6 else ''}"


def _subject(spec: Spec, model: Normalised, data: Dataset, digest: str, origin: str, card: Any) -> Subject:
    for name, tensor in model.net.state_dict().items():
        if (
            isinstance(tensor, Tensor)
            and tensor.is_floating_point()
            and not tensor.is_quantized
            and not torch.isfinite(tensor).all()
        ):
            raise ProbesError(f"{spec}: weight {name!r} holds NaN or inf")
    code = code_sha256(model, nets[spec.net])
    model.eval().requires_grad_(False)
    made = opened(model)
    model.requires_grad_(False)
    notes = (f"made plain weights of what is computed at each pass: {', '.join(made)}",) if made else ()
    return Subject(spec, model, data, digest, origin, code, card, notes=notes)
