"""Child processes that have torch and the package loaded already: they are forked from a process
that has done nothing else, so that they begin at once and share nothing with the tests.
"""

import functools
import io
import multiprocessing
import os
import runpy
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from _pytest.pytester import RunResult
from PIL import Image

from probes.run.engines import processes
from probes.tell import plots

_pixel = io.BytesIO()
Image.new("RGB", (1, 1)).save(_pixel, "PNG")
PIXEL = _pixel.getvalue()
"""What stands for a figure that is not drawn."""
CHILD = Path(__file__).with_name("child.py")
LOADED = (
    *("pytest", "hypothesis.strategies", "torch", "torch._dynamo", "probes.lab", "probes.cli"),
    *(f"probes.studies.{name}.run" for name in ("dynamics", "features", "layer_noise", "masking")),
    *("probes.studies.sensitivity.run", "probes.studies.weight_noise.run"),
    *("probes.tell.pages", "probes.tell.closing", "probes.tell.frontpage"),
)
CONTEXT = multiprocessing.get_context(
    "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
)
CONTEXT.set_forkserver_preload(list(LOADED))


class Child:
    """A process that runs ``python ARGV`` (a script, ``-c CODE`` or ``-m pytest``), like a
    ``subprocess.Popen``.
    """

    def __init__(self, folder, argv, env=None, cwd=None, blank=False):
        self.out, self.err = folder / "stdout", folder / "stderr"
        self.out.touch(), self.err.touch()
        asked = {
            "argv": [str(a) for a in argv],
            "env": {k: str(v) for k, v in (os.environ if env is None else env).items()},
            "cwd": str(cwd or Path.cwd()),
            "out": str(self.out),
            "err": str(self.err),
            "pixel": PIXEL if blank else b"",
        }
        self.process = CONTEXT.Process(
            target=runpy.run_path, args=(str(CHILD),), kwargs={"init_globals": {"ASKED": asked}}
        )
        self.process.start()
        self.pid, self._place = self.process.pid, 0

    def readline(self):
        """The next line that it says; empty when it has ended."""
        while True:
            alive = self.process.is_alive()
            line, newline, _ = self.out.read_text(errors="replace")[self._place :].partition("\n")
            if newline or not alive:
                self._place += len(line) + len(newline)
                return line + newline
            time.sleep(0.005)

    def __iter__(self):
        """Its lines until it has ended."""
        return iter(self.readline, "")

    def wait(self):
        """Its exit code, when it has ended."""
        self.process.join()
        return self.process.exitcode

    def kill(self):
        """End it at once, with SIGKILL."""
        self.process.kill()

    def told(self):
        """Its exit code and what it said on stdout and stderr, when it has ended."""
        code = self.wait()
        return code, self.out.read_text(errors="replace"), self.err.read_text(errors="replace")


@pytest.fixture(scope="session", autouse=True)
def one_server():
    """The workers of an engine are forked from the process that the children are forked from: there
    is one for each process, with what it was first asked to load.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(processes, "_context", lambda: CONTEXT)
        yield


@pytest.fixture(scope="session", autouse=True)
def digits():
    """The embedded digits are read once: each new store decodes them, and most tests have one."""
    read = pd.read_csv
    once = functools.cache(lambda path: read(path, header=None, dtype=np.uint8))

    def read_csv(source, *args, **how):
        if Path(str(source)).name != "mnist_5k.csv.gz":
            return read(source, *args, **how)
        assert (args, how) == ((), {"header": None, "dtype": np.uint8})
        return once(source)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pd, "read_csv", read_csv)
        yield


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are single pixels: most of a small study is spent on drawing them. What a module's
    own fixture makes is drawn, and there it is looked at.
    """

    def save(figure, path, *rest):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PIXEL)

    monkeypatch.setattr(plots, "write_png", save)


@pytest.fixture(scope="session")
def child(tmp_path_factory):
    """Start a child process: ``child(argv, env=..., cwd=..., blank=...)``; with ``blank`` its
    figures are single pixels.
    """

    def start(argv, **how):
        return Child(tmp_path_factory.mktemp("child"), argv, **how)

    return start


@pytest.fixture
def run_pytest(pytester, child):
    """Run pytest in a process of its own, in the folder of ``pytester``: ``run(*args)``."""

    def run(*args, blank=True):
        began = time.perf_counter()
        argv = ("-m", "pytest", f"--basetemp={pytester.path / 'basetemp'}", *args)
        code, out, err = child(argv, cwd=pytester.path, blank=blank).told()
        ret = pytest.ExitCode(code) if code in set(pytest.ExitCode) else code
        return RunResult(ret, out.splitlines(), err.splitlines(), time.perf_counter() - began)

    return run


def pytest_collection_modifyitems(config, items):
    """Slow tests run only where they are asked for."""
    if "slow" not in config.getoption("markexpr", ""):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: pytest -m slow"))
