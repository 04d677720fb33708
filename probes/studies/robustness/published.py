"""Published numbers: the errors of AlexNet that corruption errors are divided by, and tables that a
reader brings.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from probes.errors import BadInput
from probes.perturb.corrupting import CORRUPTIONS
from probes.registry import unknown

PUBLISHED_ON = "ImageNet-C"
ALEXNET = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
"""The error of AlexNet under each corruption of ImageNet-C, a mean over the five severities, as the
authors' code has it (github.com/hendrycks/robustness, ImageNet-C/test.py).
"""
COLUMNS = ("net", "corruption", "accuracy")


def read(path: Path) -> pd.DataFrame:
    """Published accuracies from a CSV with the columns ``net``, ``corruption`` and ``accuracy`` (in
    percent), and ``severity`` where a number is of one severity (else it is a mean over those of
    the run); ``corruption`` may be ``clean``.

    Raises BadInput, naming the line, for a file that can't be read, a column that is missing, an
    unknown corruption, a number outside 0 to 100, and a row that stands twice.
    """
    try:
        table = pd.read_csv(path, dtype={"net": str, "corruption": str})
    except (OSError, ValueError) as e:
        raise BadInput(f"published numbers {path}: {e}; a CSV with {', '.join(COLUMNS)}") from e
    if lacking := [name for name in COLUMNS if name not in table.columns]:
        raise BadInput(
            f"published numbers {path}: columns {', '.join(COLUMNS)} and, if need be, severity;"
            f" missing: {', '.join(lacking)}"
        )
    if "severity" not in table.columns:
        table["severity"] = float("nan")
    for line, row in enumerate(table.to_dict("records"), 2):
        where = f"published numbers {path}, line {line}"
        if not isinstance(row["net"], str):
            raise BadInput(f"{where}: it names no net")
        if row["corruption"] not in (*CORRUPTIONS, "clean"):
            raise unknown(
                f"corruption in {path}, line {line},", str(row["corruption"]), CORRUPTIONS
            )
        try:
            number, severity = float(row["accuracy"]), float(row["severity"])
        except (TypeError, ValueError) as e:
            raise BadInput(f"{where}: {e}") from e
        if not 0 <= number <= 100:
            raise BadInput(f"{where}: accuracy {number:g}; in percent it is between 0 and 100")
        if severity == severity and severity not in (1, 2, 3, 4, 5):
            raise BadInput(f"{where}: severity {severity:g}; whole numbers from 1 to 5")
    keys = ["net", "corruption", "severity"]
    if (twice := table.duplicated(keys)).any():
        raise BadInput(
            f"published numbers {path}: {table.loc[twice, keys].iloc[0].to_dict()} stands twice"
        )
    return table[[*keys, "accuracy"]]


def beside(published: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Each published accuracy beside what was measured: its rows with ``measured``, in percent, a
    mean over runs and, where no severity is named, over severities; empty for networks and
    corruptions that were not run.
    """
    mine = measured[measured["kind"] == "corruptions"]
    found = []
    for row in published.to_dict("records"):
        at = mine[mine["net"] == row["net"]]
        if row["corruption"] == "clean":
            at = at[at["level"] == 0]
        else:
            at = at[(at["perturbation"] == row["corruption"]) & (at["level"] > 0)]
            if row["severity"] == row["severity"]:
                at = at[at["level"] == row["severity"]]
        found.append(at["accuracy"].mean())
    return published.assign(measured=found)
