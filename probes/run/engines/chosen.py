"""The engine that the options ask for."""

from __future__ import annotations

from probes.run.engine import Engine, Serial
from probes.run.engines.processes import Processes
from probes.run.settings import Options, in_worker


def engine_of(options: Options, alone: bool = False) -> Engine:
    """The engine that the options ask for. It is serial inside a worker of pytest-xdist, and where
    the networks exist in this process only (``alone``).
    """
    if options.engine == "ray" and not (alone or in_worker()):
        from probes.run.engines.cluster import Ray

        where = options.where
        return Ray(options.jobs, options.ray_address, where.threads, where.device)
    return Serial() if alone or options.workers == 1 else Processes(options.workers)
