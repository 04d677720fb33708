"""Is it monotone in the level?  And training runs of several networks pooled."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from probes.errors import BadInput
from probes.judge import decreases, effects, exceeds, increases, questions


def table(values, unit="image", net="n"):
    """Values: a row per unit, a column per level."""
    values = np.asarray(values, float)
    n, k = values.shape
    units = np.repeat(np.arange(n), k)
    return pd.DataFrame(
        {
            "net": net,
            "weights": "w",
            "dataset": "d",
            "train_seed": units if unit == "train_seed" else 0,
            "image": 0 if unit == "train_seed" else units,
            "draw": 0,
            "level": np.tile(np.arange(k) / 10, n),
            "site": "a",
            "thing": values.ravel(),
        }
    )


@given(st.lists(st.lists(st.integers(0, 4), min_size=5, max_size=5), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_rho_is_scipys_and_zero_for_a_row_that_never_moves(rows):
    found = effects._rho(np.array(rows, float))
    for row, rho in zip(rows, found, strict=True):
        known = stats.spearmanr(range(5), row).statistic if len(set(row)) > 1 else 0.0

        assert rho == pytest.approx(known, abs=1e-12)


@pytest.mark.parametrize("unit", ["image", "train_seed"])
def test_a_rise_in_every_unit_is_supported_and_its_mirror_refuted(unit):
    rising = table(np.arange(40)[:, None] + np.arange(5), unit)

    assert increases(rising, "thing", unit=unit).overall == "supported"
    assert decreases(rising, "thing", unit=unit).overall == "refuted"
    assert (
        decreases(rising.assign(thing=-rising["thing"]), "thing", unit=unit).overall == "supported"
    )


def test_runs_are_judged_against_the_bound_and_images_by_their_share():
    """A correlation of .4 in every run lies below the bound of .5; images within the bound count
    0."""
    weak = np.tile([0.0, 3, 1, 2, 1.5], (30, 1)) + np.arange(30)[:, None]
    rho = stats.spearmanr(range(5), weak[0]).statistic

    assert 0 < rho < 0.5
    assert increases(table(weak, "train_seed"), "thing", unit="train_seed").overall == "refuted"
    found = increases(table(weak), "thing")[""]
    assert (found.estimate, found.n, found.rule) == (0, 30, "score")
    assert increases(table(weak), "thing", rho=0.1).overall == "supported"


def test_nothing_is_left_out_of_a_trend():
    found = increases(table(np.arange(40)[:, None] + np.arange(5)), "thing")

    assert "excluded" not in found[""].notes
    assert found[""].n == 40


def test_few_runs_can_not_decide():
    found = increases(
        table(np.arange(4)[:, None] + np.arange(5), "train_seed"), "thing", unit="train_seed"
    )

    assert found.overall == "inconclusive"
    assert "5 are needed" in found[""].obstacle


def test_a_trend_is_judged_again_from_its_json():
    found = increases(table(np.arange(30)[:, None] + np.arange(4)), "thing")
    again = questions.again(found.spec, list(found.inputs), found.alpha)

    assert again[""] == found[""]


@pytest.mark.parametrize(
    ("rho", "levels", "sentence"), [(1.5, 3, "between 0 and 1"), (0.5, 2, "three levels")]
)
def test_trends_that_can_not_be_asked(rho, levels, sentence):
    with pytest.raises(BadInput, match=sentence):
        increases(table(np.zeros((30, levels))), "thing", rho=rho)


def two_arms(gains, runs=3):
    rows = [
        {
            "net": net,
            "weights": arm,
            "dataset": "d",
            "train_seed": seed,
            "image": 0,
            "draw": 0,
            "level": 0.0,
            "site": "a",
            "thing": seed + (gain + 0.01 * seed) * (arm == "b"),
        }
        for net, gain in gains.items()
        for seed in range(runs)
        for arm in "ab"
    ]
    return pd.DataFrame(rows)


def ask(gains, runs=3, **more):
    return exceeds(
        two_arms(gains, runs),
        "thing",
        between=("b", "a"),
        arm="weights",
        unit="train_seed",
        sesoi=0.2,
        **more,
    )


def test_runs_are_pooled_over_networks_that_agree():
    found = ask({"x": 1.0, "y": 2.0, "z": 0.5}, pool="net")

    assert (found.overall, found[""].n) == ("supported", 9)
    assert found[""].notes["pooled"] == {"x": 1.01, "y": 2.01, "z": 0.51}
    assert "over 9 training runs of 3 networks" in found.scope


def test_one_network_on_the_other_side_of_the_sesoi_leaves_the_pool_open():
    found = ask({"x": 1.0, "y": 2.0, "z": -0.5}, pool="net")

    assert found.overall == "inconclusive"
    assert found[""].obstacle == "not pooled: z lies on the other side of the SESOI"


def test_a_family_of_networks_needs_enough_pairs():
    """Trap S1: five networks need log2(5 / .05) = 7 pairs."""
    nets = dict.fromkeys("vwxyz", 1.0)

    assert ask(nets, 6, by="net").overall == "inconclusive"
    assert "a family of 5 needs 7" in ask(nets, 6, by="net")["x"].obstacle
    assert ask(nets, 7, by="net").overall == "supported"


def test_networks_are_not_pooled_unasked_and_not_over_images():
    with pytest.raises(BadInput, match="several values of 'net'"):
        ask({"x": 1.0, "y": 1.0})
    with pytest.raises(BadInput, match="pooled are training runs"):
        exceeds(table(np.zeros((30, 3))), "thing", sesoi=0.2, pool="net")
    with pytest.raises(BadInput, match="neither by nor arm"):
        ask({"x": 1.0, "y": 1.0}, pool="weights")
