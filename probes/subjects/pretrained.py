"""Weights for a network: shipped with the package, trained into the store, or a file; always known by their SHA-256."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

from probes.errors import BadInput, ProbesError, Unavailable
from probes.registry import unknown
from probes.store import Store, sha256
from probes.subjects import training
from probes.subjects.code import code_sha256
from probes.subjects.data import Dataset
from probes.subjects.nets import Normalised, nets
from probes.subjects.spec import Spec
from probes.subjects.stored import unpack

SHIPPED = Path(__file__).with_name("weights")


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A network with its weights, in eval mode, on images in [0, 1] of one dataset.

    ``spec`` names one training run; ``sha256`` is of the weights, ``code`` of what computes with them (see
    :func:`probes.subjects.code.code_sha256`); ``card`` tells how the weights came about, where known; ``training`` are
    training images, where a perturbation needs some.
    """

    spec: Spec
    model: nn.Module
    data: Dataset
    sha256: str
    weights: str
    code: str = ""
    card: Mapping[str, Any] | None = None
    training: Dataset | None = None


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


def find(spec: Spec, store: Store) -> dict[int, Weights]:
    """The weights on this machine for a net and a dataset, by training seed; shipped ones come first.

    ``net:recipe@dataset`` are those of exactly that recipe; without a name, those of any that has no name of its own.
    """
    named = None if spec.weights is None else training.recipes[spec.weights].json()
    found: dict[int, Weights] = {}
    for weights in available(store):
        recipe = weights.card["recipe"]
        fits = recipe["name"] not in training.OWN_NAMES if named is None else recipe == named
        if fits and (weights.net, weights.dataset) == (spec.net, spec.dataset):
            found.setdefault(weights.seed, weights)
    return dict(sorted(found.items()))


def by_recipe(spec: Spec) -> bool:
    """Whether the weights of a spec are named by the recipe that trains them: ``mlp_small:noisy@mnist5k``."""
    return spec.weights is not None and spec.weights in training.OWN_NAMES


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
    if not (seeds := find(spec, store)):
        raise Unavailable(f"{spec}: no trained weights on this machine; bring them with `{_command(spec, '0-7')}`")
    return [dataclasses.replace(spec, seed=seed) for seed in seeds]


def _command(spec: Spec, seeds: str | int) -> str:
    recipe = f" --recipe {spec.weights}" if by_recipe(spec) else ""
    return f"probes train {spec.net} {spec.dataset} --seeds {seeds}{recipe}"


def load(spec: Spec, data: Dataset, store: Store) -> Subject:
    """The subject that a spec names (one training run), in eval mode on the CPU, with gradients off.

    Weights that are not named, or named by a recipe, are those trained on the dataset with the seed (0 where none is given):
    shipped, else from the store. A net given as ``package.module:thing`` without weights and seed is taken as its builder returns
    it. Raises Unavailable with the command that trains them, UnknownName, or BadInput for a file that does not fit.
    """
    spec = resolved(spec)
    seed = 0 if spec.seed is None else int(spec.seed)
    recipe = by_recipe(spec)
    if not recipe and spec.weights is not None and not Path(spec.weights).exists() and (known := torchvisions(spec)):
        path = checkpoint(known)
        if not path.exists():
            raise Unavailable(f"{spec}: torchvision's weights are not on this machine; bring them with"
                              f" `probes fetch {spec.net}:{spec.weights}`")  # fmt: skip
        if not sha256(path).startswith(wanted := path.stem.rpartition("-")[2]):
            raise BadInput(f"{path.name} is damaged: its SHA-256 does not begin with {wanted}; remove it and fetch it again")
        model = training.initial(spec.net, data, seed, len(known.meta["categories"]))
        return filled(spec, model, data, path, f"torchvision {known.name}", None)
    if not recipe and spec.weights is not None and not Path(spec.weights).suffix and (names := _torchvisions_names(spec.net)):
        known = [*names, *training.OWN_NAMES]
        raise unknown("weights", spec.weights, known, "or the path of a .safetensors or .pt file")
    model = training.initial(spec.net, data, seed)
    if spec.weights is not None and not recipe:
        path = Path(spec.weights)
        return filled(spec, model, data, path, path.name, None)
    if ":" in spec.net and spec.seed is None and not recipe:
        return _subject(spec, model, data, state_sha256(model.net), "as built", None)
    spec = dataclasses.replace(spec, seed=seed)
    if not (found := find(spec, store).get(seed)):
        raise Unavailable(f"{spec}: no such weights on this machine; bring them with `{_command(spec, seed)}`")
    if sha256(found.path) != found.card["sha256"]:
        raise BadInput(f"{found.path.name} is not what its card says (SHA-256 differs): remove it or install again")
    if found.card.get("code", code := code_sha256(model, nets[spec.net])) != code and found.origin == "trained":
        raise Unavailable(f"{spec}: its weights were trained before the code of {spec.net} was changed; train them again with"
                          f" `{_command(spec, seed)}`")  # fmt: skip
    origin = spec.weights if recipe and spec.weights else found.origin
    return filled(spec, model, data, found.path, origin, found.card)


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


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from a safetensors file, or from a PyTorch file read with ``weights_only=True``; fp32 out.

    Raises BadInput for a file that is missing, truncated, or a pickle that would run code (it does not run).
    """
    if not path.is_file():
        raise BadInput(f"weights {str(path)!r}: no such file; give a .safetensors or .pt file, or leave weights out")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as e:
        raise BadInput(f"weights {str(path)!r} can't be read: {(str(e).splitlines() or [type(e).__name__])[0]}") from e
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise BadInput(f"weights {str(path)!r} hold no state dict (names to tensors)")
    return unpack(state)


def state_sha256(model: nn.Module) -> str:
    """The SHA-256 over names, shapes and bytes of a model's state."""
    h = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        h.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        h.update(np.ascontiguousarray(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy()).data)
    return h.hexdigest()


def filled(spec: Spec, model: Normalised, data: Dataset, path: Path, origin: str, card: Mapping[str, Any] | None) -> Subject:
    """The subject whose weights a file holds, in eval mode; BadInput for a file that can't be read or does not fit the model."""
    state = read_weights(path)
    try:
        lost, extra = model.net.load_state_dict(state, strict=False)
    except RuntimeError as e:
        raise BadInput(f"{spec}: {path.name} does not fit: {str(e).splitlines()[-1].strip()}") from e
    lost = [name for name in lost if not name.endswith("num_batches_tracked")]
    if lost or extra:
        problem = f"lacks {lost[0]!r}" if lost else f"holds {extra[0]!r}, which the network does not know"
        raise BadInput(f"{spec}: {path.name} {problem}; is it of another architecture?")
    return _subject(spec, model, data, sha256(path), origin, card)


def _subject(spec: Spec, model: Normalised, data: Dataset, digest: str, origin: str, card: Any) -> Subject:
    for name, tensor in model.net.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ProbesError(f"{spec}: weight {name!r} holds NaN or inf")
    model.eval().requires_grad_(False)
    return Subject(spec, model, data, digest, origin, code_sha256(model, nets[spec.net]), card)
