"""Ratios of times: A and B in turn, the median of the ratios with its interval, against a limit.

    pytest benchmarks

A machine is noisy, so no time is compared with a time of another minute: each run of A is divided by the mean of the runs
of B just before and just after it. A limit fails only where the 90 % interval of the median lies beyond it by 10 %. A
baseline that we wrote must itself cost what the original is known to cost, within 25 %, or the ratio is void.
"""

import dataclasses
import importlib.util
import time
from pathlib import Path

import pytest
import torch
from scipy import stats

SLACK = 1.1


@dataclasses.dataclass(frozen=True)
class Ratio:
    """The median of the ratios of paired times, its 90 % interval (order statistics), and the limit it is held to."""

    name: str
    median: float
    low: float
    high: float
    limit: float | None
    seconds: float
    note: str = ""

    @property
    def holds(self):
        return self.limit is None or self.low <= SLACK * self.limit


FOUND = pytest.StashKey()


@pytest.fixture
def ratio(benchmark, request):
    """``ratio(name, ours, baseline, rounds=..., limit=...)``: times both in turn and asserts that the limit holds."""

    def measure(name, ours, baseline, *, rounds, limit=None, note=""):
        if benchmark.disabled:
            pytest.skip("a ratio needs --benchmark-enable")
        around = []

        def timed_baseline():
            start = time.perf_counter()
            baseline()
            around.append(time.perf_counter() - start)

        benchmark.pedantic(ours, setup=timed_baseline, rounds=rounds, warmup_rounds=2)
        timed_baseline()
        around = around[-rounds - 1 :]
        times = zip(benchmark.stats.stats.data, around[:-1], around[1:], strict=True)
        pairs = [t / ((before + after) / 2) for t, before, after in times]
        test = stats.quantile_test(pairs, p=0.5)
        interval = test.confidence_interval(0.9)
        median = float(stats.scoreatpercentile(pairs, 50))
        found = Ratio(name, median, float(interval.low), float(interval.high), limit, sum(around) / len(around), note)
        benchmark.extra_info.update(dataclasses.asdict(found))
        request.config.stash[FOUND].append(found)

        assert found.holds, f"{name}: {median:.3f} [{found.low:.3f}, {found.high:.3f}], at most {limit}"
        return found

    return measure


@pytest.fixture(scope="session")
def study():
    """The module ``study.py`` beside this file: the loop that is timed against."""
    spec = importlib.util.spec_from_file_location("probes_study", Path(__file__).with_name("study.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def threads():
    """``threads(n)`` sets torch's threads for one benchmark."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def pytest_configure(config):
    config.stash[FOUND] = []


def pytest_terminal_summary(terminalreporter, config):
    if not config.stash[FOUND]:
        return
    terminalreporter.section("ratios")
    terminalreporter.write_line("| what | ratio | 90 % interval | at most | baseline, s |")
    terminalreporter.write_line("| --- | --- | --- | --- | --- |")
    for r in config.stash[FOUND]:
        limit = "" if r.limit is None else f"{r.limit:g}"
        note = f" ({r.note})" if r.note else ""
        terminalreporter.write_line(
            f"| {r.name}{note} | {r.median:.3f} | {r.low:.3f} to {r.high:.3f} | {limit} | {r.seconds:.3g} |"
        )
