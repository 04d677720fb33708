"""The folder of a study of weight noise. Its rows are merged with the rows that are there, under a
lock.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from probes.errors import BadInput
from probes.naming import plain
from probes.perturb.plainweights import targets
from probes.reading import loads
from probes.studies.weight_noise import STUDY
from probes.studies.weight_noise.networks import Run
from probes.studies.weight_noise.plan import LOST, MAIN, PRIMARY, Rows, Say
from probes.studies.weight_noise.results_csv import csv_text, merge, number, read
from probes.subjects.nets import nets as known_nets
from probes.subjects.recipes import REGIMES
from probes.subjects.subject import Subject
from probes.tell import report
from probes.tell.reportfolder import PAGE

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


KEYS = {
    "summary": KEY,
    "sweep": [*KEY, "alpha_test"],
    "calibration": ["architecture", "alpha"],
    "runs": KEY,
}
COLUMNS = {"summary": SUMMARY, "sweep": SWEEP, "calibration": CALIBRATION, "runs": RUNS}


SWEPT = ("draws", "noise_seed", "images_sha256", "precision")
"""What all runs in one folder must share."""


TRAINED = ("epochs", "lr", "batch_size")
"""What the runs of one network must share. 0 epochs mean a checkpoint of unknown training."""


@dataclasses.dataclass(frozen=True)
class Folder:
    """The folder of a study, its rows and its lock. All rows share one dataset and one ``design``,
    for the networks ``nets`` and the judged seeds.
    """

    out: Path
    dataset: str
    nets: tuple[str, ...]
    judged: tuple[int, ...]
    design: Mapping[str, Any]

    def locked(self) -> FileLock:
        """The lock, beside the folder: one run merges its rows at a time."""
        self.out.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.out.with_name(f".{self.out.name}.lock"))

    def commands(self) -> list[str]:
        """The commands that made the rows, for the report."""
        try:
            text = (self.out / "run.json").read_text(encoding="utf-8")
            return str(loads(text)["command"]).splitlines()
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def aside(self) -> dict[str, bytes]:
        """Rows that did not fit and were put aside, as files of the report."""
        return {
            f"aside/{path.name}": path.read_bytes()
            for path in sorted((self.out / "aside").glob("*"))
        }

    def rows(self, say: Say = lambda _: None, new: Rows | None = None) -> Rows:
        """The rows that are there, merged with new ones. Raises BadInput if their design
        differs.
        """
        rows = {
            name: read(self.out / f"{name}.csv", COLUMNS[name], self._foreign, say, KEYS[name])
            for name in KEYS
        }
        self._refuse_another_design(rows)
        new = dict(new or {})
        # recorded rows stay
        if "calibration" in new:
            mine, known = new["calibration"], rows["calibration"]["architecture"]
            new["calibration"] = mine[~mine["architecture"].isin(known)]
        # old rows of a run whose weights have changed are dropped
        if "runs" in new:
            both = rows["runs"].merge(new["runs"], on=KEY, suffixes=("", "_new"))
            other = both[both["weights_sha256"] != both["weights_sha256_new"]][KEY]
            unknown = new["runs"][KEY].merge(rows["runs"][KEY], how="left", indicator=True)
            other = pd.concat(
                [other, unknown[unknown["_merge"] == "left_only"][KEY]]
            ).drop_duplicates()
            marked = rows["sweep"].merge(other, on=KEY, how="left", indicator=True)
            rows["sweep"] = rows["sweep"][(marked["_merge"] == "left_only").to_numpy()]
        return {
            name: merge(old, new[name], KEYS[name]) if name in new else old
            for name, old in rows.items()
        }

    def _foreign(self, row: Mapping[str, Any]) -> str:
        if row["dataset"] != self.dataset:
            return f"is of {row['dataset']}, not of {self.dataset}"
        if "regime" in row and row["regime"] not in REGIMES:
            return f"has the regime {row['regime']}"
        known = row["architecture"] in known_nets or ":" in row["architecture"]
        return "" if known else f"is of {row['architecture']}, unknown here"

    def _refuse_another_design(self, rows: Rows) -> None:
        for _, run in rows["runs"].iterrows():
            trained = run["epochs"] and run["architecture"] in self.nets
            alike = (*SWEPT, *(TRAINED if trained else ()))
            here = self.design
            if differs := [f"{n} {run[n]}, not {here[n]}" for n in alike if run[n] != here[n]]:
                raise BadInput(
                    f"{self.out} holds {run['architecture']} {run['regime']} seed {run['seed']}"
                    f" with {'; '.join(differs)}: choose another --out, or ask for the same"
                )
        calibrated = {int(s) for text in rows["calibration"]["seeds"] for s in text.split()}
        if both := sorted(calibrated & {*self.judged}):
            raise BadInput(
                f"{self.out} was calibrated on seed {both[0]}, which is to be judged: choose other"
                " seeds, or another --out"
            )


def check_places(out: Path, checkpoints: Path | None) -> None:
    """Raise BadInput for folders in which a user would lose a file, since a report replaces its
    folder.
    """
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
    ours = {*STUDY.files, *report.FILES, PAGE}
    if strange := sorted(p.name for p in out.glob("*") if p.name not in ours):
        raise BadInput(f"--out {out} holds {strange[0]}, which is not ours: choose another folder")


def measured(
    runs: Sequence[Run],
    subjects: Sequence[Subject],
    found: pd.DataFrame,
    design: Mapping[str, Any],
) -> Rows:
    """The rows of some runs, from their accuracy and loss by image."""
    groups = found.groupby(["weights", "train_seed", "level"], observed=True)
    every = groups[["correct", "loss"]].mean()
    rows: dict[str, list[dict[str, Any]]] = {"sweep": [], "summary": [], "runs": []}
    for run, subject in zip(runs, subjects, strict=True):
        means: pd.DataFrame = every.loc[(run.regime, run.seed)]  # type: ignore[assignment]
        rows["sweep"] += [
            run.row | {"alpha_test": float(str(level)), "acc": row["correct"], "loss": row["loss"]}
            for level, row in means.iterrows()
        ]
        clean, noisy = (float(means["correct"][a]) for a in (0.0, MAIN))
        rows["summary"].append(
            run.row | {"acc_0": clean, "acc_01": noisy, "drop_at_01": clean - noisy}
        )
        weights, card = targets(subject.model), subject.card or {}
        unknown = {} if "recipe" in card else {"epochs": 0, "lr": 0.0, "batch_size": 0}
        rows["runs"].append(
            {**run.row, **design, **unknown}
            | {
                "weights": card.get("origin", "trained"),
                "perturbed": " ".join(plain(subject.model, n) for n in weights),
                "weights_sha256": subject.sha256,
                "perturbed_tensors": len(weights),
                "perturbed_parameters": sum(w.numel() for w in weights.values()),
                "parameters": sum(p.numel() for p in subject.model.parameters()),
            }
        )
    return {name: with_columns(some, COLUMNS[name]) for name, some in rows.items()}


def calibrated(runs: Sequence[Run], found: pd.DataFrame) -> pd.DataFrame:
    """The loss of accuracy of a network's clean regime at each candidate alpha, over runs that are
    not judged. One of them is primary.
    """
    means = found.groupby("level")["correct"].mean()
    drops = {alpha: float(means[0.0] - means[alpha]) for alpha in PRIMARY}
    primary = next((alpha for alpha in PRIMARY if round(drops[alpha], 9) >= LOST), None)
    one = {
        "architecture": runs[0].net,
        "dataset": runs[0].dataset,
        "seeds": " ".join(str(run.seed) for run in runs),
    }
    return with_columns(
        [
            one | {"alpha": alpha, "drop": drop, "primary": "yes" if alpha == primary else "no"}
            for alpha, drop in drops.items()
        ],
        CALIBRATION,
    )


def files_of(rows: Rows) -> dict[str, bytes]:
    """The study's three files, the calibration and the origin of each run, as bytes."""
    out = {f"{name}.csv": csv_text(frame).encode() for name, frame in rows.items()}
    both = {
        name: json.loads(rows[name].to_json(orient="records", double_precision=9))
        for name in ("summary", "sweep")
    }
    return out | {"results.json": (json.dumps(both, indent=1, sort_keys=True) + "\n").encode()}


def with_columns(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, Any]) -> pd.DataFrame:
    """Rows as a table. Numbers are rounded as CSV holds them, so that a table that is read again is
    the same.
    """
    frame = pd.DataFrame(list(rows), columns=list(columns))
    floats = frame.select_dtypes("float").columns
    return frame.assign(**{name: frame[name].map(lambda v: float(f"{v:.9g}")) for name in floats})
