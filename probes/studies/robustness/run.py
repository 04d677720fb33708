"""The study of robustness: networks beside each other under corruptions, noise, attacks and low
precision.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from probes.batch import Draw
from probes.errors import BadInput
from probes.judge import power
from probes.judge.wording import counted
from probes.perturb.protocol import Perturbation
from probes.run.bench import Bench
from probes.run.cells import images_under
from probes.run.judging import told
from probes.run.settings import Options
from probes.store import Store
from probes.studies import sections
from probes.studies.robustness import published as printed
from probes.studies.robustness import tables
from probes.studies.robustness.answers import Answers, Kept
from probes.studies.robustness.claims import Arm, claims_of, unit_of
from probes.studies.robustness.under import CORRUPTIONS, perturbations
from probes.subjects import data as datasets
from probes.subjects import pretrained
from probes.subjects.sending import pixels
from probes.subjects.spec import Spec
from probes.subjects.spec import on as named
from probes.tell import origins, report

PICTURED = 8
Say = Callable[[str], None]


def study(
    nets: Sequence[str],
    dataset: str,
    store: Store,
    out: Path,
    *,
    under: str | None = None,
    severities: Sequence[int] | None = None,
    relative_to: str | None = None,
    published: Path | None = None,
    options: Options | None = None,
    command: Sequence[str] = ("probes", "run", "robustness"),
    say: Say = lambda _: None,
) -> Path:
    """Networks under perturbations, beside each other, and the claims about them, as a report in
    ``out``.

    A network is ``net[:weights][#seed]``. If all have ``#*`` the claims are about training seeds,
    else about these checkpoints, over images. ``under`` names perturbations between commas
    (:func:`probes.studies.robustness.under.perturbations`), ``severities`` those of corruptions;
    ``relative_to`` is the network whose errors are the denominators of corruption errors, or
    ``alexnet``; ``published`` a CSV of published accuracies
    (:func:`probes.studies.robustness.published.read`). The tables are ``conditions`` (a row for
    each run, perturbation and level) and, with corruptions, ``errors``, ``reliability``,
    ``published-corruptions`` and, for images that may stand in a report, ``flips``. Raises what a
    sweep raises, and BadInput for networks that can't be told apart.
    """
    options, specs = options or Options(), _specs(nets, dataset)
    images = options.images or len(datasets.load(dataset, options.split, store))
    options = dataclasses.replace(options, images=images)
    given = None if published is None else printed.read(published)
    bench = Bench(specs, store, options, quiet=False, say=say)
    arms = _arms(specs, bench)
    data = next(iter(bench.subjects.values())).data
    asked = perturbations(under, severities, data.images.shape[1], say)
    corrupted = asked.get(CORRUPTIONS)
    if given is not None and corrupted is None:
        raise BadInput(
            f"published numbers {published}: they are of corruptions, and {under!r} names none;"
            " name some, e.g. --under corruptions"
        )
    over = tables.denominators(
        relative_to,
        [arm.name for arm in arms],
        [name for name, _ in corrupted.arms(nn.Identity())] if corrupted else [],
        corrupted.levels if corrupted else (),
        len(data.classes),
    )
    sweeps = {kind: Kept(bench.sweep(Answers(), under=one)) for kind, one in asked.items()}
    names = " and ".join(map(str, specs))
    rule = "signed rank" if unit_of(specs) == "train_seed" else "score"
    if problem := power.foresee(next(iter(sweeps.values())).design, rule, options.alpha):
        say(f"{names}: {problem}")
    found = []
    for kind, sweep in sweeps.items():
        say(f"{names}, {counted(images, 'image')}: {asked[kind].describe()}")
        frame, column = tables.named(sweep.frame), asked[kind].column
        found.append(tables.conditions(frame, kind, column, asked[kind].name))
    extra = {"conditions": pd.concat(found, ignore_index=True), "kinds": _kinds(asked)}
    if corrupted is not None:
        extra |= _corruption_tables(tables.named(sweeps[CORRUPTIONS].frame), over, relative_to)
        if data.embeddable:
            extra["flips"] = _pictured(bench, sweeps[CORRUPTIONS], corrupted)
    if given is not None:
        extra["published-corruptions"] = printed.beside(given, extra["conditions"])
    lines = [
        told(bench, ask(), (ident, sentence, "robustness"), subject)
        for ident, sentence, subject, ask in claims_of(arms, sweeps)
    ]
    return report.assemble(
        lines, origins.provenance(Path.cwd(), command, {}), out, extra, sections=sections()
    )


def _specs(nets: Sequence[str], dataset: str) -> list[Spec]:
    specs = [named(net, dataset) for net in nets]
    several = [spec for spec in specs if spec.seed == "*"]
    if several and len(several) < len(specs):
        one = next(spec for spec in specs if spec.seed != "*")
        raise BadInput(
            f"{' '.join(nets)}: {several[0].net}#* is all training seeds, {one} a single network;"
            " write #* after all of them, or after none"
        )
    return specs


def _arms(specs: Sequence[Spec], bench: Bench) -> list[Arm]:
    """The networks as the tables call them. Raises BadInput for two that are called the same."""
    firsts = [pretrained.expand(spec, bench.store)[0] for spec in specs]
    labels = [bench.subjects[str(first)].labels for first in firsts]
    names = [(str(one["net"]), str(one["weights"])) for one in labels]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise BadInput(
            f"{' '.join(map(str, specs))}: tables tell networks apart by name and weights, and"
            f" {twice[0][0]} with {twice[0][1]} stands twice; give one of the files another name,"
            f" or write {twice[0][0]}#* for training seeds, or `probes compare` for two of them"
        )
    nets = [net for net, _ in names]
    return [
        Arm(spec, net, weights, nets.count(net) > 1)
        for spec, (net, weights) in zip(specs, names, strict=True)
    ]


def _kinds(asked: Mapping[str, Perturbation]) -> pd.DataFrame:
    """What the levels of each kind are called, and what was done, in words."""
    axes = {
        kind: "bits per weight"
        if kind == "quantised"
        else f"{one.varied} ({one.unit})"
        if one.unit
        else one.varied
        for kind, one in asked.items()
    }
    rows = [(kind, axes[kind], one.describe()) for kind, one in asked.items()]
    return pd.DataFrame(rows, columns=["kind", "axis", "done"])


def _corruption_tables(
    frame: pd.DataFrame, over: Mapping[str, float] | str | None, relative_to: str | None
) -> dict[str, pd.DataFrame]:
    errors = tables.errors(frame, over)
    return {
        "errors": errors.assign(relative_to=relative_to or ""),
        "reliability": tables.reliability(frame),
    }


def _pictured(bench: Bench, sweep: Kept, under: Perturbation) -> pd.DataFrame:
    """The images whose answers change most often, as they are and as they were when an answer
    changed first, with their pixels as hexadecimal bytes.
    """
    subjects = list(bench.subjects.values())
    data, classes = subjects[0].data, subjects[0].data.classes
    raw = sweep.source.frame
    found = tables.flips(tables.named(sweep.frame)).dropna(subset=["corruption"]).head(PICTURED)
    place = {int(name): i for i, name in enumerate(data.ids)}
    arms, draw = dict(under.arms(nn.Identity())), Draw(bench.options.seed, data.name, 0)
    keys = ["image", "net", "train_seed", "corruption", "level"]
    answers = tables.named(raw).set_index(keys)["answer"]
    rows = []
    for row in found.to_dict("records"):
        one = data.take(np.array([place[int(row["image"])]]))
        alone = arms[str(row["corruption"])]
        seen = images_under(
            alone, pixels(one), one.ids, float(row["severity"]), draw, data.mean, data.std
        )
        changed = (seen[0].clamp(0, 1) * 255).round().byte().numpy()
        was, now = (
            answers.loc[(*(row[key] for key in keys[:-1]), level)]
            for level in (0.0, row["severity"])
        )
        channels, height, width = changed.shape
        rows.append(
            {
                "image": row["image"],
                "share": row["share"],
                "net": row["net"],
                "corruption": row["corruption"],
                "severity": row["severity"],
                "label": classes[int(one.labels[0])],
                "clean_answer": classes[int(np.ravel(was)[0])],
                "answer": classes[int(np.ravel(now)[0])],
                "channels": channels,
                "height": height,
                "width": width,
                "clean_pixels": np.asarray(one.images[0]).tobytes().hex(),
                "pixels": changed.tobytes().hex(),
            }
        )
    return pd.DataFrame(rows)
