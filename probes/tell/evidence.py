"""Evidence: one JSON line per judged claim, with the SHA-256 of the tables that it was judged
on."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from probes import table
from probes.atomic import scratch
from probes.errors import ProbesError
from probes.judge import verdict as verdicts
from probes.judge.verdict import Verdict, Verdicts
from probes.reading import loads
from probes.store import Store, sha256

SCHEMA = 1


def deposit(thing: pd.DataFrame | np.ndarray, store: Store) -> dict[str, str]:
    """Keep a table (Parquet) or an array (npy) in the store by its own bytes; its SHA-256 and its
    place.
    """
    suffix = ".npy" if isinstance(thing, np.ndarray) else ".parquet"
    thing = thing if isinstance(thing, np.ndarray) else table.written(thing)
    folder = store.folder / "evidence"
    with scratch(folder / f"new{suffix}") as temporary:
        if isinstance(thing, np.ndarray):
            with open(temporary, "wb") as f:
                np.save(f, thing)
        else:
            thing.to_parquet(temporary, index=False, compression="zstd", compression_level=9)
        digest = sha256(temporary)
        os.replace(temporary, folder / f"{digest}{suffix}")
    return {"sha256": digest, "file": str(folder / f"{digest}{suffix}")}


def line(
    found: Verdicts,
    *,
    claim: Mapping[str, Any],
    subject: str,
    designs: Sequence[Mapping[str, Any]],
    inputs: Sequence[Mapping[str, str]],
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """The evidence of one claim on one subject, as JSON values.

    ``claim`` holds id, sentence, family, test and expectation; ``inputs`` are deposits, one per
    part of the question, and ``designs`` what each of these tables was made for, in the same order.
    """
    record = {
        "schema": SCHEMA,
        **claim,
        "subject": subject,
        "overall": found.overall,
        "judged": found.judged,
        "counts": found.counts(),
        "alpha": found.alpha,
        "scope": found.scope,
        "question": dict(found.spec),
        "verdicts": [v.json() for v in found],
        "inputs": [dict(i) for i in inputs],
        "design": dict(designs[0]),
        **(
            {
                "until": {
                    "images": found.until,
                    "looks": [dataclasses.asdict(look) for look in found.path],
                }
            }
            if found.path
            else {}
        ),
        **(
            {"designs": [dict(d) for d in designs]} if any(d != designs[0] for d in designs) else {}
        ),
        **extra,
    }
    return json.loads(json.dumps(verdicts.plain(record), allow_nan=False))


SHAPE = {
    "id": str,
    "subject": str,
    "overall": str,
    "alpha": float,
    "question": dict,
    "verdicts": list,
    "inputs": list,
    "design": dict,
}


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of an ``evidence.jsonl``; ProbesError, with the line's number, where one is
    none."""
    lines = []
    if not path.is_file():
        raise ProbesError(f"{path}: no such file; is it the folder of a report?")
    for i, raw in enumerate(path.read_bytes().splitlines(), 1):
        try:
            text = raw.decode("utf-8")
            record = loads(text)
            if record["schema"] != SCHEMA:
                raise ProbesError(
                    f"{path}, line {i}: schema {record['schema']}, this version reads {SCHEMA}"
                )
            for name, kind in SHAPE.items():
                if not isinstance(record[name], kind):
                    raise TypeError(f"{name} is {type(record[name]).__name__}")
            if not 0 < record["alpha"] < 1:
                raise ValueError(f"alpha is {record['alpha']}")
            members(record)
            _inside(record)
            lines.append(record)
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise ProbesError(f"{path}, line {i}: no evidence ({type(e).__name__}: {e})") from e
    return lines


def run_of(folder: Path) -> dict[str, Any]:
    """What made a report: its ``run.json``. ProbesError where it is none."""
    path = folder / "run.json"
    try:
        run = loads(path.read_text(encoding="utf-8"), written=True)
        for name, kind in RUN.items():
            if name in run and not isinstance(run[name], kind):
                raise TypeError(f"{name} is {type(run[name]).__name__}")
        if not {"command", "probes"} <= set(run):
            raise ValueError("it does not say which command of which version made it")
        if any(not isinstance(one, dict) for one in run.get("not_judged", [])):
            raise TypeError("not_judged holds more than claims")
    except (OSError, ValueError, TypeError, AttributeError) as e:
        raise ProbesError(f"{path} can't be read: {e}") from e
    return dict(run)


