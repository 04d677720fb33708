"""Datasets that another process lends: a worker on another machine has neither their files nor a
folder of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probes.subjects.dataset import Dataset

_lent: dict[tuple[str, str], Callable[[], Dataset]] = {}


def replace(found: Mapping[tuple[str, str], Callable[[], Dataset]]) -> None:
    """From now on these are lent, by name and split, and no others."""
    _lent.clear()
    _lent.update(found)


def lent(name: str, split: str) -> Dataset | None:
    """A split of a dataset that is lent. None if it is not."""
    return _lent[name, split]() if (name, split) in _lent else None
