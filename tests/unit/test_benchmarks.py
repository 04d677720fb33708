"""What the benchmarks conclude from times, on times that are made up."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

spec = importlib.util.spec_from_file_location(
    "probes_ratios", Path(__file__).parents[2] / "benchmarks" / "ratios.py"
)
ratios = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = ratios
spec.loader.exec_module(ratios)


def machine(rounds, truth, drift, seed=0):
    """Times of A and B in turn on a machine that slows down, with noise of 2 % and a hiccup now and
    then.
    """
    g = np.random.Generator(np.random.Philox(seed))
    speed = 1 + drift * np.arange(2 * rounds + 1) / (2 * rounds)
    times = (
        speed
        * g.normal(1, 0.02, 2 * rounds + 1)
        * np.where(g.uniform(size=2 * rounds + 1) < 0.05, 2, 1)
    )
    return truth * times[1::2], times[::2]


def test_trap_p06_a_machine_that_slows_down_does_not_change_the_ratio():
    a, b = machine(31, truth=1.05, drift=1.0)
    one_after_the_other = machine(31, 1.05, 1.0)[0][15:].mean() / b[:16].mean()
    found = ratios.ratio("x", a, b)

    assert found.low <= 1.05 <= found.high
    assert found.median == pytest.approx(1.05, abs=0.03)
    assert one_after_the_other > 1.3


def test_the_interval_covers_the_ratio_in_nine_of_ten_runs():
    found = [ratios.ratio("x", *machine(15, 1.2, 0.2, seed)) for seed in range(300)]

    assert np.mean([r.low <= 1.2 <= r.high for r in found]) > 0.85


@pytest.mark.parametrize(
    ("low", "limit", "slack", "holds"),
    [
        (1.0, 1.0, 0.0, True),
        (1.01, 1.0, 0.0, False),
        (1.09, 1.0, 0.1, True),
        (1.11, 1.0, 0.1, False),
        (9.0, None, 0.0, True),
    ],
)
def test_a_limit_fails_where_the_whole_interval_lies_beyond_it(low, limit, slack, holds):
    found = ratios.Ratio("x", low + 0.1, low, low + 0.2, limit, 1.0, slack=slack)

    assert found.holds is holds


def test_a_limit_that_is_forgiven_something_says_so():
    assert ratios.Ratio("x", 1, 1, 1, 1.05, 1.0, slack=0.1).at_most == "1.05 + 10%"
    assert ratios.Ratio("x", 1, 1, 1, 1.05, 1.0).at_most == "1.05"
