"""The ledger of looks: every verdict that a run of claims reached, a line each, beside the claims.

It is meant to be committed. A run that repeats a recorded line adds none, so a clone stays clean;
another number of images, draws or training runs, another seed, alpha, question or sentence is
another look at the same data. The looks of a claim on a subject may spend its alpha between them,
and no more, so removing a store or a report hides nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager as ContextManager
from pathlib import Path
from typing import Any

from probes.errors import ProbesError
from probes.reading import loads

NAME = "probes-looks.jsonl"
DESIGN = ("images", "images_sha256", "draws", "levels", "seed", "runs", "perturbation", "part")
MORE = ("precision", "split", "clamp", "space")

Entry = dict[str, Any]


def entry(line: Mapping[str, Any]) -> Entry:
    """What the ledger keeps of an evidence line: what was asked of which data, and the answer."""
    from probes.judge.questions import normal

    designs = line.get("designs") or [line["design"]]
    return {
        "claim": line["id"],
        "subject": line["subject"],
        "dataset": designs[0]["dataset"],
        "sentence": line["sentence"],
        "question": normal(line["question"]),
        "design": [{name: d[name] for name in (*DESIGN, *MORE)} for d in designs],
        "alpha": line["alpha"],
        "until": (line.get("until") or {}).get("images"),
        "verdict": line["overall"],
    }


def read(path: Path) -> tuple[list[Entry], list[str]]:
    """The entries of a ledger, and its damaged lines in words; none of either where there is none
    yet.
    """
    found, damaged = [], []
    raw = path.read_bytes().splitlines() if path.is_file() else []
    for i, line in enumerate(raw, 1):
        try:
            one = loads(line.decode("utf-8"))
            if not {"claim", "subject", "alpha", "verdict"} <= set(one):
                raise ValueError("no claim, subject, alpha and verdict")
            float(one["alpha"])
            found.append(one)
        except (ValueError, TypeError) as e:
            damaged.append(f"{path.name}, line {i}: damaged, kept and not counted ({e})")
    return found, damaged


def looks(entries: Sequence[Entry], claim: str, subject: str) -> list[Entry]:
    """The looks at a claim on a subject, in their order: entries that differ in more than the
    verdict.
    """
    found: list[Entry] = []
    for one in entries:
        if (one["claim"], one["subject"]) == (claim, subject) and not any(
            _same(one, other) for other in found
        ):
            found.append(one)
    return found


def _same(one: Entry, other: Entry) -> bool:
    return all(one.get(key) == other.get(key) for key in {*one, *other} if key != "verdict")


def enter(path: Path, new: Entry, lock: ContextManager[Any]) -> tuple[list[Entry], list[str]]:
    """Add an entry where it is not there yet; gives the looks up to it, itself the last, and what
    lines are damaged. ProbesError where the file can't be written.
    """
    with lock:
        entries, damaged = read(path)
        if new not in entries:
            try:
                _append(path, json.dumps(new, sort_keys=True, ensure_ascii=False, allow_nan=False))
            except OSError as e:
                raise ProbesError(
                    f"the ledger of looks {path} can't be written ({e.strerror}): name another file"
                    " with --probes-ledger, or off for none, which every page then tells"
                ) from e
            entries.append(new)
    mine = looks(entries, new["claim"], new["subject"])
    place = next(i for i, one in enumerate(mine) if _same(one, new))
    return mine[: place + 1], damaged


def _append(path: Path, text: str) -> None:
    """One line at the end, in one write; after a line that was torn off, on a line of its own."""
    torn = path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, f"{chr(10) if torn else ''}{text}\n".encode())
    finally:
        os.close(handle)


def overspent(mine: Sequence[Entry], declared: int, alpha: float) -> str:
    """Why a look is one too many, empty where it is not: the looks up to it spend more than
    ``alpha``, of which each of the declared ones has its share.
    """
    spent = sum(float(one["alpha"]) for one in mine)
    if len(mine) == 1 or spent <= alpha * (1 + 1e-9):
        return ""
    before = "; ".join(dict.fromkeys(_differences(one, mine[-1]) for one in mine[:-1]))
    return (
        f"look {len(mine)} of {declared} declared: the ledger has looks with {before}; together"
        f" they spend alpha {spent:.3g} of {alpha:.3g}. Ask as before, judge new images under a"
        " name of their own, or mark the claim exploratory=True; how many looks there are is"
        " declared before the first one"
    )


def _differences(one: Entry, other: Entry) -> str:
    words = []
    for mine, theirs in zip(one.get("design", []), other.get("design", []), strict=False):
        for name in (*DESIGN, *MORE):
            if name != "images_sha256" and mine.get(name) != theirs.get(name):
                words.append(f"{name.replace('_', ' ')} {_short(mine.get(name))}")
    for name in ("alpha", "until"):
        if one.get(name) != other.get(name):
            words.append(f"{name} {one.get(name)}")
    if one.get("question") != other.get("question"):
        words.append("another question")
    if one.get("sentence") != other.get("sentence"):
        words.append("another sentence")
    return ", ".join(dict.fromkeys(words)) or "other images"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value)
    if isinstance(value, dict):
        return " ".join(f"{key} x {v}" for key, v in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def shown(path: Path) -> list[str]:
    """The ledger by claim, in lines: each look with its verdict and alpha; then damaged lines."""
    entries, damaged = read(path)
    text = []
    for claim, subject in dict.fromkeys((e["claim"], e["subject"]) for e in entries):
        mine = looks(entries, claim, subject)
        text.append(f"{claim}  {subject}")
        for i, one in enumerate(mine, 1):
            design = (one.get("design") or [{}])[0]
            verdicts = list(dict.fromkeys(e["verdict"] for e in entries if _same(e, one)))
            until = f", until {one['until']:,}" if one.get("until") else ""
            text.append(
                f"  look {i}: {', '.join(verdicts)}; {design.get('images', 0):,} images, seed"
                f" {design.get('seed')}, alpha {one['alpha']:g}{until}"
            )
    return text + damaged
