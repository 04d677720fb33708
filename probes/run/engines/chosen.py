"""The engine that the options ask for, and the part of the work that they ask of it."""

from __future__ import annotations

from probes.run.engine import Engine, Serial
from probes.run.engines.estimate import Estimator, Guarded
from probes.run.engines.parts import Limited, Shard
from probes.run.engines.processes import Processes
from probes.run.options import shard_of
from probes.run.settings import Options, in_worker


def engine_of(options: Options, alone: bool = False) -> Engine:
    """The engine that the options ask for: all pieces, those of a shard, those that fit into a
    time, or an estimate. It is serial inside a worker of pytest-xdist, and where the networks exist
    in this process only (``alone``).
    """
    engine, jobs = _whole(options, alone)
    if options.shard is not None:
        engine = Shard(engine, *shard_of(options.shard))
    if options.estimate:
        return Estimator(engine, jobs)
    if options.max_hours is not None:
        engine = Guarded(engine, options.max_hours, jobs)
    if options.max_seconds is not None:
        engine = Limited(engine, options.began + options.max_seconds, options.max_seconds)
    return engine


def _whole(options: Options, alone: bool) -> tuple[Engine, int]:
    if options.engine == "ray" and not (alone or in_worker()):
        from probes.run.engines.cluster import Ray

        where = options.where
        ray = Ray(options.jobs, options.ray_address, where.threads, where.device)
        return ray, options.workers
    if alone or options.workers == 1:
        return Serial(), 1
    return Processes(options.workers), options.workers
