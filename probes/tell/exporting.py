"""A report for where people keep things: files, MLflow, TensorBoard, Weights & Biases."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from probes.errors import BadInput, Unavailable
from probes.judge.verdict import Verdict
from probes.judge.wording import counted
from probes.reading import loads
from probes.registry import unknown
from probes.tell import evidence
from probes.tell.frontpage import expected
from probes.tell.loading import Report, load
from probes.tell.markdown import Line, slug
from probes.tell.reportfolder import MANIFEST, manifest, replacing_folder

EXTRAS = {"mlflow": "mlflow", "tensorboard": "tensorboard", "wandb-offline": "wandb"}
"""The extra of this package that brings what an export needs."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One verdict as such tools keep it: a claim on a subject, in one block.

    ``params`` say what was asked, ``metrics`` what was found (after the name of what was measured
    where a claim asks several), ``curves`` the effect at each level, ``tags`` the outcome.
    """

    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    curves: Mapping[str, tuple[tuple[float, float], ...]]
    tags: Mapping[str, str]


def runs_of(report: Report) -> Iterator[Run]:
    """A run for each verdict of a report: each claim, subject and block. A claim at several numbers
    of images has them in its name.
    """
    names = [(line["id"], line["subject"]) for line in report.claims]
    for line in report.claims:
        several = names.count((line["id"], line["subject"])) > 1
        for member in evidence.members(line):
            yield _run(line, member, several)


def _run(line: Line, member: Verdict, several: bool) -> Run:
    design, leaves = line["design"], member.leaves
    label = f" {member.label}" if member.label else ""
    params = {
        "claim": line["id"],
        "subject": line["subject"],
        "block": member.label,
        "family": line.get("family") or "",
        "question": "; ".join(leaf.question for leaf in leaves),
        "sesoi": "; ".join(f"{leaf.sesoi:g}" for leaf in leaves),
        "unit": leaves[0].unit,
        "dataset": design["dataset"],
        "images": str(design["images"]),
        "draws": str(design["draws"]),
        "seed": str(design["seed"]),
        "levels": " ".join(f"{v:g}" for v in design["levels"]),
        "perturbation": design["perturbation"],
        "alpha": f"{line['alpha']:g}",
    }
    metrics: dict[str, float] = {}
    curves: dict[str, tuple[tuple[float, float], ...]] = {}
    for leaf in leaves:
        before = f"{leaf.metric}_" if len(leaves) > 1 else ""
        found = {name: getattr(leaf, name) for name in ("estimate", "low", "high", "n")}
        found |= {name: getattr(leaf, name) for name in ("p_supported", "p_refuted")}
        metrics |= {f"{before}{k}": float(v) for k, v in found.items() if math.isfinite(v)}
        curves[leaf.metric] = tuple((float(row[0]), float(row[1])) for row in leaf.curve)
    tags = {
        "verdict": member.outcome,
        "claim_verdict": line["overall"],
        "expected": expected(line),
        "sentence": line["sentence"],
    }
    size = f", {counted(design['images'], 'image')}" if several else ""
    return Run(f"{line['id']} on {line['subject']}{size}{label}", params, metrics, curves, tags)


def export(folder: Path, to: str, out: Path) -> int:
    """Write a report to ``out`` as ``csv``, ``parquet``, ``mlflow`` (a file store), ``tensorboard``
    (event files) or ``wandb-offline`` (runs that ``wandb sync`` sends). Returns the number of
    verdicts.

    Files appear all at once, with a manifest of their SHA-256, and take the place of an earlier
    export. Raises UnknownName for another place, Unavailable, with the command, where its package
    is not here, BadInput for a folder of somebody's files.
    """
    if to not in PLACES:
        raise unknown("place to export to", to, PLACES)
    report = load(folder)
    files = to in FILES
    if out.exists() and (not out.is_dir() or (files and any(out.iterdir()) and not _exported(out))):
        raise BadInput(f"--out {out}: it holds files; name an empty folder, or a new one")
    if files:
        with replacing_folder(out) as scratch:
            PLACES[to](report, scratch)
            manifest(scratch)
    else:
        out.mkdir(parents=True, exist_ok=True)
        PLACES[to](report, out)
    return sum(len(line["verdicts"]) for line in report.claims)


def _exported(out: Path) -> bool:
    """Whether a folder holds an export as files, and not a report or results, say."""
    try:
        names = loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(names, dict) and all(
        name.startswith(("verdicts.", "tables-", "claim-")) for name in names
    )


def _needed(name: str, to: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as e:
        raise Unavailable(
            f"export to {to} needs a package that is not here ({e}): pip install"
            f" 'neural-probes[{EXTRAS[to]}]'"
        ) from e


def _files(report: Report, out: Path, write: Callable[[pd.DataFrame, Path], None]) -> None:
    write(report.verdicts, out / "verdicts")
    for name, frame in report.tables.items():
        write(frame, out / f"tables-{name}")
    for line in report.claims:
        for i in range(len(line["inputs"])):
            place = slug(f"{line['id']}-{line['subject']}-{line['design']['images']}-{i}")
            write(evidence.load_table(report.folder, line, i), out / f"claim-{place}")


def _csv(report: Report, out: Path) -> None:
    def write(frame: pd.DataFrame, path: Path) -> None:
        frame.to_csv(f"{path}.csv", index=False, float_format="%.9g", lineterminator="\n")

    _files(report, out, write)


def _parquet(report: Report, out: Path) -> None:
    def write(frame: pd.DataFrame, path: Path) -> None:
        frame.attrs = {}
        frame.to_parquet(f"{path}.parquet", index=False, compression="zstd")

    _files(report, out, write)


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """A block in which a variable of the environment has a value where it had none."""
    had = os.environ.get(name)
    os.environ.setdefault(name, value)
    try:
        yield
    finally:
        if had is None:
            del os.environ[name]


def _mlflow(report: Report, out: Path) -> None:
    # newer versions ask that a file store be wanted
    with _variable("MLFLOW_ALLOW_FILE_STORE", "true"):
        mlflow = _needed("mlflow", "mlflow")
        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(out.resolve().as_uri())
        try:
            mlflow.set_experiment(f"probes {report.folder.resolve().name}")
            with mlflow.start_run(run_name=f"report {report.folder.resolve().name}"):
                for name in ("report.md", "report.html", "verdicts.csv", "run.json"):
                    if (report.folder / name).exists():
                        mlflow.log_artifact(str(report.folder / name))
                for one in runs_of(report):
                    with mlflow.start_run(run_name=one.name, nested=True):
                        mlflow.log_params(one.params)
                        mlflow.log_metrics(one.metrics)
                        mlflow.set_tags(one.tags)
                        for metric, curve in one.curves.items():
                            for step, (_, effect) in enumerate(curve):
                                mlflow.log_metric(f"effect_{metric}", effect, step=step)
        finally:
            mlflow.set_tracking_uri(before)


def _tensorboard(report: Report, out: Path) -> None:
    _needed("tensorboard", "tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    for number, one in enumerate(runs_of(report), 1):
        with SummaryWriter(str(out / f"{number:03}-{slug(one.name)}")) as writer:
            told = "\n".join(f"- {k}: {v}" for k, v in {**one.tags, **one.params}.items() if v)
            writer.add_text("verdict", told)
            for name, value in one.metrics.items():
                writer.add_scalar(name, value)
            for metric, curve in one.curves.items():
                for step, (_, effect) in enumerate(curve):
                    writer.add_scalar(f"effect/{metric}", effect, step)


def _wandb(report: Report, out: Path) -> None:
    wandb = _needed("wandb", "wandb-offline")
    quiet = wandb.Settings(silent=True, console="off", disable_git=True)
    for one in runs_of(report):
        run = wandb.init(
            project="probes",
            group=report.folder.resolve().name,
            name=one.name,
            config={**one.params, **one.tags},
            mode="offline",
            dir=str(out),
            settings=quiet,
            reinit="create_new",
        )
        for metric, curve in one.curves.items():
            for level, effect in curve:
                run.log({f"level_{metric}": level, f"effect_{metric}": effect})
        run.summary.update({**one.metrics, "verdict": one.tags["verdict"]})
        run.finish()


PLACES: dict[str, Callable[[Report, Path], None]] = {
    "csv": _csv,
    "parquet": _parquet,
    "mlflow": _mlflow,
    "wandb-offline": _wandb,
    "tensorboard": _tensorboard,
}
"""Where a report can be written to."""
FILES = ("csv", "parquet")