RUN: dict[str, Any] = {
    "command": str,
    "probes": str,
    "commit": str | None,
    "dirty": bool | None,
    "complete": bool,
    "not_judged": list,
    "packages": dict,
    "options": dict,
}
"""What a report says of its run, and what it is; a folder outside a checkout has no commit."""


def _inside(record: Mapping[str, Any]) -> None:
    """ValueError where a line names a file outside the folder of its report."""
    for entry in [*record["inputs"], record.get("summary"), record.get("examples")]:
        if entry is not None:
            place = PurePosixPath(str(entry["file"]))
            if place.is_absolute() or ".." in place.parts or "\0" in str(place):
                raise ValueError(f"its file {str(place)!r} lies outside the report")


def level_of(record: Mapping[str, Any]) -> float:
    """The level that the intervals of a line were made at: its alpha, or that of its last look."""
    looks = (record.get("until") or {}).get("looks")
    return looks[-1]["level"] if looks else record["alpha"]


def varied(record: Mapping[str, Any]) -> str:
    """What the levels of a line are called: ``noise σ``, ``alpha``, ``strength``; of an older line
    read from its words.
    """
    design = record.get("design", {})
    if "varied" in design:
        return str(design["varied"])
    kind = str(design.get("perturbation", ""))
    for begins, word in (
        ("weight noise", "alpha"),
        ("gaussian", "noise σ"),
        ("masks of", "mask"),
        ("augmentations", "augmentation"),
    ):
        if kind.startswith(begins):
            return word
    return "strength" if "noise on the outputs" in kind else "level"


def untrained(record: Mapping[str, Any]) -> list[str]:
    """The subjects of a line whose weights are random."""
    return [
        name
        for name, weights in record.get("weights", {}).items()
        if weights.get("origin") == "untrained"
    ]


def perturbed(record: Mapping[str, Any]) -> list[str]:
    """Which weights were changed, a sentence per network: how many layers, what share of all its
    weights.
    """
    found = []
    for net, tensors in (record.get("perturbed") or {}).items():
        numbers, every = sum(tensors.values()), record.get("parameters", {}).get(net)
        share = f", {numbers / every:.1%} of its parameters" if every else ""
        names = list(tensors)
        some = ", ".join(names if len(names) <= 6 else [*names[:3], "...", names[-1]])
        verb = "is" if len(names) == 1 else "are"
        found.append(
            f"changed {verb} {verdicts.counted(len(names), 'weight tensor')} of {net},"
            f" {numbers:,} numbers{share}: {some}"
        )
    return found


def sentence(member: Mapping[str, Any]) -> str:
    """A verdict of an evidence line as it prints itself."""
    return str(verdicts.from_json(member))


def members(record: Mapping[str, Any]) -> list[Verdict]:
    """The verdicts of an evidence line, one per block."""
    return [verdicts.from_json(v) for v in record["verdicts"]]


def whole(folder: Path, record: Mapping[str, Any], entry: Mapping[str, Any]) -> Path:
    """The file of an entry of a line; ProbesError when it is missing or its SHA-256 differs."""
    path = folder / str(entry["file"])
    if not path.is_file():
        raise ProbesError(
            f"{record['id']} on {record['subject']}: its input {entry['file']} is missing"
        )
    if sha256(path) != entry["sha256"]:
        raise ProbesError(
            f"{record['id']} on {record['subject']}: its input {entry['file']} was changed (SHA-256"
            " differs)"
        )
    return path


def load_table(folder: Path, record: Mapping[str, Any], i: int) -> pd.DataFrame:
    """The table that part ``i`` of a line was judged on; ProbesError when it is missing or its
    SHA-256 differs.
    """
    return table.read(whole(folder, record, record["inputs"][i]))
