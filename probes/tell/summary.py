"""Reports in short, as one JSON value: what was claimed, expected and found, what a comparison
answered, and whether the code changed since. No torch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from probes import __version__
from probes.tell import evidence, origins, terminal

SCHEMA = 1
SCHEMA_FILE = Path(__file__).with_name("summary.schema.json")
"""The JSON Schema of a summary."""
STATES = ("passed", "open", "failed")
"""What a report comes to, from best to worst."""
COMPARED = "tables/compare.csv"
ANSWERED = {"worse": "failed", "open": "open"}


def summary(folders: Sequence[Path], root: Path | None = None) -> dict[str, Any]:
    """The summary of reports, as JSON values (:data:`SCHEMA_FILE`).

    A report has *failed* where a claim did not come out as expected or met an error, where its run
    was interrupted, or where a comparison found the new network worse; it is *open* where a
    comparison is, else *passed*. Claims without an expectation, such as those of a study, are told
    and decide nothing. ``root`` is the checkout whose commits are counted (default: the current
    folder). Raises ProbesError for a folder that is no report.
    """
    reports = [_report(folder, root or Path.cwd()) for folder in folders]
    state = max((one["state"] for one in reports), key=STATES.index)
    return {
        "schema": SCHEMA,
        "probes": __version__,
        "state": state,
        "words": "; ".join(dict.fromkeys(one["words"] for one in reports)),
        "reports": reports,
    }


def _report(folder: Path, root: Path) -> dict[str, Any]:
    lines = evidence.read(folder / "evidence.jsonl")
    run = evidence.run_of(folder)
    claims = [_claim(line) for line in lines]
    lost = [
        {name: str(one.get(name, "")) for name in ("id", "subject", "outcome", "why")}
        for one in run.get("not_judged", [])
    ]
    compared = _comparison(folder)
    bad = any(one["passed"] is False for one in claims) or any(
        one["outcome"] in ("error", "failed") for one in lost
    )
    answer = ANSWERED.get(compared["answer"], "passed") if compared else "passed"
    states = [answer, "failed" if bad or not run.get("complete", True) else "passed"]
    return {
        "folder": folder.as_posix(),
        "state": max(states, key=STATES.index),
        "words": compared["said"] if compared else terminal.count(lines, lost),
        "command": str(run["command"]),
        "commit": run.get("commit"),
        "dirty": bool(run.get("dirty")),
        "complete": bool(run.get("complete", True)),
        "older": origins.older(run, root),
        "comparison": compared,
        "claims": claims,
        "not_judged": lost,
    }


def _claim(line: Mapping[str, Any]) -> dict[str, Any]:
    members = evidence.members(line)
    leaves = [leaf for member in members for leaf in member.leaves]
    one = leaves[0].effect() if len(leaves) == 1 else ""
    counts = Counter(member.outcome for member in members)
    expected = line["expect"][0] if line.get("expect") and not line.get("altered") else None
    if expected is None and line.get("test") and not line.get("altered"):
        expected = "supported"
    return {
        "id": line["id"],
        "subject": line["subject"],
        "family": line.get("family", ""),
        "sentence": line["sentence"],
        "verdict": line["overall"],
        "expected": expected,
        "passed": bool(line["passed"]) if "passed" in line else None,
        "judged": bool(line["judged"]),
        "images": line["design"]["images"],
        "blocks": dict(counts),
        "effect": one,
        "scope": line["scope"],
    }


def _comparison(folder: Path) -> dict[str, Any] | None:
    """What a comparison answered; None for a report that is none."""
    path = folder / COMPARED
    if not path.is_file():
        return None
    table = pd.read_csv(path, keep_default_na=False, na_values=["nan"], dtype={"margin": str})
    if not {"overall", "said", "effect"} <= set(table.columns):
        return None
    first = table.iloc[0]
    names = ("metric", "condition", "answer", "margin", "unit", "effect", "why")
    numbers = ("difference", "low", "high", "old", "new")
    return {
        "answer": str(first["overall"]),
        "old": str(first["old_network"]),
        "new": str(first["new_network"]),
        "alpha": float(first["alpha"]),
        "said": str(first["said"]),
        "rows": [
            {name: str(row[name]) for name in names}
            | {name: _finite(row[name]) for name in numbers}
            | {"n": int(row["n"])}
            for row in table.to_dict("records")
        ],
    }


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
