"""The tables of noise on the outputs of layers: accuracy and its loss, by number, strength and
depth, and what happens inside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from probes.judge.accuracies import accuracy_of, points_lost
from probes.measure import accuracy
from probes.measure.features import FeatureMetrics, extract, stages_of
from probes.perturb import gaussian, inject, layer_noise
from probes.perturb.layers import Which, layers_of
from probes.perturb.spread import layer_std
from probes.run.bench import Bench
from probes.run.device import exact
from probes.run.forward import network
from probes.run.settings import Options
from probes.store import Store
from probes.subjects.sending import pixels
from probes.subjects.subject import Subject

ACTIVATIONS = 1000
"""Activations are compared on at most this many images."""
DRAWN = 4
"""The number of channels of a stage that are drawn."""
COUNTS = (1, 2, 3)
"""The numbers of layers with noise: the study's three."""
PRIMARY = 0.5
"""The strength that is judged, relative to the standard deviation of a layer's clean outputs."""
Layers = Which | Sequence[Which]


def clean(lab: Bench, split: str) -> pd.DataFrame:
    """Clean accuracy of each run, percent, with its interval: columns ``split, net, train_seed,
    images, accuracy, low, high``.
    """
    frame = lab.sweep(accuracy, under=gaussian(0)).frame
    rows = [
        (split, net, seed, len(part), *accuracy_of(part["correct"].to_numpy(float)))
        for (net, seed), part in frame.groupby(["net", "train_seed"], observed=True, sort=False)
    ]
    return pd.DataFrame(
        rows, columns=["split", "net", "train_seed", "images", "accuracy", "low", "high"]
    )


def drops(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Accuracy in percent and its loss in points, per run, number of layers and strength, each with
    its 90 % interval over images.

    The columns are ``kind, net, train_seed, layers, level, images, accuracy, accuracy_low,
    accuracy_high, drop, low, high``. The draws of an image are averaged first. The interval of a
    drop is that of the score test; for several draws it is that of the mean.
    """
    keys = ["net", "train_seed", *(["layers"] if "layers" in frame.columns else [])]
    rows = []
    for label, part in frame.groupby(keys, observed=True, sort=False):
        wide = part.groupby(["image", "level"], observed=True)["correct"].mean().unstack("level")
        name = {
            "kind": kind,
            "net": label[0],
            "train_seed": label[1],
            "layers": label[2] if len(label) > 2 else "",
        }
        for level in (float(v) for v in wide.columns if v):
            found: dict[str, float] = {"level": level, "images": len(wide)}
            hits = wide[level].to_numpy(float)
            names = ("accuracy", "accuracy_low", "accuracy_high", "drop", "low", "high")
            both = (*accuracy_of(hits), *points_lost(wide[0.0].to_numpy(float), hits))
            found |= dict(zip(names, both, strict=True))
            rows.append(name | found)
    return pd.DataFrame(rows)


def depth(frame: pd.DataFrame) -> pd.DataFrame:
    """The points of accuracy lost by perturbing one layer alone. The columns are ``net, train_seed,
    place, layer, drop``.
    """
    top = frame["level"].max()
    wide = (
        frame.groupby(["net", "train_seed", "layer", "level"], observed=True, sort=False)["correct"]
        .mean()
        .unstack("level")
    )
    found = (100 * (wide[0.0] - wide[top])).rename("drop").reset_index()
    place = found.groupby(["net", "train_seed"], observed=True, sort=False).cumcount()
    return found.assign(place=place)[["net", "train_seed", "place", "layer", "drop"]]


def _ends(subject: Subject) -> list[str]:
    """The first and the last two stages, or all stages if there are three or fewer."""
    x = torch.zeros(2, *subject.data.images.shape[1:])
    found = stages_of(subject.model.cpu(), x)
    return list(dict.fromkeys([*found[:1], *found[-2:]]))


def activations(subject: Subject, store: Store, options: Options, on: Layers) -> pd.DataFrame:
    """How far noise on 1, 2 and 3 layers moves the maps of the first and of the last two stages:
    quartiles over images.

    The columns are ``net, train_seed, place, stage, layers, images, distance, low, high``.
    Distances are relative to the norm of the clean maps.
    """
    sampled = dataclasses.replace(
        subject, data=subject.data.sample(min(ACTIVATIONS, len(subject.data)))
    )
    stages = _ends(subject)
    lab = Bench([subject.spec], store, options, quiet=False, subjects={str(subject.spec): sampled})
    frame = lab.sweep(
        FeatureMetrics(tuple(stages)), under=layer_noise(0, PRIMARY, layers=COUNTS, on=on)
    ).frame
    top = frame[frame["level"] == PRIMARY].groupby(["site", "layers"], observed=True)[
        "map_distance"
    ]
    rows = [
        (
            subject.spec.net,
            frame["train_seed"].iloc[0],
            stages.index(str(stage)),
            stage,
            n,
            len(sampled.data),
            *np.quantile(d, (0.5, 0.25, 0.75)),
        )
        for (stage, n), d in top
    ]
    columns = ["net", "train_seed", "place", "stage", "layers", "images", "distance", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def maps(subject: Subject, store: Store, options: Options, on: Layers) -> pd.DataFrame:
    """A few channels of the first and of the last two stages for the first image, clean and with
    noise on three layers.

    Columns ``net, stage, state, channel, y, x, value``.
    """
    data, stages, seed = subject.data, _ends(subject), options.seed
    noise, ids = layer_noise(0, PRIMARY, layers=3, on=on), data.ids[:1].tolist()
    found: list[Mapping[str, Tensor]] = []
    net = network(subject, options.where, store)  # in its own layout, whatever was measured before
    model = net.model
    with exact(options.where.threads):
        first, many = (pixels(data, slice(0, n), net.device) for n in (1, 250))
        with layer_std(model, layers_of(model, on)) as read:
            model(net.send(many))
            std = read()
        for level in (0.0, PRIMARY):
            with (
                inject(
                    model, on, noise, ids, level=level, spread=std, dataset=data.name, seed=seed
                ),
                extract(model, stages) as seen,
            ):
                model(net.send(first))
                found.append({name: out.float().cpu() for name, out in seen.items()})
    rows = []
    for state, taken in zip(("clean", "perturbed"), found, strict=True):
        for stage, out in taken.items():
            few = out[0, :DRAWN].numpy()
            channel, y, across = (index.ravel() for index in np.indices(few.shape))
            place = {
                "net": subject.spec.net,
                "stage": stage,
                "state": state,
                "channel": channel,
                "y": y,
                "x": across,
            }
            rows.append(pd.DataFrame(place | {"value": few.ravel()}))
    return pd.concat(rows, ignore_index=True)
