"""A report beside the same report that was measured again: cell by cell, then verdict by
verdict.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probes.errors import ProbesError
from probes.tell import evidence
from probes.tell.verify import differences

CLOSE = 1e-4
"""How far a number may lie from that of another machine, of the spread of its column."""


@dataclasses.dataclass(frozen=True)
class Beside:
    """A claim as it was and as it is measured again. ``problems`` are empty where all agrees."""

    who: str
    cells: int
    furthest: float
    problems: tuple[str, ...]

    def __str__(self) -> str:
        how = f"at most {self.furthest:.1g} of their spread away" if self.furthest else "all equal"
        return f"{self.who}: {self.cells:,} numbers measured again, {how}"


def beside(folder: Path, again: Path) -> Iterator[Beside]:
    """Every claim of a report beside that of one that was measured again, in the order of the
    report.

    Numbers may differ by 1e-4 of the standard deviation of their column, as on another processor;
    what is counted or named, and outcomes, may not. Raises ProbesError for a folder that is no
    report.
    """
    theirs = {_key(line): line for line in evidence.read(again / "evidence.jsonl")}
    for line in evidence.read(folder / "evidence.jsonl"):
        who = f"{line['id']} on {line['subject']}"
        if (other := theirs.get(_key(line))) is None:
            yield Beside(who, 0, np.nan, (f"{who}: it was not measured again so",))
            continue
        yield _one(who, folder, line, again, other)


DESIGN = ("dataset", "images", "levels", "draws", "seed", "perturbation", "precision", "clamp")
"""What tells the designs of a claim on a subject apart."""


def _key(line: Mapping[str, Any]) -> tuple[str, str, str]:
    design = {name: line["design"].get(name) for name in DESIGN}
    return line["id"], line["subject"], json.dumps(design, sort_keys=True)


def _one(
    who: str, folder: Path, line: Mapping[str, Any], again: Path, other: Mapping[str, Any]
) -> Beside:
    problems: list[str] = []
    cells, furthest = 0, 0.0
    if len(line["inputs"]) != len(other["inputs"]):
        return Beside(who, 0, np.nan, (f"{who}: it has other tables now",))
    for i in range(len(line["inputs"])):
        was, now = evidence.load_table(folder, line, i), evidence.load_table(again, other, i)
        cells += was.select_dtypes("number").size
        try:
            far, found = _apart(was, now)
        except ProbesError as e:
            far, found = np.nan, [str(e)]
        furthest = max(furthest, far)
        problems += [f"{who}: {problem}" for problem in found]
    for which, x, y in differences(_bytes(line), _bytes(other)):
        problems.append(f"{who}: SHA-256 of {which}: it says {x}, measured again {y}")
    before, after = ([v["outcome"] for v in one["verdicts"]] for one in (line, other))
    if before != after or line["overall"] != other["overall"]:
        problems.append(
            f"{who}: it says {line['overall']} ({line['counts']}), measured again"
            f" {other['overall']} ({other['counts']})"
        )
    return Beside(who, cells, furthest, tuple(problems))


def _bytes(line: Mapping[str, Any]) -> dict[str, str]:
    """The SHA-256 of what was measured: weights and images."""
    weights = {name: str(one.get("sha256")) for name, one in line["weights"].items()}
    return weights | {"the images": str(line["design"].get("images_sha256"))}


def _apart(was: pd.DataFrame, now: pd.DataFrame) -> tuple[float, list[str]]:
    """How far two tables lie apart, of the spread of a column, and what is wrong with that."""
    if list(was.columns) != list(now.columns) or len(was) != len(now):
        raise ProbesError(
            f"its table has {len(was):,} rows of {', '.join(was.columns)}; measured again"
            f" {len(now):,} of {', '.join(now.columns)}"
        )
    furthest, problems = 0.0, []
    for name in was.columns:
        a, b = was[name].to_numpy(), now[name].to_numpy()
        if a.dtype.kind != "f" or b.dtype.kind != "f":
            wrong = np.flatnonzero(a.astype(str) != b.astype(str))
        else:
            off = np.abs(a - b) / (np.std(a) or 1.0)
            furthest = max(furthest, float(off.max(initial=0.0)))
            wrong = np.flatnonzero(off > CLOSE)
        if len(wrong):
            i = int(wrong[0])
            problems.append(
                f"{name} differs in {len(wrong):,} of {len(a):,} rows; row {i} says {a[i]},"
                f" measured again {b[i]}"
            )
    return furthest, problems
