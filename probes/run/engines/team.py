"""The workers of a process on a Ray cluster, and what is put into its object store for them."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import logging
import os
import pickle
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from probes.errors import BadInput, ProbesError, Unavailable
from probes.run.engines.remote import Entry, Maker, Order, Setup
from probes.run.work import Place, Work
from probes.store import Store
from probes.subjects import data as datasets
from probes.subjects.subject import Subject


@dataclasses.dataclass
class Worker:
    """An actor, the reference of its start until it has started, and its pieces with their
    numbers.
    """

    actor: Any
    starting: Any
    has: list[tuple[Any, int]] = dataclasses.field(default_factory=list)

    @property
    def ready(self) -> bool:
        return self.starting is None


class Team:
    """The workers of a process on a cluster. They stay between one filling and the next."""

    def __init__(self, jobs: int | None, address: str | None, threads: int, device: str) -> None:
        ray = _ray()
        if not ray.is_initialized():
            _init(ray, jobs, address, threads)
        has = ray.cluster_resources()
        gpus, cpus = has.get("GPU", 0), has.get("CPU", 1)
        on_gpu = device.startswith("cuda")
        if on_gpu and not gpus:
            raise Unavailable(
                f"device {device!r}: no node of the Ray cluster has a GPU; leave --device out"
            )
        self.size = jobs or max(1, int(gpus if on_gpu else cpus // threads))
        self.needs = {
            "num_cpus": min(threads, max(1, cpus // self.size)) if not on_gpu else 1,
            "num_gpus": min(1.0, gpus / self.size) if on_gpu else 0,
        }
        self.workers: list[Worker] = []
        self.deaths = 0
        self._keeper: tuple[Path, Any] | None = None
        self._put: dict[Any, tuple[Any, Any]] = {}

    def keeper_of(self, store: Store) -> None:
        """Have an actor beside this process that answers for its store."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        folder = store.folder.resolve()
        if self._keeper is None or self._keeper[0] != folder:
            self.disband()
            here = On(ray.get_runtime_context().get_node_id(), soft=False)
            actor: Any = ray.remote(Store).options(num_cpus=0, scheduling_strategy=here)
            self._keeper = folder, actor.remote(str(folder))

    def start(self, size: int) -> None:
        """Start workers until there are so many."""
        import ray

        assert self._keeper is not None
        while len(self.workers) < size:
            actor: Any = ray.remote(_Actor).options(**self.needs, max_restarts=0)
            made = actor.remote(self._keeper[1], tuple(sys.path))
            self.workers.append(Worker(made, made.here.remote()))

    def setup(self, works: Sequence[Work], place: Place) -> Any:
        """A reference to what workers need for a place."""
        import ray

        subjects = {(name, 0): subject for name, subject in place.subjects.items()}
        subjects |= place.trained
        sent, whole = {}, True
        for name, subject in subjects.items():
            try:
                sent[name] = self._reference(subject)
            except Exception:  # noqa: BLE001 - what pickle can't take, the loader gives
                whole = False
        load = b""
        if place.load is not None:
            try:
                load = pickle.dumps(place.load)
            except (pickle.PicklingError, AttributeError, TypeError) as e:
                if not whole:
                    raise BadInput(
                        f"the loader can't be sent to other processes: {e}; use the serial engine"
                    ) from e
        elif not whole:
            raise BadInput(
                "these subjects exist in this process only, and other processes can't load them:"
                " use the serial engine"
            )
        named = {name for work in works for name in work.loads}
        lent = {
            (name, split): self._reference(datasets.load(name, split, place.store))
            for name in sorted(named)
            for split in ("train", "test")
        }
        return ray.put(Setup(sent, lent, load, place.imports, tuple(sys.path)))

    def _reference(self, thing: Any) -> Any:
        """A reference to a thing in the object store. It is put there once."""
        import ray

        if id(thing) not in self._put:
            self._put[id(thing)] = thing, ray.put(_plain(thing))
        return self._put[id(thing)][1]

    def disband(self) -> None:
        """End the workers, in whatever they are doing."""
        import ray

        for worker in self.workers:
            ray.kill(worker.actor)
        if self._keeper is not None:
            ray.kill(self._keeper[1])
        self.workers, self._keeper = [], None


class _Actor:
    """A worker as Ray runs it."""

    def __init__(self, keeper: Any, path: tuple[str, ...]) -> None:
        import ray

        def ask(kind: str, name: str) -> Entry | None:
            return ray.get(keeper.entry.remote(kind, name))

        self._maker = Maker(path, ray.get, ask)

    def here(self) -> bool:
        """Answers when the worker has started."""
        return True

    def make(self, setup: list[Any], order: Order) -> Any:
        """See :meth:`probes.run.engines.remote.Maker.make`."""
        return self._maker.make(setup[0], order)


@functools.cache
def team_of(jobs: int | None, address: str | None, threads: int, device: str) -> Team:
    """The workers of this process by what was asked for."""
    return Team(jobs, address, threads, device)


def _plain(thing: Any) -> Any:
    """A subject or dataset whose images are a plain array: Ray gives them to all workers of a node
    from one place in memory.
    """
    if isinstance(thing, Subject):
        training = None if thing.training is None else _plain(thing.training)
        return dataclasses.replace(thing, data=_plain(thing.data), training=training)
    return dataclasses.replace(thing, images=np.asarray(thing.images))


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as e:
        raise Unavailable("the engine 'ray' needs Ray: pip install 'neural-probes[ray]'") from e
    return ray


def _init(ray: Any, jobs: int | None, address: str | None, threads: int) -> None:
    """Join the cluster at an address, or start one on this machine and stop it at the end."""
    how: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address:
        host, _, port = address.rpartition(":")
        try:
            if port.isdigit():  # Ray itself tries a wrong address for minutes
                socket.create_connection((host, int(port)), timeout=10).close()
            ray.init(address=address, **how)
        except (OSError, ValueError, RuntimeError) as e:
            raise ProbesError(
                f"no Ray cluster answers at {address!r}: {str(e).splitlines()[0]}; start one with"
                " ray start --head, or leave the address out for one on this machine"
            ) from e
    else:
        cores = (jobs or max(1, (os.cpu_count() or 1) // threads)) * threads
        ray.init(address="local", num_cpus=cores, include_dashboard=False, **how)
    atexit.register(ray.shutdown)
