"""The study of weight noise: networks trained with and without it, swept over its strength, judged
over training seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from probes.judge.wording import counted
from probes.run.settings import Options
from probes.store import Store
from probes.studies import sections
from probes.studies.weight_noise.claims import lines
from probes.studies.weight_noise.folder import (
    KEY,
    Folder,
    calibrated,
    check_places,
    files_of,
    measured,
)
from probes.studies.weight_noise.networks import Networks, Run, view_of
from probes.studies.weight_noise.plan import MAIN, PRIMARY, Plan, Rows, Say
from probes.studies.weight_noise.results_csv import keep_aside
from probes.subjects import data as datasets
from probes.subjects.dataset import Dataset
from probes.subjects.recipes import REGIMES
from probes.tell import origins, report


def study(
    nets: Sequence[str],
    dataset: str,
    store: Store,
    out: Path,
    plan: Plan,
    *,
    options: Options | None = None,
    checkpoints: Path | None = None,
    command: Sequence[str] = ("probes", "run", "weight-noise"),
    say: Say = lambda _: None,
) -> Path:
    """Train what is missing, sweep it, and merge rows, verdicts and a report into ``out``, network
    by network.

    Rows that are in ``out`` already are not made again. Several runs may share the folder. Raises
    BadInput for a folder whose rows have another design, and for a checkpoint that does not fit;
    and what training and a sweep raise.
    """
    options, out = options or Options(), out.resolve()
    check_places(out, checkpoints)
    where = options.where  # an error before the work, where there is no such device
    data = datasets.load(view_of(dataset), options.split, store).sample(options.images)
    say(
        f"weight noise on {dataset}: {len(data):,} test images, on {where.device},"
        f" {counted(where.threads, 'thread')}"
    )
    folder = Folder(out, dataset, tuple(nets), plan.seeds, _design(plan, data, options))
    with folder.locked():
        for name in ("summary.csv", "sweep.csv"):
            if (out / name).exists() and not (out / "runs.csv").exists():
                kept = keep_aside(out / name)
                say(
                    f"{name}: rows of unknown origin, which are not judged; those of runs that are"
                    f" made here are replaced, the file as it was is in aside/{kept.name}"
                )
        folder.rows()
    runs = _runs(nets, dataset, plan, checkpoints)
    networks = Networks(runs, store, data, options, say)
    networks.check()
    for net in nets:
        with folder.locked():
            rows = folder.rows(say)
        new: Rows = {}
        primary = _primary(rows["calibration"], net)
        if not plan.quick and primary is None:
            others = networks.of(net, judged=False)
            say(
                f"{net}@{dataset}: its primary alpha, on seeds"
                f" {' '.join(str(run.seed) for run in others)}"
            )
            _, found = networks.swept(others, (0.0, *PRIMARY), plan.draws)
            new["calibration"] = calibrated(others, found)
            primary = _primary(new["calibration"], net)
        wanted = {*plan.alphas, MAIN, *([] if plan.quick or primary is None else [primary])}
        alphas = tuple(sorted(wanted))
        if todo := _lacking(networks.of(net, judged=True), alphas, rows, say):
            say(
                f"{net}@{dataset}: {counted(len(todo), 'run')} at alpha"
                f" {' '.join(f'{a:g}' for a in alphas)}, {counted(plan.draws, 'draw')}"
            )
            subjects, found = networks.swept(todo, alphas, plan.draws)
            new |= measured(todo, subjects, found, folder.design)
        with folder.locked():
            rows = folder.rows(say, new)
            run = origins.provenance(Path.cwd(), command, {})
            run["command"] = "\n".join(dict.fromkeys([*folder.commands(), run["command"]]))
            told = lines(rows, plan, data, options, store, say)
            files = files_of(rows) | folder.aside()
            report.assemble(told, run, out, files=files, sections=sections())
    return out


def _design(plan: Plan, data: Dataset, options: Options) -> dict[str, Any]:
    """What all rows of a folder share: training, draws, seed, images and precision."""
    return {
        "epochs": plan.epochs,
        "lr": plan.lr,
        "batch_size": plan.batch_size,
        "draws": plan.draws,
        "noise_seed": options.seed,
        "images": len(data),
        "images_sha256": data.sha256,
        "precision": options.precision,
    }


def _runs(nets: Sequence[str], dataset: str, plan: Plan, checkpoints: Path | None) -> list[Run]:
    """The training runs of all networks: the judged ones, and the clean ones that calibrate."""
    found = []
    asked = [
        *((regime, seed, True) for regime in REGIMES for seed in plan.seeds),
        *(("clean", seed, False) for seed in ([] if plan.quick else plan.others)),
    ]
    for net in nets:
        for regime, seed, judged in asked:
            recipe = plan.recipes[regime]
            names = dict.fromkeys(
                f"{net}_{regime}_seed{seed}_a{alpha}.pt"
                for alpha in (recipe.alpha_train, plan.alpha_train)
            )
            files = tuple(checkpoints / dataset / name for name in names) if checkpoints else ()
            found.append(Run(net, regime, seed, dataset, recipe, files, judged))
    return found


def _primary(calibration: pd.DataFrame, net: str) -> float | None:
    """The primary alpha of a calibrated network, or the largest candidate if none costs enough.
    None for a network that was not calibrated.
    """
    mine = calibration[calibration["architecture"] == net]
    if mine.empty:
        return None
    chosen = mine[mine["primary"] == "yes"]["alpha"]
    return float(chosen.iloc[0]) if len(chosen) else PRIMARY[-1]


def _lacking(runs: Sequence[Run], alphas: Sequence[float], rows: Rows, say: Say) -> list[Run]:
    """The runs that lack a row at some alpha. Rows count if their origin is known and they are
    complete.
    """
    known = rows["sweep"].merge(rows["runs"][KEY]).merge(rows["summary"][KEY])
    done: dict[Any, set] = dict(known.groupby(KEY)["alpha_test"].agg(set)) if len(known) else {}
    lacking = []
    for run in runs:
        if {*alphas} <= done.get(tuple(run.row[name] for name in KEY), set()):
            say(f"{run.title}: already in the folder")
        else:
            lacking.append(run)
    return lacking
