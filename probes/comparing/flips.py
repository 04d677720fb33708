"""The images that flip: right with one network and wrong with the other, by class, and the first of
them as pictures.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import torch

from probes.batch import Draw
from probes.comparing.arms import NEW, OLD, Arms
from probes.comparing.conditions import COLUMN, Paired
from probes.run.bench import Bench
from probes.run.cells import images_under
from probes.run.device import cast, exact
from probes.run.forward import network
from probes.subjects.dataset import Dataset
from probes.subjects.sending import pixels

SHOWN = 8
"""Images that are pictured of a condition."""
ROWS = 4
"""Conditions that are pictured."""


def by_image(table: Paired) -> pd.DataFrame:
    """How often either network names an image right under a condition, over draws and runs: the
    columns ``condition, image, old, new``.
    """
    found = table.frame.groupby([COLUMN, "image", "net"], observed=True)["correct"].mean()
    return found.unstack("net").reset_index()


def flips(table: Paired) -> pd.DataFrame:
    """How many images were lost and won, by condition and class: columns ``condition, class,
    images, lost, won``.

    ``lost`` are images that the new network names right in fewer draws and training runs than the
    old one (with one of each: right before, wrong now), ``won`` those that it names right in more.
    """
    data = next(iter(table.lab.subjects.values())).data
    names = dict(zip(data.ids.tolist(), (data.classes[i] for i in data.labels), strict=True))
    found = by_image(table)
    found["class"] = pd.Categorical(found["image"].map(names), list(dict.fromkeys(data.classes)))
    found["lost"], found["won"] = found[NEW] < found[OLD], found[NEW] > found[OLD]
    groups = found.groupby([COLUMN, "class"], observed=True, sort=True)
    out = groups.agg(images=("image", "size"), lost=("lost", "sum"), won=("won", "sum"))
    return out.reset_index()


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Flipped images as the networks saw them: uint8 (images, C, H, W), and a row for each with
    ``condition, image, label, old, new, lost``.
    """

    images: np.ndarray
    told: pd.DataFrame


def pictured(table: Paired) -> Pictures | None:
    """The first images that flip under each condition on images, lost ones first, with what either
    network says. None where pictures may not be shown, where runs are several, or nothing flips.
    """
    lab, arms = table.lab, table.arms
    data = next(iter(lab.subjects.values())).data
    if not data.embeddable or arms.unit != "image":
        return None
    every, known = by_image(table), table.conditions()
    rows: list[dict[str, Any]] = []
    images: list[np.ndarray] = []
    for condition in table.order:
        under = known.get(condition)
        if under and not (under[0].acts_on == "images" and under[0].pictured):
            continue
        mine = every[every[COLUMN] == condition]
        lost, won = mine[mine[NEW] < mine[OLD]], mine[mine[NEW] > mine[OLD]]
        few = min(len(won), SHOWN // 2)
        chosen = [*lost["image"][: SHOWN - few], *won["image"]][:SHOWN]
        if not chosen or (rows and len({r["condition"] for r in rows}) >= ROWS):
            continue
        seen, said = _seen(lab, arms, under, chosen)
        images.append(seen)
        for i, image in enumerate(chosen):
            place = int(np.flatnonzero(data.ids == image)[0])
            rows.append(
                {
                    "condition": condition,
                    "image": int(image),
                    "label": data.classes[data.labels[place]],
                    OLD: _said(said.get(OLD), i, data, place, image in set(lost["image"])),
                    NEW: data.classes[said[NEW][i]],
                    "lost": image in set(lost["image"]),
                }
            )
    return Pictures(np.concatenate(images), pd.DataFrame(rows)) if rows else None


def _said(classes: Any, i: int, data: Dataset, place: int, right: bool) -> str:
    """What the old network says; of a baseline only whether it was right is known."""
    if classes is not None:
        return data.classes[classes[i]]
    return data.classes[data.labels[place]] if right else "another"


def _seen(lab: Bench, arms: Arms, under: Any, ids: list[int]) -> tuple[np.ndarray, dict[str, Any]]:
    """Images as the networks see them under a condition (draw 0), and the class that each names."""
    first = next(iter(lab.subjects.values()))
    data = first.data.take(np.array([int(np.flatnonzero(first.data.ids == i)[0]) for i in ids]))
    images = pixels(data)
    if under is not None:
        one, _, level = under
        draw = Draw(lab.options.seed, data.name, 0)
        images = images_under(one, images, data.ids, level, draw, data.mean, data.std)
    said, where = {}, lab.options.where
    for arm in (OLD, NEW):
        if arms.names[arm][0] not in lab.subjects:  # of a baseline there are answers only
            continue
        net = network(lab.subjects[arms.names[arm][0]], where, lab.store)
        with exact(where.threads), cast(net.device, where.precision), torch.inference_mode():
            said[arm] = net.model(net.send(images)).argmax(1).cpu().numpy()
    shown = (images.clamp(0, 1) * 255).round().byte().cpu().numpy()
    return shown, said
