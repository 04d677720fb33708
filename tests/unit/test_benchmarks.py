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


@pytest.mark.slow
def test_the_table_of_a_gpu_is_made_on_a_cpu_for_a_trial(tmp_path, child):
    """It takes the place of the one in a page. On a CPU the code of a device is compared."""
    page = tmp_path / "gpu.md"
    page.write_text(
        "before\n\n<!-- table of benchmarks/gpu.py -->\nold\n<!-- end of the table -->\nafter\n",
        encoding="utf-8",
    )
    script = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
    code, _, error = child([script, "--device", "cpu", "--quick", "--out", page]).told()
    text = page.read_text(encoding="utf-8")
    rows = dict(line[2:-2].split(" | ") for line in text.splitlines() if line.count(" | ") == 1)

    assert (code, error) == (0, "")
    assert text.startswith("before\n\n<!--")
    assert text.endswith("-->\nafter\n")
    assert "old" not in text
    assert "no GPU was used" in text
    assert rows["160,008 raw words, by torch's integers"] == "equal"
    assert 0 < float(rows["160,008 normals, largest difference"]) <= 1e-6
    assert rows["resnet20@mnist5k, verdicts of H1 (mixed)"] == "the same"
    assert rows["resnet20@mnist5k, right on one and wrong on the other"] == "0 of 400"
    assert "l2_h" in rows["resnet20@mnist5k, block layer3.2, largest difference"]
