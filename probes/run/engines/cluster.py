"""The Ray engine: pieces of work on the machines of a cluster, or on this one's cores."""

from __future__ import annotations

import logging
import pickle
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from probes.errors import BadInput, ProbesError
from probes.run.engine import Tick
from probes.run.engines.pieces import TRIES, given_up, missing, provide_all, unread
from probes.run.engines.remote import Order
from probes.run.engines.team import Team, Worker, team_of
from probes.run.work import Place, Work, done

log = logging.getLogger("probes")
AHEAD = 2
"""The number of pieces that a worker has at a time: it makes one, and the next one waits there."""
PATIENCE = 60.0
"""Seconds without any answer after which a log line says that the cluster has no room."""


class Ray:
    """Makes pieces of work in ``jobs`` workers of a Ray cluster (default: one for each core, or
    for each GPU).

    Without an address a cluster of this machine is started, and stopped when this process ends;
    ``auto`` or ``HOST:PORT`` joins one. Images and weights go into the object store of Ray, once a
    node; results come back through it into this process's store, so no file system is shared.
    ``device`` ``cuda`` gives each worker a GPU, or its share of one where there are more workers
    than GPUs. If a worker or its node dies, the piece is tried again twice; then it is an error,
    and the other pieces stand.

    Raises Unavailable if Ray is not installed, ProbesError if no cluster is at the address.
    """

    def __init__(
        self,
        jobs: int | None = None,
        address: str | None = None,
        threads: int = 1,
        device: str = "cpu",
    ) -> None:
        if (address or "").startswith("ray://"):
            raise BadInput(
                f"ray address {address}: results come back into the store of this process, so it"
                " runs on a node of the cluster; start it there (ray job submit), with address auto"
            )
        self.jobs, self.address, self.threads, self.device = jobs, address, threads, device

    def fill(self, works: Sequence[Work], place: Place, tick: Tick) -> list[Path]:
        """The paths of the results, in the order of the works."""
        found, todo = missing(works, place, tick)
        if todo:
            provide_all(works, todo, place)
            team = team_of(self.jobs, self.address, self.threads, self.device)
            try:
                _Spread(team, works, todo, place, tick).run()
            except BaseException:
                team.disband()
                raise
        return [path or done(work, place) for work, path in zip(works, found, strict=True)]


class _Spread:
    """One filling of a store by a team of workers."""

    def __init__(
        self, team: Team, works: Sequence[Work], todo: Sequence[int], place: Place, tick: Tick
    ) -> None:
        self.team, self.works, self.place, self.tick = team, works, place, tick
        self.queue, self.tries = deque(todo), dict.fromkeys(todo, 0)
        self.failed: dict[int, BaseException] = {}
        self.setup = team.setup(works, place)

    def run(self) -> None:
        """Hand pieces out until each is made or has failed. Then raise the exception of the first
        one that failed.
        """
        import ray

        team = self.team
        team.keeper_of(self.place.store)
        while self.queue or any(w.has for w in team.workers):
            wanted = len(self.queue) + sum(len(w.has) for w in team.workers)
            team.start(min(team.size, wanted))
            for _ in range(AHEAD):
                for worker in team.workers:
                    if worker.ready and self.queue and len(worker.has) < AHEAD:
                        self._hand(worker)
            waiting = {w.starting: w for w in team.workers if w.starting is not None}
            waiting |= {ref: w for w in team.workers for ref, _ in w.has}
            heard, _ = ray.wait(list(waiting), num_returns=1, timeout=PATIENCE)
            for ref in heard:
                self._hear(waiting[ref], ref)
            if not heard and not any(w.ready for w in team.workers):
                log.warning(
                    "no worker has started for %.0f s: the cluster has no room for one (%s)",
                    PATIENCE,
                    ray.available_resources(),
                )
        if self.failed:
            raise self.failed[min(self.failed)]

    def _hand(self, worker: Worker) -> None:
        number = self.queue.popleft()
        work = self.works[number]
        key = work.key(self.place)
        try:
            sent = pickle.dumps(work)
        except (pickle.PicklingError, AttributeError, TypeError) as e:
            self.failed[number] = unread(e)
            return
        order = Order(sent, key, self.place.store.name(key, work.suffix))
        worker.has.append((worker.actor.make.remote([self.setup], order), number))

    def _hear(self, worker: Worker, ref: Any) -> None:
        import ray

        try:
            answer = ray.get(ref)
        except ray.exceptions.RayActorError as e:  # it, or its node, died
            self._lost(worker, str(e).splitlines()[0] if str(e) else type(e).__name__)
            return
        if ref == worker.starting:
            worker.starting = None
            return
        number = next(n for r, n in worker.has if r == ref)
        worker.has = [(r, n) for r, n in worker.has if r != ref]
        problem, entry = answer
        if problem is None:
            self.place.store.add(*entry)
            self.tick(self.works[number])
        else:
            self.failed[number] = problem

    def _lost(self, worker: Worker, how: str) -> None:
        """A worker has died at the first of its pieces; those that waited there begin elsewhere."""
        self.team.workers.remove(worker)
        if worker.starting is not None:
            self.team.deaths += 1
            if self.team.deaths > TRIES * self.team.size:
                raise ProbesError(f"no worker of the Ray cluster starts: {how}")
        numbers = [number for _, number in worker.has]
        if numbers:
            first = numbers[0]
            self.tries[first] += 1
            if self.tries[first] >= TRIES:
                self.failed[first] = given_up(self.works[first], how)
                numbers.remove(first)
        self.queue.extendleft(reversed(numbers))
