"""Ratios of times: A and B in turn, the median of the ratios with its interval, against a limit.

    pytest benchmarks

A machine is noisy, so no time is compared with a time of another minute: each run of A is divided
by the mean of the runs of B just before and just after it. A limit fails if the whole 90 % interval
of the median lies beyond it. A benchmark that is known to miss its target declares a ``slack``,
which is printed. A baseline that we wrote must itself cost what the original is known to cost,
within 25 %, or the ratio is void.
"""

import dataclasses
import importlib.util
import sys
import time
from pathlib import Path

import pytest
import torch


def beside(name):
    """The module ``name.py`` beside this file (pytest imports no neighbours)."""
    spec = importlib.util.spec_from_file_location(
        f"probes_{name}", Path(__file__).with_name(f"{name}.py")
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


ratios = beside("ratios")
FOUND = pytest.StashKey()


@pytest.fixture
def ratio(benchmark, request):
    """``ratio(name, ours, baseline, rounds=..., limit=...)``: times both in turn and asserts that
    the limit holds.
    """

    def measure(name, ours, baseline, *, rounds, limit=None, note="", slack=0.0):
        if benchmark.disabled:
            pytest.skip("a ratio needs --benchmark-enable")
        around = []

        def timed_baseline():
            start = time.perf_counter()
            baseline()
            around.append(time.perf_counter() - start)

        benchmark.pedantic(ours, setup=timed_baseline, rounds=rounds, warmup_rounds=2)
        timed_baseline()
        found = ratios.ratio(
            name, benchmark.stats.stats.data, around[-rounds - 1 :], limit, note, slack
        )
        benchmark.extra_info.update(dataclasses.asdict(found))
        request.config.stash[FOUND].append(found)

        assert found.holds, (
            f"{name}: {found.median:.3f} [{found.low:.3f}, {found.high:.3f}], at most"
            f" {found.at_most}"
        )
        return found

    return measure


@pytest.fixture(scope="session")
def study():
    """The loop that is timed against."""
    return beside("study")


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
        note = f" ({r.note})" if r.note else ""
        terminalreporter.write_line(
            f"| {r.name}{note} | {r.median:.3f} | {r.low:.3f} to {r.high:.3f} | {r.at_most} |"
            f" {r.seconds:.3g} |"
        )
