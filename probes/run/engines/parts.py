"""Engines that do a part of the work: a shard of it, or what fits into a time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from probes.errors import Unfinished
from probes.judge.wording import counted
from probes.run.engine import Engine, Tick
from probes.run.engines.pieces import lacking
from probes.run.work import Place, Work


class Shard:
    """Makes one part of the pieces, and nothing of the others'. The parts have equally many pieces,
    and a piece belongs to the same part in every process.

    Raises Unfinished afterwards, unless the pieces of the other parts are in the store already.
    """

    def __init__(self, inner: Engine, number: int, of: int) -> None:
        self.inner, self.number, self.of = inner, number, of

    def fill(self, works: Sequence[Work], place: Place, tick: Tick) -> list[Path]:
        """The paths of the results, in the order of the works."""
        names = [place.store.name(work.key(place), work.suffix) for work in works]
        rank = {name: i for i, name in enumerate(sorted(set(names)))}
        mine = [
            work
            for work, name in zip(works, names, strict=True)
            if rank[name] % self.of == self.number - 1
        ]
        self.inner.fill(mine, place, tick)
        if left := len(lacking(works, place)):
            raise Unfinished(
                f"shard {self.number}/{self.of}: its {counted(len(mine), 'piece')} of"
                f" {len(works):,} are in the store, {left:,} of other shards are not; when all are"
                " there, the same command without the shard judges"
            )
        return self.inner.fill(works, place, tick)


class Limited:
    """Makes pieces until a time is over (``time.monotonic()``). What is in the store by then is
    kept; pieces that other processes still make are lost.

    Raises Unfinished if pieces are missing when the time is over.
    """

    def __init__(self, inner: Engine, until: float, seconds: float) -> None:
        self.inner, self.until, self.seconds = inner, until, seconds

    def fill(self, works: Sequence[Work], place: Place, tick: Tick) -> list[Path]:
        """The paths of the results, in the order of the works."""
        left = set(map(id, lacking(works, place)))
        if left:
            self._check(len(left), len(works))

        def watching(work: Work) -> None:
            tick(work)
            if id(work) in left:
                left.remove(id(work))
                if left:
                    self._check(len(left), len(works))

        return self.inner.fill(works, place, watching)

    def _check(self, left: int, total: int) -> None:
        if time.monotonic() > self.until:
            raise Unfinished(
                f"the {self.seconds:g} seconds are over: {total - left:,} of"
                f" {counted(total, 'piece')} are in the store, {left:,} are missing; the same"
                " command goes on from there",
                over=True,
            )
