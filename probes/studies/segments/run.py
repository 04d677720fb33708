"""Segments cut out of a network and fed with one HSV channel of an image: whether the same things
move their units there and inside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probes.errors import BadInput
from probes.measure.indices import Replicates
from probes.run.settings import Options
from probes.store import Store
from probes.studies.segments import pages as segmentpages
from probes.studies.segments.cut import PART, Fed, cut
from probes.studies.segments.hsv import HSV
from probes.studies.sensitivity import run as sensitivity
from probes.studies.sensitivity.claims import OTHERS
from probes.studies.sensitivity.indexstats import map_similarity
from probes.studies.sensitivity.indices import indices_of
from probes.studies.sensitivity.plan import Plan
from probes.studies.sensitivity.reader import shapes_of, whole
from probes.studies.sensitivity.source import Source
from probes.subjects.spec import on
from probes.tell import origins, reportfolder

Say = Callable[[str], None]


def study(
    net: str,
    dataset: str,
    store: Store,
    out: Path,
    plan: Plan,
    *,
    names: Sequence[str] | None = None,
    memory: float = sensitivity.MEMORY,
    options: Options | None = None,
    command: Sequence[str] = ("probes", "run", "segments"),
    say: Say = lambda _: None,
) -> Path:
    """Indices of a network's units, inside it and in segments fed with H, S and V, as files,
    figures and a page in ``out``.

    For each segment and augmentation the channel with the largest mean total index is chosen on
    training images. All channels are measured on test images. Grey images have a V only. The tables
    are ``units`` (chosen channels), ``likeness`` (all channels) and ``means``. Raises what
    :func:`cut` and a plan raise.
    """
    reportfolder.replaceable(out)
    if memory <= 0:
        raise BadInput(f"memory {memory:g} GB: the sums need some")
    options, spec = options or Options(), on(net, dataset)
    lab = sensitivity.lab_of(net, dataset, store, options, say)
    ((name_of, subject),) = lab.subjects.items()
    cuts = cut(subject, names)
    channels = HSV if subject.data.channels == 3 else HSV[2:]
    if len(channels) == 1:
        say("grey images: hue and saturation are 0, segments are fed with the value only")
    lasts = [c.last for c in cuts]
    shapes = shapes_of(subject, lasts, options.where)
    facts: dict[str, Any] = {
        "subject": str(spec),
        "dataset": subject.data.title,
        "images": len(subject.data),
        "images_sha256": subject.data.sha256,
        "weights": subject.sha256,
        "where": lab.options.where.told(),
        "plan": dataclasses.asdict(plan),
        "fed": {c.name: {"shape": list(c.shape), **c.told} for c in cuts},
    }

    lost: dict[str, int] = {}
    without: list[str] = []

    def measured(
        one: Source, of: Sequence[str], shape: Mapping[str, Sequence[int]], what: str
    ) -> dict[str, Replicates]:
        say(f"{spec}: {what}")
        units = {
            name: part.stop for name, part in whole({name: shape[name] for name in of}).items()
        }
        asked = dataclasses.replace(plan, names=tuple(of))
        told = say if one == Source(name_of) else lambda _: None  # the design is the same
        found = indices_of(lab, one, asked, units, memory, told)
        facts.update(found.facts)
        for name, n_lost in found.lost.items():
            lost[name] = lost.get(name, 0) + n_lost
        without.extend(name for name in found.without if name not in without)
        return dict(found)

    learnt = measured(
        Source(name_of, learnt=True),
        lasts,
        shapes,
        "the whole network on training images, to choose channels",
    )
    tested = measured(Source(name_of), lasts, shapes, "the whole network on test images")
    groups = [i for i, g in enumerate(facts["groups"]) if g not in OTHERS]
    names_of = [facts["groups"][i] for i in groups]
    facts["augmentations"] = names_of
    rows: dict[str, list[Any]] = {"units": [], "likeness": [], "means": []}
    maps: dict[str, dict[str, np.ndarray]] = {}
    for one in cuts:
        shape = shapes[one.last]
        if one.last not in learnt or one.last not in tested:
            continue
        found = {segmentpages.WHOLE: tested[one.last]}
        for channel in channels:
            part = measured(
                Fed(name_of, segment=one.name, channel=channel),
                [PART],
                {PART: shape},
                f"{one.name} alone, fed with {channel}",
            )
            if PART in part:
                found[channel] = part[PART]
        maps[one.name] = {where: r.maps("total", shape)[groups] for where, r in found.items()}
        before = learnt[one.last].maps("total", shape)[groups]
        chosen = {
            v: int(np.nan_to_num(before[j]).mean((1, 2)).argmax()) for j, v in enumerate(names_of)
        }
        rows["means"] += [
            (
                one.name,
                where,
                v,
                float(np.nan_to_num(m[j]).mean()),
                int(np.isnan(m[j]).sum()),
                m[j].size,
            )
            for where, m in maps[one.name].items()
            for j, v in enumerate(names_of)
        ]
        for where, m in maps[one.name].items():
            similar = (
                map_similarity(maps[one.name][segmentpages.WHOLE], m)
                if where != segmentpages.WHOLE
                else None
            )
            if similar:
                rows["likeness"] += [
                    (
                        one.name,
                        where,
                        c,
                        similar.rho[c],
                        similar.p[c],
                        similar.difference[c],
                        similar.difference_p[c],
                    )
                    for c in range(shape[0])
                ]
            rows["units"] += [
                _unit(one.name, where, v, chosen[v], before[j], m[j])
                for j, v in enumerate(names_of)
            ]
    tables = {
        name: pd.DataFrame(found, columns=list(segmentpages.COLUMNS[name]))
        for name, found in rows.items()
    }
    facts |= {"lost": lost, "without": without}
    return segmentpages.write(out, tables, maps, facts, origins.provenance(Path.cwd(), command, {}))


def _unit(
    segment: str, where: str, variable: str, channel: int, before: np.ndarray, now: np.ndarray
) -> tuple[Any, ...]:
    """A chosen channel: its mean index on the images that chose it and on test images, and its rank
    among the channels there.
    """
    level = np.nan_to_num(now).mean((1, 2))
    rank = int((level > level[channel]).sum()) + 1
    return (
        segment,
        where,
        variable,
        channel,
        float(np.nan_to_num(before[channel]).mean()),
        float(level[channel]),
        rank,
        len(level),
    )
