"""The table of many small files in one go: pandas takes milliseconds for each file, Arrow tenths of
one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from probes.errors import ProbesError


def stacked(
    paths: Sequence[Path],
    labels: Sequence[Mapping[str, Any]],
    categories: Sequence[str],
) -> pd.DataFrame:
    """The rows of Parquet files one below the other, each file with its own constant columns.

    ``labels`` are these columns of each file; they replace what the file says, and a function of
    the image ids gives a column that is not constant. ``categories`` name
    the columns that become categorical. It has the columns that all files have, in the order of the
    first. Sites are an ordered categorical, in the order in which they first occur.

    Raises ProbesError for a file that is no table.
    """
    parts = [_part(path, given) for path, given in zip(paths, labels, strict=True)]
    names = [name for name in parts[0] if all(name in part for part in parts)]
    lengths = [len(part["image"]) for part in parts]
    out: dict[str, Any] = {}
    for name in names:
        column = [part[name] for part in parts]
        if name == "site":
            out[name] = _sites(column)
        elif name in categories:
            out[name] = _category(column, lengths)
        else:
            out[name] = np.concatenate(
                [
                    value if isinstance(value, np.ndarray) else np.full(n, value)
                    for value, n in zip(column, lengths, strict=True)
                ]
            )
    return pd.DataFrame(out)


def _part(path: Path, labels: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a file by name: arrays, constants, and the sites as codes and names."""
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            found = file.read([n for n in names if n not in labels], use_threads=False)
            found.validate(full=True)
    except (OSError, ValueError, pa.ArrowException) as e:
        raise ProbesError(f"{path} is no table: {e}") from e
    columns: dict[str, Any] = {}
    for name in dict.fromkeys((*names, *labels)):
        if name in labels:
            columns[name] = labels[name]
        elif name == "site":
            column = found.column(name).combine_chunks()
            coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
            columns[name] = (
                coded.indices.fill_null(-1).to_numpy(zero_copy_only=False),
                coded.dictionary.to_pylist(),
            )
        else:
            columns[name] = found.column(name).to_numpy()
    for name, value in columns.items():
        if callable(value):
            columns[name] = value(columns["image"])
    return columns


def _sites(parts: Sequence[tuple[np.ndarray, list[str]]]) -> Any:
    places: dict[str, int] = {}
    codes = []
    for mine, names in parts:
        numbers, first = np.unique(mine, return_index=True)
        there = np.full(len(names) + 1, -1, dtype=np.int64)
        for number in numbers[np.argsort(first)]:
            name = "" if number < 0 else str(names[number])
            there[number] = places.setdefault(name, len(places))
        codes.append(there[mine])
    return pd.Categorical.from_codes(np.concatenate(codes), pd.Index(list(places)), ordered=True)


def _category(column: Sequence[Any], lengths: Sequence[int]) -> Any:
    if any(isinstance(value, np.ndarray) for value in column):
        rows = [
            value if isinstance(value, np.ndarray) else np.full(n, value)
            for value, n in zip(column, lengths, strict=True)
        ]
        return pd.Categorical(np.concatenate(rows))
    names = sorted(set(column))
    numbers = {name: i for i, name in enumerate(names)}
    codes = np.repeat([numbers[value] for value in column], lengths)
    return pd.Categorical.from_codes(codes, pd.Index(names))
