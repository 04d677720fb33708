"""The section on weight noise: what its tables and figures show."""

import numpy as np
import pandas as pd
import pytest

from probes.studies.weight_noise import pages as decay
from probes.studies.weight_noise import plots


def rows(nets=("a", "b"), alphas=(0.0, 0.1, 1.0), seeds=3):
    return pd.DataFrame(
        [
            {
                "architecture": net,
                "regime": regime,
                "seed": seed,
                "dataset": "d",
                "alpha_train": 0.2 * (regime == "noisy"),
                "alpha_test": alpha,
                "acc": 0.9 - 0.01 * seed - (0.1 if regime == "noisy" else 0.2) * alpha,
                "loss": 0.1 + alpha,
            }
            for net in nets
            for regime in ("clean", "noisy")
            for seed in range(seeds)
            for alpha in alphas
        ]
    )


def folder_of(tmp_path, sweep, primary="yes"):
    calibration = pd.DataFrame(
        [
            {
                "architecture": net,
                "dataset": "d",
                "seeds": "3 4",
                "alpha": alpha,
                "drop": drop,
                "primary": primary if alpha == 1 else "no",
            }
            for net in ("a", "b")
            for alpha, drop in ((0.1, 0.01), (1.0, 0.2))
        ]
    )
    runs = sweep.drop_duplicates(["architecture", "regime", "seed"]).assign(
        epochs=10,
        lr=1e-3,
        batch_size=128,
        draws=5,
        images=1000,
        perturbed_tensors=2,
        perturbed_parameters=900,
        parameters=1000,
        perturbed="fc1.weight fc2.weight",
    )
    for name, frame in (("sweep", sweep), ("calibration", calibration), ("runs", runs)):
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path


def test_the_summary_gives_points_lost_with_their_range():
    text = decay.summary(rows(), {"a": 1.0})
    lines = [line.split(" | ") for line in text.splitlines()[2:]]

    assert [line[0].strip("| ") for line in lines] == ["a", "a", "b", "b"]
    assert lines[0][7:9] == ["0.100", "1.100"]
    assert lines[0][4:7] == ["89.00", "2.00 [2.00, 2.00]", "20.00 [20.00, 20.00]"]
    assert lines[1][5] == "1.00 [1.00, 1.00]"
    assert lines[2][6] == ""


@pytest.mark.drawn
def test_the_section_says_what_was_perturbed_and_where_each_network_is_judged(tmp_path):
    text = decay.section(folder_of(tmp_path, rows()))

    assert "| a | 2 | 900 | 90.0% | 10 | 0.001 | 128 | fc1.weight, fc2.weight |" in text
    assert "| a | 3 4 | 1.00 | 20.00 | 1 |" in text
    assert all(
        (tmp_path / "figures" / f"{name}.png").stat().st_size > 5000 for name in ("decay", "drops")
    )


def test_a_network_that_loses_too_little_is_said_to_have_no_primary_alpha(tmp_path):
    assert "none: it loses less than 5 points" in decay.section(
        folder_of(tmp_path, rows(), primary="no")
    )


def test_a_folder_without_rows_has_no_section(tmp_path):
    assert decay.section(tmp_path) == ""
    assert decay.section(folder_of(tmp_path, rows().iloc[:0])) == ""


@pytest.mark.parametrize("regimes", [["clean"], ["noisy"]])
def test_one_regime_alone_is_drawn(regimes):
    sweep = rows()
    sweep = sweep[sweep["regime"].isin(regimes)]
    axes = plots.curves(sweep, {"a": 1.0}).axes

    assert [len(ax.lines) for ax in axes[:2]] == [2, 1]  # a's primary alpha is a line, too
    assert plots.drops(sweep, {}).axes


def test_the_curve_is_the_mean_over_seeds_and_the_band_their_range():
    ax = plots.curves(rows(nets=("a",)), {}).axes[0]

    assert np.allclose(ax.lines[0].get_ydata(), [89, 87, 69])
    assert {round(float(y), 6) for _, y in ax.collections[0].get_paths()[0].vertices} == {
        68,
        70,
        86,
        88,
        90,
    }
    assert np.allclose(np.diff(ax.get_xticks()), [0.5, 1.0])
