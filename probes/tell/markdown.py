"""Markdown by hand: tables, and texts as file names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Line = Mapping[str, Any]
Draw = Callable[[Callable[[], Any], Path], None]
"""What has the figures of a page, ``draw(make, path)``: ``make()`` is one, ``path`` its place."""
DRAWN = re.compile(r"^<!-- drawn by probes (\S+) -->$", re.M)
"""The last line of a page: the version of the package whose words it has."""


def slug(text: str) -> str:
    """A text as part of a file name.

    >>> slug("resnet20@mnist5k#* + plainnet20@mnist5k#*")
    'resnet20-mnist5k-all-plainnet20-mnist5k-all'
    """
    return re.sub(r"[^\w.]+", "-", text.replace("#*", "-all")).strip("-")


def grid(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; a cell is one line.

    >>> print(grid(["why"], [["no\\nimages"]]))
    | why |
    | --- |
    | no images |
    """
    body = [
        " | ".join(" ".join(str(c).replace("|", "\\|").splitlines()) for c in row)
        for row in [header, ["---"] * len(header), *rows]
    ]
    return "\n".join(f"| {row} |" for row in body)
