"""The command ``probes export``: a report for the places where people keep things."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from probes.run.parsing import command


def add_to(commands: Any) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "export",
        "a report as CSV, Parquet, or runs of MLflow, TensorBoard, Weights & Biases",
        (
            "probes export reports/latest --to csv",
            "probes export reports/latest --to mlflow --out mlruns",
        ),
    )
    parser.add_argument("folder", type=Path, help="the folder of a report")
    parser.add_argument(
        "--to",
        required=True,
        choices=("csv", "parquet", "mlflow", "wandb-offline", "tensorboard"),
        help="one run a verdict; files have one row a verdict, and the tables",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder to write to, e.g. tables (default: exports/TO)",
    )


def run(given: argparse.Namespace) -> int:
    """Write the export, and say where it is."""
    from probes.judge.wording import counted
    from probes.tell.exporting import export

    out = given.out or Path("exports") / given.to
    print(f"{counted(export(given.folder, given.to, out), 'verdict')}: {out}")
    return 0
