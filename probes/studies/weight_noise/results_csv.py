"""Rows of results in CSV files that several runs share. They are read with care, merged by key, and
never lost or doubled.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from probes.atomic import replacing
from probes.store import sha256

Say = Callable[[str], None]
Kind = Callable[[str], Any]


def number(text: str) -> float:
    """A finite number, or ValueError.

    >>> number("0.5")
    0.5
    """
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is no finite number")
    return value


def read(
    path: Path,
    columns: Mapping[str, Kind],
    foreign: Callable[[Mapping[str, Any]], str],
    say: Say,
    key: Sequence[str] = (),
) -> pd.DataFrame:
    """The rows of a CSV file with these columns, each column read by its kind. Empty if there is no
    file.

    ``foreign`` says why a row does not belong here, or nothing. A bad row is foreign, half-written
    (the last line without its end), a second row with the same ``key``, or no row at all. If there
    is one, the file as it is goes to ``aside/`` beside it, under a name made from its content, and
    ``say`` gets a message.
    """
    dtypes: dict[Any, str] = {str: "object", int: "int64", number: "float64"}
    empty = pd.DataFrame(
        {name: pd.Series(dtype=dtypes.get(kind, "object")) for name, kind in columns.items()}
    )
    if not path.exists():
        return empty
    text = path.read_bytes().decode("utf-8", errors="replace")
    lines = text.splitlines()
    header, fields_of = _parsed(lines)
    problems, rows, seen = [], [], set()
    if missing := [name for name in columns if name not in header]:
        problems.append(f"lacks the columns {', '.join(missing)}")
    else:
        for i, fields in enumerate(fields_of, 2):
            row, why = _row(dict(zip(header, fields, strict=False)), columns)
            if i == len(lines) and not text.endswith("\n"):
                why = "is half-written"
            why = why or foreign(row)
            mine = tuple(row[name] for name in key) if not why else ()
            if key and mine in seen:
                why = "stands twice"
            if why:
                problems.append(f"line {i} {why}")
            else:
                seen.add(mine)
                rows.append(row)
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        say(
            f"{path.name}: {'; '.join(problems[:3])}{more}; left out, the file as it was is in"
            f" aside/{keep_aside(path).name}"
        )
    return pd.DataFrame(rows, columns=list(columns)) if rows else empty


def _parsed(lines: list[str]) -> tuple[list[str], list[list[str]]]:
    try:
        header, *fields = csv.reader(lines)
    except (csv.Error, ValueError):
        return [], []
    return header, fields


def keep_aside(path: Path) -> Path:
    """Copy a file to ``aside/`` beside it, under a name made from its content."""
    kept = path.parent / "aside" / f"{path.stem}-{sha256(path)[:12]}{path.suffix}"
    with replacing(kept) as temporary:
        temporary.write_bytes(path.read_bytes())
    return kept


def _row(fields: Mapping[str, str], columns: Mapping[str, Kind]) -> tuple[dict[str, Any], str]:
    row: dict[str, Any] = {}
    for name, kind in columns.items():
        try:
            row[name] = kind(fields[name])
        except (KeyError, ValueError):
            return {}, (
                f"has {fields.get(name)!r} for {name}" if name in fields else f"has no {name}"
            )
    return row, ""


def merge(old: pd.DataFrame, new: pd.DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """All rows in the order of the key. Rows of ``new`` replace rows of ``old`` with the same key.

    >>> a = pd.DataFrame({"k": [1, 2], "v": [0.1, 0.2]})
    >>> merge(a, pd.DataFrame({"k": [2], "v": [0.3]}), ["k"])["v"].tolist()
    [0.1, 0.3]
    """
    parts = [part for part in (old, new) if len(part)]
    if not parts:
        return old
    every = pd.concat(parts, ignore_index=True)
    return (
        every.drop_duplicates(list(key), keep="last")
        .sort_values(list(key), kind="stable")
        .reset_index(drop=True)
    )


def csv_text(rows: pd.DataFrame) -> str:
    """Rows as CSV with nine significant digits. Reading and writing them again changes nothing."""
    return rows.to_csv(index=False, float_format="%.9g", lineterminator="\n")
