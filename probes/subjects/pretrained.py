"""Weights for a network: shipped with the package, trained into the store, or from a file. Their
SHA-256 is always known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from probes.errors import BadInput, Unavailable
from probes.reading import loads
from probes.registry import importable, unknown
from probes.store import Store, sha256
from probes.subjects import hub, libraries, shipping, training
from probes.subjects.checkpoints import Opened, opened_file, split
from probes.subjects.code import code_sha256, source_sha256
from probes.subjects.data import strange
from probes.subjects.dataset import Dataset
from probes.subjects.folders import as_imagenet
from probes.subjects.nets import Normalised, nets
from probes.subjects.opened import at_rest
from probes.subjects.recipes import OWN_NAMES, by_recipe
from probes.subjects.remedy import training_command
from probes.subjects.spec import Spec
from probes.subjects.statedict import misfit, read_weights, refuse_nan, state_sha256
from probes.subjects.subject import UNTRAINED, Subject


@dataclasses.dataclass(frozen=True)
class Weights:
    """A file of weights on this machine: shipped, or in the store."""

    net: str
    dataset: str
    seed: int
    origin: str
    path: Path
    card: Mapping[str, Any]


def available(store: Store) -> Iterator[Weights]:
    """The weights on this machine: those shipped, then those trained into the store, newest
    first.
    """
    for path in [p for folder in shipping.folders() for p in sorted(folder.glob("*.safetensors"))]:
        card = loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        yield Weights(card["net"], card["dataset"], card["seed"], "shipped", path, card)
    trained = (store.folder / "weights").glob("*.safetensors")
    for path in sorted(trained, key=lambda p: (-p.stat().st_mtime_ns, p.name)):
        try:
            card = loads(path.with_suffix(".json").read_text(encoding="utf-8"))["note"]
            yield Weights(card["net"], card["dataset"], card["seed"], "trained", path, card)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # an entry without a readable sidecar does not exist yet


def find(spec: Spec, store: Store) -> dict[int, list[Weights]]:
    """The weights on this machine for a net and a dataset, by training seed. Shipped ones come
    first, then the newest.

    ``net:recipe@dataset`` means weights of exactly that recipe. Without a recipe it means weights
    of any recipe that has no name of its own.
    """
    named = None if spec.weights is None else training.recipes[spec.weights].json()
    found: dict[int, list[Weights]] = {}
    for weights in available(store):
        recipe = weights.card["recipe"]
        fits = recipe["name"] not in OWN_NAMES if named is None else recipe == named
        if fits and (weights.net, weights.dataset) == (spec.net, spec.dataset):
            found.setdefault(weights.seed, []).append(weights)
    return dict(sorted(found.items()))


def resolved(spec: Spec) -> Spec:
    """A spec with a known net. ``module:thing`` of a module without a dot is read as a name, not as
    weights.

    >>> resolved(Spec("json", "dumps", "mnist5k")).net
    'json:dumps'
    """
    if spec.weights is None or spec.net in nets or ":" in spec.net or not importable(spec.net):
        return spec
    thing, _, weights = spec.weights.partition(":")
    return dataclasses.replace(spec, net=f"{spec.net}:{thing}", weights=weights or None)


def expand(spec: Spec, store: Store) -> list[Spec]:
    """One subject per training run. ``#*`` becomes every seed on this machine; anything else stays
    as it is.

    Raises Unavailable, with the command, if ``#*`` finds no run.
    """
    spec = resolved(spec)
    if spec.seed != "*":
        return [spec]
    if spec.weights == UNTRAINED:
        raise BadInput(
            f"{spec}: untrained networks are no training runs; name a seed, e.g."
            f" {dataclasses.replace(spec, seed=0)}"
        )
    if not (seeds := find(spec, store)):
        raise Unavailable(
            f"{spec}: no trained weights on this machine; {_remedy(spec, '0-7', store)}"
        )
    return [dataclasses.replace(spec, seed=seed) for seed in seeds]


def load(spec: Spec, data: Dataset, store: Store) -> Subject:
    """The subject that a spec names (one training run), in eval mode on the CPU, with gradients
    off.

    Weights without a name, or with the name of a recipe, are those trained on the dataset with the
    seed (default: 0). They are shipped or in the store; this holds for a user's own networks too.
    ``untrained`` weights are random. Weights belong to a network if they fit the network that its
    builder builds; a note says if its code changed since they were trained. A network with
    ImageNet's 1,000 outputs gets the images of WordNet folders with ImageNet's labels.

    Raises Unavailable with the command that trains the weights, UnknownName, or BadInput for a file
    that does not fit.
    """
    spec = resolved(spec)
    seed = 0 if spec.seed is None else int(spec.seed)
    if spec.weights == UNTRAINED:
        model = training.initial(spec.net, data, seed)
        return _subject(spec, model, data, state_sha256(model.net), UNTRAINED, None)
    if found := libraries.published(spec):
        return _published(spec, data, seed, found)
    if by_recipe(spec) or spec.weights is None:
        return _trained(dataclasses.replace(spec, seed=seed), data, store)
    if not Path(spec.weights).exists() and (known := hub.torchvisions(spec)):
        path = hub.checkpoint(known)
        if not path.exists():
            raise Unavailable(
                f"{spec}: torchvision's weights are not on this machine; bring them with"
                f" `probes fetch {spec.net}:{spec.weights}`"
            )
        if not sha256(path).startswith(wanted := path.stem.rpartition("-")[2]):
            raise BadInput(
                f"{path.name} is damaged: its SHA-256 does not begin with {wanted}; remove it and"
                " fetch it again"
            )
        outputs = len(known.meta["categories"])
        return _of_file(spec, data, seed, path, f"torchvision {known.name}", outputs)
    if not split(spec.weights)[0].suffix and (names := hub.torchvisions_names(spec.net)):
        known = [*names, *OWN_NAMES, UNTRAINED]
        raise unknown("weights", spec.weights, known, "or the path of a .safetensors or .pt file")
    path = Path(spec.weights)
    try:
        return _of_file(spec, data, seed, path, path.name)
    except BadInput:
        if len(data.classes) == IMAGENET_CLASSES or as_imagenet(data) is None:
            raise
        return _of_file(spec, data, seed, path, path.name, IMAGENET_CLASSES)


def _published(spec: Spec, data: Dataset, seed: int, found: libraries.Published) -> Subject:
    """The subject of weights that come with a network, with the normalisation and the size of
    images that they were trained with.
    """
    if found.outputs == IMAGENET_CLASSES:
        data = as_imagenet(data) or data
    libraries.same_classes(spec, found.names, tuple(data.classes))
    model = training.initial(spec.net, data, seed, found.outputs, own=True)
    weights = found.opened(model.net)
    subject = _filled(spec, model, data, weights, found.path.name, found.origin)
    wants = nets[spec.net].takes  # type: ignore[attr-defined]
    side = data.images.shape[-1]
    sized = f"resized from {side} to {model.side} px and " if model.side not in (None, side) else ""
    shown = "normalised by " + (
        f"mean {_short(wants.mean)}, std {_short(wants.std)}" if wants.mean else "nothing"
    )
    note = f"images are {sized}{shown}, as its configuration says"
    return dataclasses.replace(subject, notes=(*subject.notes, note))


def _short(values: Sequence[float] | None) -> str:
    return " ".join(f"{v:.3g}" for v in values or ())


IMAGENET_CLASSES = 1000


def _of_file(
    spec: Spec, data: Dataset, seed: int, path: Path, origin: str, outputs: int | None = None
) -> Subject:
    """The subject of a file of weights. For a head with 1,000 outputs the labels are ImageNet's, if
    the folders name them.
    """
    if outputs == IMAGENET_CLASSES:
        data = as_imagenet(data) or data
    return filled(spec, training.initial(spec.net, data, seed, outputs), data, path, origin, None)


def _trained(spec: Spec, data: Dataset, store: Store) -> Subject:
    """The subject whose weights were trained here or shipped: the first weights that fit the
    network that the builder builds.
    """
    seed, builder = int(str(spec.seed)), nets[spec.net]
    why = "no such weights on this machine"
    for found in find(spec, store).get(seed, []):
        if sha256(found.path) != found.card["sha256"]:
            raise BadInput(
                f"{found.path.name} is not what its card says (SHA-256 differs): remove it or"
                " install again"
            )
        model = training.initial(spec.net, data, seed)
        if problem := misfit(model.net, read_weights(found.path)):
            why = (
                f"its weights were trained when {spec.net} had another shape (they {problem}), and"
                " do not fit any more"
            )
            continue
        before, now = found.card.get("source"), source_sha256(model, builder)
        notes = (
            ()
            if before in (None, now)
            else (f"the code of {spec.net} changed after these weights were trained",)
        )
        origin = spec.weights if by_recipe(spec) and spec.weights else found.origin
        subject = filled(spec, model, data, found.path, origin, found.card)
        return dataclasses.replace(subject, notes=(*subject.notes, *notes))
    raise Unavailable(f"{spec}: {why}; {_remedy(spec, seed, store)}")


def _remedy(spec: Spec, seeds: str | int, store: Store) -> str:
    train = f"`{training_command(spec, seeds, store)}`"
    if install := shipping.command(spec):
        return f"bring them with `{install}` in a checkout of Probes, or train with {train}"
    return f"bring them with {train}"


def filled(
    spec: Spec,
    model: Normalised,
    data: Dataset,
    path: Path,
    origin: str,
    card: Mapping[str, Any] | None,
) -> Subject:
    """The subject with the weights of a file, in eval mode. Raises BadInput for a file that can't
    be read or does not fit the model.
    """
    return _filled(spec, model, data, opened_file(str(path), model.net), path.name, origin, card)


def _filled(
    spec: Spec,
    model: Normalised,
    data: Dataset,
    found: Opened,
    name: str,
    origin: str,
    card: Mapping[str, Any] | None = None,
) -> Subject:
    state = found.state
    if problem := misfit(model.net, state):
        shapes = "of shape" in problem and strange(data.name)
        hint = (
            f"; {data.name} has {_classes(data)}" if shapes else "; is it of another architecture?"
        )
        raise BadInput(f"{spec}: {name} does not fit: its weights {problem}{hint}")
    try:
        model.net.load_state_dict(state, strict=False)
    except RuntimeError as e:
        raise BadInput(f"{spec}: {name} does not fit: {str(e).splitlines()[-1].strip()}") from e
    subject = _subject(spec, model, data, found.sha256, origin, card)
    notes = (found.note,) if found.note else ()
    return dataclasses.replace(subject, notes=(*notes, *subject.notes))


def _classes(data: Dataset) -> str:
    """The number of classes of a dataset, and the names of the first few."""
    counts = np.bincount(data.labels, minlength=len(data.classes))
    some = ", ".join(
        f"{name} ({n})" for name, n in list(zip(data.classes, counts, strict=True))[:6]
    )
    return f"{len(data.classes)} classes: {some}{', ...' if len(data.classes) > 6 else ''}"


def _subject(
    spec: Spec, model: Normalised, data: Dataset, digest: str, origin: str, card: Any
) -> Subject:
    refuse_nan(str(spec), model.net)
    code = code_sha256(model, nets[spec.net])
    notes = at_rest(model)
    return Subject(spec, model, data, digest, origin, code, card, notes=notes)
