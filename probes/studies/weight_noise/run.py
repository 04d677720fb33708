"""The study of weight noise: networks trained with and without it, swept over its strength, judged
over training seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from probes.errors import BadInput
from probes.measure import accuracy
from probes.naming import plain
from probes.perturb import weight_noise
from probes.perturb.plainweights import targets
from probes.run.bench import Bench
from probes.run.settings import Options
from probes.store import Store
from probes.studies import sections
from probes.studies.weight_noise.checkpoints import checkpoint_of, from_checkpoint, subject_of
from probes.studies.weight_noise.claims import lines
from probes.studies.weight_noise.folder import (
    CALIBRATION,
    KEY,
    RUNS,
    SUMMARY,
    SWEEP,
    check_places,
    commands_of,
    design_of,
    files_of,
    kept_aside,
    locked,
    opened_rows,
    with_columns,
)
from probes.studies.weight_noise.plan import LOST, MAIN, PRIMARY, Plan, Rows, Say
from probes.studies.weight_noise.rows import keep_aside
from probes.subjects import data as datasets
from probes.subjects import training
from probes.subjects.dataset import Dataset
from probes.subjects.recipes import REGIMES
from probes.subjects.subject import Subject
from probes.tell import origins, report


def study(
    nets: Sequence[str],
    plan: Plan,
    store: Store,
    out: Path,
    *,
    options: Options | None = None,
    checkpoints: Path | None = None,
    command: Sequence[str] = ("probes", "run", "weight-noise"),
    say: Say = lambda _: None,
) -> Path:
    """Train what is missing, sweep it, and merge rows, verdicts and a report into ``out``, net by
    net.

    Rows that are in ``out`` already are not made again; several runs may share the folder. Raises
    BadInput for a folder whose rows have another design, and for a checkpoint that does not fit;
    and what training and a sweep raise.
    """
    options, out = options or Options(), out.resolve()
    check_places(out, checkpoints)
    where = options.where  # an error before the work, where there is no such device
    data = datasets.load(plan.view, options.split, store).sample(options.images)
    say(
        f"weight noise on {plan.dataset}: {len(data):,} test images, on {where.device},"
        f" {where.threads} threads"
    )
    with locked(out):
        for name in ("summary.csv", "sweep.csv"):
            if (out / name).exists() and not (out / "runs.csv").exists():
                kept = keep_aside(out / name)
                say(
                    f"{name}: rows of unknown origin, which are not judged; those of runs that are"
                    f" made here are replaced, the file as it was is in aside/{kept.name}"
                )
        opened_rows(out, nets, plan, lambda _: None, {}, data, options)
    for net in nets:
        _try(net, plan, data, checkpoints)
    for net in nets:
        with locked(out):
            rows = opened_rows(out, nets, plan, say, {}, data, options)
        new = _one(net, plan, store, data, options, checkpoints, rows, say)
        with locked(out):
            rows = opened_rows(out, nets, plan, say, new, data, options)
            run = origins.provenance(Path.cwd(), command, {})
            run["command"] = "\n".join(dict.fromkeys([*commands_of(out), run["command"]]))
            found = lines(rows, plan, data, options, store, say)
            report.assemble(
                found, run, out, files=files_of(rows) | kept_aside(out), sections=sections()
            )
    return out


def _try(net: str, plan: Plan, data: Dataset, checkpoints: Path | None) -> None:
    """Whether a network can be built, run on these images and perturbed, and its checkpoints read:
    an error before the work.
    """
    model = training.initial(net, data, plan.seeds[0]).eval()
    targets(model)
    try:
        with torch.inference_mode():
            model(torch.zeros(2, *data.images.shape[1:]))
    except (RuntimeError, IndexError) as e:
        raise BadInput(
            f"{net} can't run on images of {' x '.join(map(str, data.images.shape[1:]))}:"
            f" {str(e).splitlines()[0]}"
        ) from e
    for regime in REGIMES:
        for seed in plan.seeds:
            if there := checkpoint_of(net, regime, seed, plan, checkpoints):
                from_checkpoint(there, net, regime, seed, plan, data)


def _one(
    net: str,
    plan: Plan,
    store: Store,
    data: Dataset,
    options: Options,
    checkpoints: Path | None,
    rows: Rows,
    say: Say,
) -> Rows:
    """The new rows of one network: its calibration, then both regimes at every seed that the folder
    lacks.
    """
    new: Rows = {}
    calibration = rows["calibration"]
    calibration = calibration[calibration["architecture"] == net]
    if not plan.quick and calibration.empty:
        say(f"{net}@{plan.dataset}: its primary alpha, on seeds {' '.join(map(str, plan.others))}")
        new["calibration"] = calibration = calibrate(
            net, plan, store, data, options, checkpoints, say
        )
    primary = (
        []
        if plan.quick
        else list(calibration[calibration["primary"] == "yes"]["alpha"]) or [PRIMARY[-1]]
    )
    alphas = tuple(sorted({*plan.alphas, MAIN, *primary}))
    known = (
        rows["sweep"].merge(rows["runs"][KEY]).merge(rows["summary"][KEY])
    )  # of known origin, and whole
    done: dict[Any, set] = dict(known.groupby(KEY)["alpha_test"].agg(set)) if len(known) else {}
    todo = []
    for regime in REGIMES:
        for seed in plan.seeds:
            key = (net, regime, seed, plan.recipe(regime).alpha_train)
            if key in done and set(alphas) <= done[key]:
                say(f"{net}@{plan.dataset} {regime} seed {seed}: its rows are in the folder")
            else:
                todo.append((regime, seed))
    if not todo:
        return new
    subjects = {
        f"{net}:{regime}@{plan.view}#{seed}": subject_of(
            net, regime, seed, plan, store, data, checkpoints, say
        )
        for regime, seed in todo
    }
    say(
        f"{net}@{plan.dataset}: {len(subjects)} runs at alpha {' '.join(f'{a:g}' for a in alphas)},"
        f" {plan.draws} draws"
    )
    found = _sweep(subjects, alphas, plan, store, options).groupby(
        ["weights", "train_seed", "level"], observed=True
    )
    sweep, summary, runs = [], [], []
    means = found[["correct", "loss"]].mean()
    for subject in subjects.values():
        regime, seed = subject.weights, int(subject.spec.seed or 0)
        run: dict[str, Any] = {
            "architecture": net,
            "regime": regime,
            "seed": seed,
            "dataset": plan.dataset,
        }
        run |= {"alpha_train": plan.recipe(regime).alpha_train}
        mine = means.xs((regime, seed))
        sweep += [
            run | {"alpha_test": float(str(level)), "acc": row["correct"], "loss": row["loss"]}
            for level, row in mine.iterrows()
        ]
        clean, noisy = (float(mine["correct"][a]) for a in (0.0, MAIN))
        summary.append(run | {"acc_0": clean, "acc_01": noisy, "drop_at_01": clean - noisy})
        weights, card = targets(subject.model), subject.card or {}
        unknown = {} if "recipe" in card else {"epochs": 0, "lr": 0.0, "batch_size": 0}
        runs.append(
            run
            | design_of(plan, data, options)
            | unknown
            | {
                "weights": card.get("origin", "trained"),
                "perturbed": " ".join(plain(subject.model, n) for n in weights),
                "weights_sha256": subject.sha256,
                "perturbed_tensors": len(weights),
                "perturbed_parameters": sum(w.numel() for w in weights.values()),
                "parameters": sum(p.numel() for p in subject.model.parameters()),
            }
        )
    return new | {
        "sweep": with_columns(sweep, SWEEP),
        "summary": with_columns(summary, SUMMARY),
        "runs": with_columns(runs, RUNS),
    }


def calibrate(
    net: str,
    plan: Plan,
    store: Store,
    data: Dataset,
    options: Options,
    checkpoints: Path | None = None,
    say: Say = lambda _: None,
) -> pd.DataFrame:
    """The loss of accuracy of the clean regime at each candidate alpha, over seeds that nobody
    judges; one is primary.
    """
    subjects = {
        f"{net}:clean@{plan.view}#{seed}": subject_of(
            net, "clean", seed, plan, store, data, checkpoints, say
        )
        for seed in plan.others
    }
    means = (
        _sweep(subjects, (0.0, *PRIMARY), plan, store, options).groupby("level")["correct"].mean()
    )
    drops = {alpha: float(means[0.0] - means[alpha]) for alpha in PRIMARY}
    primary = next((alpha for alpha in PRIMARY if round(drops[alpha], 9) >= LOST), None)
    seeds = " ".join(map(str, plan.others))
    return with_columns(
        [
            {
                "architecture": net,
                "dataset": plan.dataset,
                "seeds": seeds,
                "alpha": alpha,
                "drop": drop,
                "primary": "yes" if alpha == primary else "no",
            }
            for alpha, drop in drops.items()
        ],
        CALIBRATION,
    )


def _sweep(
    subjects: dict[str, Subject],
    alphas: Sequence[float],
    plan: Plan,
    store: Store,
    options: Options,
) -> pd.DataFrame:
    lab = Bench([s.spec for s in subjects.values()], store, options, quiet=False, subjects=subjects)
    return lab.sweep(
        accuracy, under=weight_noise(*alphas), draws=plan.draws, per_run=True
    ).frame.astype({"correct": float, "loss": float})
