"""What it costs to hand work out, to find it again, and to look at a large store.

    pytest benchmarks/test_scale.py

Three figures are absolute, since there is nothing to divide them by: what a piece costs beside its
work, with margins of two and more; the others are ratios of runs in turn.
"""

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from probes import Lab, accuracy, cli, falls, gaussian, holdings
from probes.measure import block_metrics
from probes.run.bench import Bench
from probes.run.engine import Serial, fill
from probes.run.engines.processes import Processes
from probes.run.judging import told
from probes.run.settings import Options
from probes.store import Store
from probes.subjects.spec import parse
from probes.tell import origins, report

ENTRIES = 100_000
HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def no_xdist_worker(monkeypatch):
    """Inside a worker of pytest-xdist all work is serial."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)


def bench(folder, images=100, **options):
    return Bench(
        [parse("resnet20@mnist5k")],
        Store(folder),
        Options(images=images, threads=1, batch_size=50, **options),
    )


def test_two_processes_are_faster_than_one(ratio, tmp_path):
    """160 cells of 100 images, one thread each."""
    runs = itertools.count()
    levels = gaussian(*(i / 400 for i in range(160)))

    def by(**options):
        def sweep():
            bench(tmp_path / str(next(runs)), **options).sweep(accuracy, under=levels).compute()

        return sweep

    ratio(
        "two processes / one, 160 small cells",
        by(engine="processes", jobs=2),
        by(),
        rounds=5,
        limit=1 / 1.7,
    )


def test_a_cached_cell_takes_less_than_two_milliseconds(ratio, tmp_path):
    levels = gaussian(*(i / 1000 for i in range(300)))
    bench(tmp_path, images=20).sweep(accuracy, under=levels).compute()
    one = bench(tmp_path, images=20)
    cells = one.sweep(accuracy, under=levels).cells
    times = []

    def cached():
        began = time.perf_counter()
        one.run(cells)
        times.append(time.perf_counter() - began)

    def by_pandas():
        pd.concat([pd.read_parquet(path) for path in one.fill(cells)])

    ratio("a table of 300 cached cells / pandas, file by file", cached, by_pandas, rounds=9)
    each = 1000 * float(np.median(times)) / len(cells)
    print(f"\na cached cell: {each:.2f} ms")
    assert each < 2


def test_a_piece_costs_little_beside_its_work(tmp_path):
    """200 cells of five images by each engine: milliseconds each, once its workers have started."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from probes.run.engines.cluster import Ray

    engines = {"serial": Serial(), "processes": Processes(2), "ray": Ray(jobs=2)}
    each = {}
    for name, engine in engines.items():
        lab = bench(tmp_path / name, images=5)
        levels = gaussian(*(i / 1000 for i in range(201)))
        cells = lab.sweep(accuracy, under=levels).cells
        fill(cells[:2], lab.place, engine, quiet=True)
        began = time.perf_counter()
        fill(cells[2:], lab.place, engine, quiet=True)
        each[name] = 1000 * (time.perf_counter() - began) / (len(cells) - 2)
    ray.shutdown()
    print("\na cell of 5 images, ms: " + ", ".join(f"{k} {v:.2f}" for k, v in each.items()))
    assert each["ray"] - each["serial"] < 30


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A store of 100,000 cells, without its index."""
    store = Store(tmp_path_factory.mktemp("large"))
    path = store.get_or_make("cells", {"n": -1}, ".parquet", lambda p: p.write_bytes(b"x" * 2000))
    text = path.with_suffix(".json").read_text()
    record = json.loads(text)
    for n in range(ENTRIES):
        stem = f"{n:064x}"
        (path.parent / f"{stem}.parquet").write_bytes(b"x" * 2000)
        named = record | {"file": f"{stem}.parquet", "about": f"net{n % 7}@data", "for": "H1"}
        (path.parent / f"{stem}.json").write_text(json.dumps(named, sort_keys=True, indent=1))
    (store.folder / holdings.INDEX).unlink()
    return store


def test_a_large_store_opens_at_once_and_is_looked_at_in_seconds(large, capsys):
    began = time.perf_counter()
    found = Store(large.folder).find("cells", {"n": -1}, ".parquet")
    opened = time.perf_counter() - began
    took = []
    for _ in range(2):
        began = time.perf_counter()
        command = ["status", "--store", str(large.folder), "--reports", "nowhere"]
        assert cli.main(command) == 0
        took.append(time.perf_counter() - began)
    told = capsys.readouterr().out
    with capsys.disabled():
        print(
            f"\na store of {ENTRIES:,} cells: a result found in {1000 * opened:.1f} ms; status"
            f" {took[1]:.1f} s with the index that runs write, {took[0]:.1f} s without it"
        )

    assert found is not None
    assert f"{ENTRIES + 1:,} results" in told
    assert opened < 1
    assert took[1] < 3


def test_a_report_of_a_thousand_verdicts_takes_seconds(tmp_path):
    lab = Lab("resnet20@mnist5k", images=300, store=tmp_path / "s", quiet=True)
    found = falls(
        lab.sweep(block_metrics, under=gaussian(0, 0.1, 0.2)), "l2_h", by="site", sesoi="1 %"
    )
    line = told(lab, found, ("C", "Noise lowers the norm of h.", ""), "resnet20@mnist5k")
    lines = [line | {"id": f"C{i}"} for i in range(-(-1000 // len(line["verdicts"])))]
    run = origins.provenance(HERE, ["pytest"], {})
    began = time.perf_counter()
    report.assemble(lines, run, tmp_path / "report")
    took = time.perf_counter() - began
    verdicts = sum(len(one["verdicts"]) for one in lines)
    print(f"\na report of {verdicts:,} verdicts in {len(lines)} claims: {took:.1f} s")

    assert took < 10


def test_the_memory_of_the_driver_does_not_grow_with_the_work(tmp_path):
    """The peak of a process that fills a store with 500 and with 10,000 pieces."""
    grown = {}
    for n in (500, 10_000):
        told_ = subprocess.run(
            [sys.executable, HERE / "filling.py", tmp_path / str(n), str(n)],
            capture_output=True,
            text=True,
            check=True,
        )
        grown[n] = int(told_.stdout.split()[-1])
    each = (grown[10_000] - grown[500]) / 9_500
    print(f"\nmemory of the driver: {each:.0f} bytes a piece")
    assert each < 4096
