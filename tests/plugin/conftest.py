"""One store for all runs of pytest in pytest, what they import loaded beforehand, and figures that
cost nothing.
"""

import hypothesis.strategies  # noqa: F401
import pytest

from probes.judge import rises
from probes.lab import Lab
from probes.measure import block_metrics
from probes.perturb import gaussian
from probes.run.bench import Bench
from probes.run.settings import Options
from probes.store import Store
from probes.studies.dynamics import pages as dynamics_pages
from probes.subjects.spec import parse
from probes.tell import closing, frontpage, pages, plots, terminal

USED = (Lab, dynamics_pages, closing, frontpage, pages)
"""Loaded beforehand, as hypothesis is: else each run in this process loads them again."""


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory):
    """One store for all runs. What is loaded here stays loaded: pytester unloads what a run in this
    process imports.
    """
    folder = tmp_path_factory.mktemp("store")
    lab = Bench([parse("resnet20@mnist5k")], Store(folder), Options(images=20))
    lab.facts(
        *rises(lab.sweep(block_metrics, under=gaussian(0, 0.1)), "sigma_realised", sesoi=0.03).asked
    )
    plots.save(plots.new_axes(None).figure, folder / "empty.png")
    terminal.count([])
    return folder


@pytest.fixture
def elsewhere(monkeypatch, shared_store):
    """Another project than this one: a store of its own, and no folder with data."""
    monkeypatch.setenv("PROBES_STORE", str(shared_store))
    monkeypatch.delenv("PROBES_DATA", raising=False)


@pytest.fixture(autouse=True)
def figures(shared_store, undrawn):
    """None of these tests looks at a figure."""


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """A terminal that wraps no line; ``test_terminal.py`` has one of 80 columns."""
    monkeypatch.setenv("COLUMNS", "500")
