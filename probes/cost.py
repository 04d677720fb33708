"""The cost of work in numbers and in words: what an estimate says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of some pieces of work: their number and how many of them are missing in the store;
    for the missing ones the images passed through a network, bytes of results, and seconds.
    """

    pieces: int = 0
    missing: int = 0
    images: float = 0.0
    bytes: float = 0.0
    seconds: float = 0.0

    def __str__(self) -> str:
        """The cost in one line."""
        if not self.pieces:
            return "all results are in the store"
        work = f"{self.pieces:,} piece{'' if self.pieces == 1 else 's'} of work"
        if not self.missing:
            return f"{work}, all in the store"
        return (
            f"{work}, {self.pieces - self.missing:,} of them in the store;"
            f" the others: {self.images:,.0f} images through a network, {size(self.bytes)} of"
            f" results, about {duration(self.seconds)}"
        )


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The costs of what was asked for, each under the hash of its pieces, so that tables which two
    claims share are counted once; ``memory`` is the largest that this process has taken, in bytes.

    >>> one = Estimate({"a": Cost(4, 2, 500, 1e6, 90)}, 10**9)
    >>> print(one + one)
    4 pieces of work, 2 of them in the store; the others: 500 images through a network, 1.0 MB of\
 results, about 1.5 min; at most 1.0 GB of memory a process
    """

    costs: Mapping[str, Cost]
    memory: int = 0

    @property
    def total(self) -> Cost:
        """All costs together."""
        rows = [dataclasses.astuple(cost) for cost in self.costs.values()]
        return Cost(*map(sum, zip(*rows, strict=True))) if rows else Cost()

    @property
    def missing(self) -> int:
        """The number of pieces that are not in the store."""
        return self.total.missing

    def __add__(self, other: Estimate) -> Estimate:
        """The cost of both."""
        return Estimate({**self.costs, **other.costs}, max(self.memory, other.memory))

    def __str__(self) -> str:
        """The cost in one line."""
        memory = f"; at most {size(self.memory)} of memory a process" if self.memory else ""
        return f"{self.total}{memory}"

    def json(self) -> dict[str, Any]:
        """The estimate as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, found: Iterable[Mapping[str, Any]]) -> Estimate:
        """The sum of estimates that were JSON values."""
        total = cls({})
        for one in found:
            costs = {name: Cost(**cost) for name, cost in one["costs"].items()}
            total += cls(costs, one["memory"])
        return total


GO_ON = "Ctrl-C stops it, and the same command goes on from there"
"""What is said once of work that takes longer than :data:`LONG` seconds."""
LONG = 10.0


def size(number: float) -> str:
    """A number of bytes in words.

    >>> size(512), size(2_500_000), size(3.2e12)
    ('512 bytes', '2.5 MB', '3.2 TB')
    """
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6), ("kB", 3)):
        if number >= 10**power:
            return f"{number / 10**power:.1f} {unit}"
    return f"{number:.0f} bytes"


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(40), duration(150), duration(7500), duration(400_000)
    ('40 s', '2.5 min', '2.1 h', '4.6 days')
    """
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length or (unit == "min" and seconds >= length):
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
