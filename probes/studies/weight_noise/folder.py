"""The folder of a study of weight noise: its rows, merged with those that are there, under a
lock."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from probes.errors import BadInput
from probes.run.settings import Options
from probes.studies.weight_noise import STUDY
from probes.studies.weight_noise.plan import Plan, Rows, Say
from probes.studies.weight_noise.rows import csv_text, merge, number, read
from probes.subjects.dataset import Dataset
from probes.subjects.nets import nets as known_nets
from probes.subjects.recipes import REGIMES
from probes.tell import report

RUN: dict[str, Any] = {
    "architecture": str,
    "regime": str,
    "seed": int,
    "dataset": str,
    "alpha_train": number,
}


SUMMARY: dict[str, Any] = RUN | {"acc_0": number, "acc_01": number, "drop_at_01": number}


SWEEP: dict[str, Any] = RUN | {"alpha_test": number, "acc": number, "loss": number}


CALIBRATION: dict[str, Any] = {
    "architecture": str,
    "dataset": str,
    "seeds": str,
    "alpha": number,
    "drop": number,
    "primary": str,
}


RUNS: dict[str, Any] = RUN | {
    "epochs": int,
    "lr": number,
    "batch_size": int,
    "draws": int,
    "noise_seed": int,
    "images": int,
    "images_sha256": str,
    "precision": str,
    "weights": str,
    "weights_sha256": str,
    "perturbed_tensors": int,
    "perturbed_parameters": int,
    "parameters": int,
    "perturbed": str,
}


KEY = ["architecture", "regime", "seed", "alpha_train"]


SWEPT = ("draws", "noise_seed", "images_sha256", "precision")
"""What all runs in one folder must share."""


TRAINED = ("epochs", "lr", "batch_size")
"""What the runs of one network must share; 0 epochs stand for a checkpoint of unknown training."""


def locked(out: Path) -> FileLock:
    """The lock of a folder, beside it: one run merges its rows at a time."""
    out.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(out.with_name(f".{out.name}.lock"))


def commands_of(out: Path) -> list[str]:
    """The commands whose rows are in a folder, as its report tells them."""
    try:
        return str(
            json.loads((out / "run.json").read_text(encoding="utf-8"))["command"]
        ).splitlines()
    except (OSError, ValueError, KeyError, TypeError):
        return []


def check_places(out: Path, checkpoints: Path | None) -> None:
    """BadInput for places that would cost somebody a file: a report replaces its folder."""
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out {out} is a file: choose a folder")
    if checkpoints is not None and checkpoints.exists() and not checkpoints.is_dir():
        raise BadInput(f"--checkpoints {checkpoints} is a file: choose a folder")
    if checkpoints is not None and (
        out == checkpoints.resolve() or out in checkpoints.resolve().parents
    ):
        raise BadInput(
            f"--checkpoints {checkpoints} lies in --out {out}, which a report replaces: keep the"
            " two apart"
        )
    ours = {*STUDY.files, *report.FILES}
    if strange := sorted(p.name for p in out.glob("*") if p.name not in ours):
        raise BadInput(f"--out {out} holds {strange[0]}, which is not ours: choose another folder")


def kept_aside(out: Path) -> dict[str, bytes]:
    """Rows that did not fit and were put aside, as files of the report."""
    return {f"aside/{path.name}": path.read_bytes() for path in sorted((out / "aside").glob("*"))}


def opened_rows(
    out: Path, nets: Sequence[str], plan: Plan, say: Say, new: Rows, data: Dataset, options: Options
) -> Rows:
    """The rows of a folder, and new ones merged in; BadInput where the folder's design is
    another."""

    def foreign(row: Mapping[str, Any]) -> str:
        if row["dataset"] != plan.dataset:
            return f"is of {row['dataset']}, not of {plan.dataset}"
        if "regime" in row and row["regime"] not in REGIMES:
            return f"has the regime {row['regime']}"
        return (
            ""
            if row["architecture"] in known_nets or ":" in row["architecture"]
            else f"is of {row['architecture']}, unknown here"
        )

    keys = {
        "summary": KEY,
        "sweep": [*KEY, "alpha_test"],
        "calibration": ["architecture", "alpha"],
        "runs": KEY,
    }
    columns = {"summary": SUMMARY, "sweep": SWEEP, "calibration": CALIBRATION, "runs": RUNS}
    rows = {
        name: read(out / f"{name}.csv", columns[name], foreign, say, keys[name]) for name in keys
    }
    here = design_of(plan, data, options)
    for _, run in rows["runs"].iterrows():
        alike = (*SWEPT, *(TRAINED if run["epochs"] and run["architecture"] in nets else ()))
        if differs := [f"{n} {run[n]}, not {here[n]}" for n in alike if run[n] != here[n]]:
            raise BadInput(
                f"{out} holds {run['architecture']} {run['regime']} seed {run['seed']} with"
                f" {'; '.join(differs)}: choose another --out, or ask for the same"
            )
    calibrated = rows["calibration"]
    if both := sorted(
        {int(s) for text in calibrated["seeds"] for s in text.split()} & {*plan.seeds}
    ):
        raise BadInput(
            f"{out} was calibrated on seed {both[0]}, which is to be judged: choose other seeds, or"
            " another --out"
        )
    if "calibration" in new:  # what is recorded stays
        mine = new["calibration"]
        new = new | {"calibration": mine[~mine["architecture"].isin(calibrated["architecture"])]}
    if "runs" in new:  # a run that was made again with other weights leaves none of its old rows
        both_runs = rows["runs"].merge(new["runs"], on=KEY, suffixes=("", "_new"))
        other = both_runs[both_runs["weights_sha256"] != both_runs["weights_sha256_new"]][KEY]
        unknown_origin = new["runs"][KEY].merge(rows["runs"][KEY], how="left", indicator=True)
        other = pd.concat(
            [other, unknown_origin[unknown_origin["_merge"] == "left_only"][KEY]]
        ).drop_duplicates()
        marked = rows["sweep"].merge(other, on=KEY, how="left", indicator=True)
        rows["sweep"] = rows["sweep"][(marked["_merge"] == "left_only").to_numpy()]
    return {
        name: merge(old, new[name], keys[name]) if name in new else old
        for name, old in rows.items()
    }


def design_of(plan: Plan, data: Dataset, options: Options) -> dict[str, Any]:
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


def files_of(rows: Rows) -> dict[str, bytes]:
    """The study's three files, the calibration and what each run was, as bytes."""
    out = {f"{name}.csv": csv_text(frame).encode() for name, frame in rows.items()}
    both = {
        name: json.loads(rows[name].to_json(orient="records", double_precision=9))
        for name in ("summary", "sweep")
    }
    return out | {"results.json": (json.dumps(both, indent=1, sort_keys=True) + "\n").encode()}


def with_columns(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, Any]) -> pd.DataFrame:
    """Rows as a table, numbers rounded as CSV holds them, so that a table read again is the
    same."""
    frame = pd.DataFrame(list(rows), columns=list(columns))
    floats = frame.select_dtypes("float").columns
    return frame.assign(**{name: frame[name].map(lambda v: float(f"{v:.9g}")) for name in floats})
