"""The two networks that are compared, as they are typed: subjects, and versions of a subject with
other weights.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from probes.batch import Draw
from probes.errors import BadInput, Unavailable
from probes.perturb.asked import OF_NETWORK, asked
from probes.run.bench import Bench, load_subject
from probes.run.settings import Options
from probes.store import Store
from probes.subjects import data as datasets
from probes.subjects import pretrained
from probes.subjects.objects import subjects_of
from probes.subjects.spec import FORM, Spec, parse
from probes.subjects.statedict import state_sha256
from probes.subjects.subject import Subject

OLD, NEW = "old", "new"
"""What the two arms are called in every table."""
VERSION = re.compile(rf"(.+)\+((?:{'|'.join(OF_NETWORK)})(?::.*)?)")
DATASET = "mnist5k"
Seeds = str | Sequence[int] | None


@dataclasses.dataclass(frozen=True)
class Arms:
    """Two arms: what was typed for each, and the names of its subjects, one per training run."""

    old: str
    new: str
    names: Mapping[str, tuple[str, ...]]

    @property
    def runs(self) -> int:
        """The number of training runs of an arm; the smaller one."""
        return min(len(names) for names in self.names.values())

    @property
    def unit(self) -> str:
        """What a verdict is about: images of one checkpoint each, or training runs."""
        return "train_seed" if max(map(len, self.names.values())) > 1 else "image"

    def __str__(self) -> str:
        return f"{self.old} + {self.new}"


def split(text: str) -> tuple[str, str]:
    """A subject, and the version of it that stands behind a plus; no version where there is none.

    >>> split("resnet20@mnist5k#1+quantised:8"), split("a+b.safetensors")
    (('resnet20@mnist5k#1', 'quantised:8'), ('a+b.safetensors', ''))
    """
    found = VERSION.fullmatch(text.strip())
    return (found[1], found[2]) if found else (text.strip(), "")


def names_of(text: str, dataset: str | None, seeds: Seeds, store: Store) -> tuple[str, ...]:
    """The names of the subjects of an arm, one per training run: with their dataset, and with the
    version behind a plus.

    ``seeds`` are training seeds, or ``"*"`` for all on this machine; ``{seed}`` in the text is the
    seed, e.g. in the name of a file. Raises BadInput for a text that is no subject, and for another
    dataset than the one that is asked for; Unavailable where no run is on this machine.
    """
    base, version = split(text)
    if version:
        _version(version)
    texts = [base]
    if seeds is not None and seeds != "*":
        texts = [base.replace("{seed}", str(seed)) for seed in seeds]
    specs = [_with_dataset(parse(one), dataset) for one in texts]
    if seeds is not None:
        if any(spec.seed not in (None, "*") for spec in specs):
            raise BadInput(f"{text!r} names a training seed, and --seeds names others: leave one")
        wanted: Sequence[Any] = ["*"] if seeds == "*" else seeds
        specs = [dataclasses.replace(s, seed=n) for s, n in zip(specs, wanted, strict=True)]
    every = [one for spec in specs for one in pretrained.expand(spec, store)]
    return tuple(f"{one}+{version}" if version else str(one) for one in every)


def _with_dataset(spec: Spec, dataset: str | None) -> Spec:
    if spec.dataset is not None and dataset not in (None, spec.dataset):
        raise BadInput(f"{spec} on --dataset {dataset}: both are measured on one dataset; name one")
    return dataclasses.replace(spec, dataset=spec.dataset or dataset or DATASET)


def _version(text: str) -> Any:
    """The perturbation of weights that a version is, at its one strength."""
    under, *others = asked(text).values()
    if others or len(under.levels) != 2:
        raise BadInput(
            f"+{text}: a version of a network is one change of one strength, e.g. +quantised:8 or"
            " +pruned:.5"
        )
    return under


def loaded(folder: str, options: Options, name: str) -> Subject:
    """A subject of an arm by its name, from a store and with the options of a bench; picklable with
    ``functools.partial``, for other processes.
    """
    base, version = split(name)
    found = load_subject(folder, options, base)
    return revised(found, version) if version else found


def revised(subject: Subject, version: str) -> Subject:
    """A version of a subject with other weights, such as ``quantised:8``; the subject is left as it
    is.

    Its weights have a SHA-256 of their own, and a note says what was done.
    """
    under = _version(version)
    model: Any = copy.deepcopy(subject.model)
    with torch.no_grad():
        for name, weight in under.mapping(model, under.levels[-1], Draw(0, "", 0)).items():
            model.get_parameter(name).copy_(weight)
    return dataclasses.replace(
        subject,
        model=model,
        sha256=_state(model),
        weights=f"{subject.weights}+{version}",
        notes=(*subject.notes, f"a version of its weights: {under.describe()}"),
    )


def _state(model: nn.Module) -> str:
    """The SHA-256 of the weights themselves, whatever file they came in."""
    inside: Any = getattr(model, getattr(type(model), "WRAPPED", ""), model)
    return state_sha256(inside)


def bench_of(
    old: str | nn.Module,
    new: str | nn.Module,
    dataset: Any,
    seeds: Seeds,
    store: Store,
    options: Options,
    **how: Any,
) -> tuple[Bench, Arms]:
    """A bench with the subjects of both arms, and the arms.

    ``old`` and ``new`` are texts, or two networks in memory with ``dataset`` as
    :func:`probes.subjects.objects.dataset_of` takes it. Raises BadInput for a network compared with
    itself, and for arms of different numbers of runs.
    """
    if isinstance(old, nn.Module) or isinstance(new, nn.Module):
        if not (isinstance(old, nn.Module) and isinstance(new, nn.Module)) or seeds is not None:
            raise BadInput(
                "compare(model, model, dataset): two networks in memory, of one run each; or two"
                f" subjects {FORM}"
            )
        given = {"images": options.images, "until": options.until}
        found = subjects_of({OLD: old, NEW: new}, dataset, given)
        first, second = found
        arms = Arms(first, second, {OLD: (first,), NEW: (second,)})
        specs = [s.spec for s in found.values()]
        return Bench(specs, store, options, subjects=found, **how), arms
    names = {
        OLD: names_of(old, dataset, seeds, store),
        NEW: names_of(new, dataset, seeds, store),
    }
    arms = Arms(old, new, names)
    if names[OLD] == names[NEW]:
        raise BadInput(
            f"{old} compared with {new}: that is one network; name other weights, another seed or a"
            " version of it, e.g. +quantised:8"
        )
    lab = bench_with([*names[OLD], *names[NEW]], store, options, **how)
    for mine in names.values():
        refuse_copies(lab, mine)
    return lab, arms


def refuse_copies(lab: Bench, names: Sequence[str]) -> None:
    """Raise BadInput for training runs that have the same weights: they are one run."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(_state(lab.subjects[name].model), name)
        if other != name:
            raise BadInput(
                f"{other} and {name} have the same weights: copies of a network are no training"
                " runs; write {seed} into the name of the file, e.g. net:runs/new-{seed}.pt"
            )


