"""A perturbation that kills the process that runs it, and no worker of pytest-xdist."""

import importlib
import sys

import pytest

DEADLY = '''
import contextlib, dataclasses, os, signal, sys, time
from pathlib import Path
from probes import Perturbation
from probes.errors import BadInput


@dataclasses.dataclass(frozen=True)
class Deadly(Perturbation):
    """The process dies at level 0.2, so many times."""

    levels: tuple
    place: str
    deaths: int
    raises: bool = False

    def key(self, level):
        return {"kind": "deadly", "version": 1, "level": level}

    @contextlib.contextmanager
    def open(self, at):
        def forward(batch):
            if at.level == 0.2 and self.raises:
                raise BadInput("level 0.2 is not for me")
            died = sorted(Path(self.place).glob("*"))
            if at.level == 0.2 and len(died) < self.deaths:
                (Path(self.place) / str(len(died))).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            seen = batch.images * (1 - at.level)
            at.plain(seen)
            return seen

        yield forward


def node_here():
    """The node of the cluster on which this process is a worker; outside of one nothing."""
    ray = sys.modules.get("ray")
    inside = ray and ray.is_initialized() and ray.get_runtime_context().get_actor_id()
    return ray.get_runtime_context().get_node_id() if inside else ""


@dataclasses.dataclass(frozen=True)
class Holding(Perturbation):
    """Each node of a Ray cluster says that it has begun, and goes on when it may."""

    levels: tuple
    place: str

    def key(self, level):
        return {"kind": "holding", "version": 1, "level": level}

    @contextlib.contextmanager
    def open(self, at):
        place, end = Path(self.place), time.monotonic() + 120
        node = node_here()
        (place / f"begun-{node}").touch()
        while node and not (place / f"go-{node}").exists() and time.monotonic() < end:
            time.sleep(0.01)

        def forward(batch):
            seen = batch.images * (1 - at.level)
            at.plain(seen)
            return seen

        yield forward
'''


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The module above, which other processes can import too."""
    (tmp_path / "deadly_module.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("deadly_module")
    sys.modules.pop("deadly_module", None)


@pytest.fixture
def deadly(tmp_path, written):
    (tmp_path / "deaths").mkdir()
    return lambda deaths, **more: written.Deadly(
        (0.0, 0.1, 0.2, 0.3), str(tmp_path / "deaths"), deaths, **more
    )


@pytest.fixture(autouse=True)
def no_xdist_worker(monkeypatch):
    """A worker of pytest-xdist is always serial: here the engines themselves are tried."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
