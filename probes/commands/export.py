"""The command ``probes export``: a report for the places where people keep things."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_to(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "export", help="a report as CSV, Parquet, or runs of MLflow, TensorBoard, Weights & Biases"
    )
    parser.add_argument("folder", type=Path, help="the folder of a report")
    parser.add_argument(
        "--to",
        required=True,
        choices=("csv", "parquet", "mlflow", "wandb-offline", "tensorboard"),
        help="one run a verdict; files have one row a verdict, and the tables",
    )
    parser.add_argument(
        "--out", type=Path, help="folder to write to (default: exports/TO in this folder)"
    )


def run(given: argparse.Namespace) -> int:
    """Write the export, and say where it is."""
    from probes.judge.wording import counted
    from probes.tell.exporting import export

    out = given.out or Path("exports") / given.to
    print(f"{counted(export(given.folder, given.to, out), 'verdict')}: {out}")
    return 0