def bench_with(names: Sequence[str], store: Store, options: Options, **how: Any) -> Bench:
    """A bench with the subjects of these names, on all images where nothing else is asked for.
    Raises BadInput where they do not see the same images and labels.
    """
    if options.images is None and options.until is None:
        title = str(parse(split(names[0])[0]).dataset)
        options = dataclasses.replace(options, images=_number(title, options, store))
    load = partial(loaded, str(store.folder), options)
    subjects = {name: load(name) for name in dict.fromkeys(names)}
    seen = {s.data.sha256: s.spec for s in subjects.values()}
    if len(seen) > 1:
        some = " and ".join(map(str, list(seen.values())[:2]))
        raise BadInput(f"{some} do not see the same images and labels: name one dataset")
    specs = [s.spec for s in subjects.values()]
    return Bench(specs, store, options, subjects=subjects, load=load, **how)


def _number(name: str, options: Options, store: Store) -> int:
    """The number of images of a dataset, which is fetched where that is asked for."""
    try:
        return len(datasets.load(name, options.split, store))
    except Unavailable:
        if not options.download:
            raise
        datasets.fetch(name)
        return len(datasets.load(name, options.split, store))


def arms_of(lab: Bench) -> Arms:
    """The arms of a bench, as of a claim about ``pair(old, new)``: its two subjects, or its two
    kinds of subjects with a training run each.

    Raises BadInput for any other number.
    """
    names = list(lab.subjects)
    groups: dict[Spec, list[str]] = {}
    for name, subject in lab.subjects.items():
        groups.setdefault(dataclasses.replace(subject.spec, seed=None), []).append(name)
    parts = [[name] for name in names] if len(names) == 2 else list(groups.values())
    if len(parts) != 2:
        raise BadInput(
            f"{', '.join(names[:4])}: two networks are compared, the old one first:"
            " subjects(pair('old@dataset', 'new@dataset'))"
        )
    old, new = map(tuple, parts)
    kinds = [str(spec) for spec in groups] if len(names) > 2 else names
    return Arms(kinds[0], kinds[1], {OLD: old, NEW: new})
