"""The study of H1 and H0 without pytest: for any network, and compared with the published way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from probes import table
from probes.judge import Verdicts, rises
from probes.measure import block_metrics
from probes.perturb import Perturbation, gaussian
from probes.run.bench import Bench
from probes.run.judging import judge
from probes.run.settings import Options
from probes.run.sweeping import Sweep
from probes.store import Store
from probes.studies import sections
from probes.studies.dynamics.claims import CLAIMS, claims_at
from probes.studies.dynamics.pages import FIGURES
from probes.studies.dynamics.published import PublishedMetrics
from probes.subjects import data as datasets
from probes.subjects.spec import Spec, on
from probes.tell import origins, report

LEVELS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25)
NOISE = gaussian(*LEVELS)
"""The default perturbation of the images."""
Say = Callable[[str], None]


def study(
    nets: Sequence[str],
    dataset: str,
    store: Store,
    out: Path,
    *,
    under: Perturbation = NOISE,
    options: Options | None = None,
    as_published: bool = False,
    variants: bool = False,
    command: Sequence[str] = ("probes", "run", "dynamics"),
    say: Say = lambda _: None,
) -> Path:
    """Judge H1 and H0 on each net under a perturbation, and write a report into ``out``.

    If a dataset gives claims fewer images than it has, claims are judged twice: on the number of
    images that the tests use, and on all test images (or ``options.images``). ``as_published`` adds
    the published way, corrected one step at a time. ``variants`` adds the verdict maps under other
    noise, images and precision. Raises what a sweep raises, and BadInput for a net that names a
    dataset itself.
    """
    options = options or Options()
    lines, published, robust = [], [], []
    for text in nets:
        spec = on(text, dataset)
        lines += judge(spec, store, options, claims_at(under), "dynamics", say)
        images = options.images or len(datasets.load(dataset, options.split, store))
        if as_published:
            say(f"{spec}: the published way, corrected one step at a time")
            published.append(
                steps(
                    spec,
                    store,
                    dataclasses.replace(options, images=images, until=None),
                    under.levels,
                ).assign(subject=str(spec))
            )
        if variants:
            robust.append(
                maps(
                    spec,
                    store,
                    dataclasses.replace(options, images=images, until=None),
                    under.levels,
                    say,
                ).assign(subject=str(spec))
            )
    extra = {
        name: pd.concat(parts)
        for name, parts in (("published", published), ("robustness", robust))
        if parts
    }
    run = origins.provenance(Path.cwd(), command, {})
    return report.assemble(lines, run, out, extra, sections=sections())


BATCH = 128
STEPS = (
    ("as published", PublishedMetrics(kept=True), "normalised", True),
    ("tensors as they are made", PublishedMetrics(kept=False), "normalised", True),
    ("without the clamp", PublishedMetrics(kept=False), "normalised", False),
    ("noise in pixel space", PublishedMetrics(kept=False), "pixels", True),
)
"""The published way; with correct hooks; without the clamp; with noise where images live. Then per
image: the mean, and our estimate.
"""


def steps(spec: Spec, store: Store, options: Options, levels: Sequence[float]) -> pd.DataFrame:
    """Every metric at every level, as published and after each correction, relative to clean.

    The columns are ``step, site, metric, level, change``. The change is a log-ratio, or a
    difference for the share of zeros and for the mean. The first four steps are means over batches
    of 128. Then come the mean over images, and the typical image (the trimmed mean of the
    log-ratio, as judged). The metric ``sigma_realised`` is the noise's standard deviation in
    pixels, at every step.
    """
    rows = []
    batched = dataclasses.replace(options, batch_size=BATCH)
    for name, measure, space, clamp in STEPS:
        under = gaussian(*levels, space=space, clamp=clamp)
        frame = Bench([spec], store, batched, quiet=False).sweep(measure, under=under).frame
        order = frame["image"].map(
            {image: i for i, image in enumerate(dict.fromkeys(frame["image"]))}
        )
        means = (
            frame[order % BATCH == 0]
            .groupby(["site", "level"], observed=True)[list(FIGURES)]
            .mean()
        )
        rows += [_change(name, means[m].unstack("level"), m) for m in FIGURES]
        rows.append(_realised(name, frame))
    sweep = Bench([spec], store, options, quiet=False).sweep(block_metrics, under=gaussian(*levels))
    means = sweep.frame.groupby(["site", "level"], observed=True)[list(FIGURES)].mean()
    rows += [_change("mean over images", means[m].unstack("level"), m) for m in FIGURES]
    rows.append(_realised("per image (ours)", sweep.frame))
    for metric in FIGURES:
        curves = {v.label: v.curve for v in _ask(sweep, metric)}
        rows.append(
            pd.DataFrame(
                [
                    ("per image (ours)", site, metric, row[0], row[1])
                    for site, curve in curves.items()
                    for row in curve
                ],
                columns=["step", "site", "metric", "level", "change"],
            )
        )
    return pd.concat(rows, ignore_index=True)


def _ask(sweep: Sweep, metric: str) -> Verdicts:
    sesoi = {"sparsity": "0.5 points", "mean_sum": "0.01"}.get(metric, "1 %")
    return rises(sweep, metric, by="site", sesoi=sesoi)


def _realised(step: str, frame: pd.DataFrame) -> pd.DataFrame:
    first = frame[frame["site"] == frame["site"].iloc[0]]
    found = first.groupby("level")["sigma_realised"].mean()
    rows = [(step, "", "sigma_realised", level, value) for level, value in found.items() if level]
    return pd.DataFrame(rows, columns=["step", "site", "metric", "level", "change"])


def _change(step: str, wide: pd.DataFrame, metric: str) -> pd.DataFrame:
    clean = wide.iloc[:, 0]
    ratio = table.kind_of(metric) == "ratio"
    changed = wide.div(clean, axis=0).map(np.log) if ratio else wide.sub(clean, axis=0)
    rows = [
        (step, str(site), metric, level, value)
        for site, row in changed.iloc[:, 1:].iterrows()
        for level, value in row.items()
    ]
    return pd.DataFrame(rows, columns=["step", "site", "metric", "level", "change"])


def maps(
    spec: Spec, store: Store, options: Options, levels: Sequence[float], say: Say
) -> pd.DataFrame:
    """The verdicts of H1 and H0, block by block, under other noise, images and precision.

    The columns are ``condition, claim, overall, site, verdict``. A condition differs from the first
    in one thing only.
    """
    conditions: list[tuple[str, Options, bool, int]] = [
        ("as judged", options, True, 1),
        ("no clamp", options, False, 1),
        ("noise seed 1", dataclasses.replace(options, seed=1), True, 1),
        ("noise seed 2", dataclasses.replace(options, seed=2), True, 1),
        ("3 draws", options, True, 3),
        ("training images", dataclasses.replace(options, split="train"), True, 1),
        ("bf16", dataclasses.replace(options, precision="bf16"), True, 1),
    ]
    rows = []
    for name, changed, clamp, draws in conditions:
        say(f"{spec}: verdict map, {name}")
        sweep = Bench([spec], store, changed, quiet=False).sweep(
            block_metrics, under=gaussian(*levels, clamp=clamp), draws=draws
        )
        for ident, (_, ask) in CLAIMS.items():
            found = ask(sweep)
            rows += [(name, ident, found.overall, v.label, v.outcome) for v in found]
    return pd.DataFrame(rows, columns=["condition", "claim", "overall", "site", "verdict"])
