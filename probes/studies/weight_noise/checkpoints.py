"""Networks of a study of weight noise, from checkpoints under the study's names."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch

from probes.errors import BadInput
from probes.store import Store, replacing, write_text
from probes.studies.weight_noise.plan import Plan, Say
from probes.subjects import pretrained, training
from probes.subjects.dataset import Dataset
from probes.subjects.spec import Spec
from probes.subjects.subject import Subject


def checkpoint_of(
    net: str, regime: str, seed: int, plan: Plan, checkpoints: Path | None, made: bool = True
) -> Path | None:
    """Where the checkpoint of a run lies under the study's name; the name it would get, where
    ``made`` is false.
    """
    alphas = dict.fromkeys((plan.recipe(regime).alpha_train, plan.alpha_train))
    places = (
        [checkpoints / plan.dataset / f"{net}_{regime}_seed{seed}_a{alpha}.pt" for alpha in alphas]
        if checkpoints
        else []
    )
    return next((path for path in places if path.exists() or not made), None)


def from_checkpoint(
    path: Path, net: str, regime: str, seed: int, plan: Plan, data: Dataset
) -> Subject:
    """The network of a checkpoint. One of ours has a card beside it, and BadInput says where its
    recipe is another.

    One without a card is the study's own: its training is unknown, and it gets values in [0, 1] as
    they are, as there.
    """
    spec, beside = Spec(net, regime, plan.view, seed), path.with_suffix(".json")
    if beside.exists():
        card = json.loads(beside.read_text(encoding="utf-8"))
        if differs := [
            f"{k} {card['recipe'].get(k)}, not {v}"
            for k, v in plan.recipe(regime).json().items()
            if card["recipe"].get(k) != v
        ]:
            raise BadInput(
                f"{path} was trained with {'; '.join(differs)}: choose another --checkpoints, or"
                " ask for the same"
            )
        return pretrained.filled(
            spec,
            training.initial(net, data, seed),
            data,
            path,
            regime,
            card | {"origin": path.name},
        )
    raw = dataclasses.replace(data, mean=(0.0,) * data.channels, std=(1.0,) * data.channels)
    return pretrained.filled(
        spec, training.initial(net, raw, seed), data, path, regime, {"origin": path.name}
    )


def subject_of(
    net: str,
    regime: str,
    seed: int,
    plan: Plan,
    store: Store,
    data: Dataset,
    checkpoints: Path | None,
    say: Say,
) -> Subject:
    """A network of a regime and a seed: from a checkpoint under the study's name, else trained (and
    put there, with its card).
    """
    if there := checkpoint_of(net, regime, seed, plan, checkpoints):
        say(f"{net}@{plan.dataset} {regime} seed {seed}: from {there.name}")
        return from_checkpoint(there, net, regime, seed, plan, data)
    path, card = training.train(net, plan.view, seed, store, plan.recipe(regime), say)
    if place := checkpoint_of(net, regime, seed, plan, checkpoints, made=False):
        with replacing(place) as temporary:
            torch.save(pretrained.read_weights(path), temporary)
        write_text(place.with_suffix(".json"), json.dumps(card, indent=1, sort_keys=True) + "\n")
    return pretrained.filled(
        Spec(net, regime, plan.view, seed),
        training.initial(net, data, seed),
        data,
        path,
        regime,
        card,
    )
