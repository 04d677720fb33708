"""The rules over images and draws: against an independent implementation, against themselves, and
against what draws do that are not the typical ones.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from probes import seeds
from probes.judge import crossed, rules

CROSSED = pd.read_csv(Path(__file__).with_name("reference_two_way.csv"))


def effects(n, draws, case=0, image=0.2, draw=0.05, left=0.3, label="reference crossed"):
    def z(name, *shape):
        return (
            seeds.normals(int(np.prod(shape)), [(label, case, name)])[0]
            .astype(float)
            .reshape(shape)
        )

    return image * z("image", n, 1) + draw * z("draw", 1, draws) + left * z("left", n, draws)


@pytest.mark.parametrize("c", list(CROSSED.itertuples()), ids=lambda c: f"two-way-{c.case}")
def test_the_two_way_rule_is_the_less_favourable_of_the_independent_t_and_halls(c):
    y = effects(
        c.n, c.draws, c.case, [0.2, 0.02, 1.0][c.case % 3], [0.05, 0.3, 0.001][(c.case // 2) % 3]
    )
    found = crossed.two_way(y, c.delta, c.alpha)

    draws, df = y.mean(0), min(c.n, c.draws) - 1
    g, j = stats.skew(draws), c.draws
    se = found.spread / np.sqrt(c.n)
    t = (y.mean() - c.delta) / se
    hall = t + g * t**2 / (3 * j**0.5) + g**2 * t**3 / (27 * j) + g / (6 * j**0.5)
    assert stats.t.sf(t, df) == pytest.approx(c.p_up, rel=1e-6, abs=1e-9)
    np.testing.assert_allclose(
        [found.p_up, found.p_down, found.estimate],
        [max(c.p_up, stats.t.sf(hall, df)), max(c.p_down, stats.t.cdf(hall, df)), c.estimate],
        rtol=1e-6,
        atol=1e-9,
    )
    assert found.low <= c.low + 1e-9
    assert found.high >= c.high - 1e-9


@pytest.mark.parametrize(
    ("rule", "fewest"),
    [(crossed.two_way, 2), (crossed.typical_draw, 3)],
    ids=["two-way", "typical draw"],
)
@settings(max_examples=100, deadline=None)
@given(st.data(), st.floats(-1, 1), st.sampled_from([0.05, 0.005]), st.integers(0, 99))
def test_a_rule_and_its_interval_are_one_procedure_and_have_a_mirror_image(
    rule, fewest, data, delta, alpha, case
):
    n, draws = (data.draw(st.integers(fewest, most)) for most in (12, 25))
    y = effects(n, draws, case, draw=0.2)
    found, other = rule(y, delta, alpha), rule(-y, -delta, alpha)

    assert (found.p_up <= alpha) == (found.low > delta)
    assert (found.p_down <= alpha) == (found.high < delta)
    np.testing.assert_allclose(
        [found.p_up, found.low, found.high],
        [other.p_down, -other.high, -other.low],
        rtol=1e-9,
        atol=1e-12,
    )


def test_the_components_are_those_that_the_effects_were_made_of():
    image, draw, left = crossed.two_way(
        effects(3000, 400, image=0.2, draw=0.05, left=0.3), 0
    ).components

    assert (image, draw, left) == (
        pytest.approx(0.04, rel=0.1),
        pytest.approx(0.0025, rel=0.2),
        pytest.approx(0.09, rel=0.02),
    )


def test_trap_s06c_draws_that_all_images_share_are_no_replicates():
    """With one effect per image the interval ignores the draws, and misses the mean over draws in
    nearly half of the cases.
    """
    missed = {"image": 0, "two-way": 0}
    for case in range(200):
        y = effects(300, 20, case, image=0.2, draw=0.1, left=0.3, label="trap s06c")
        for name, found in (
            ("image", rules.mean(y.mean(1), 0)),
            ("two-way", crossed.two_way(y, 0)),
        ):
            missed[name] += not found.low <= 0 <= found.high

    assert missed["image"] > 60
    assert missed["two-way"] < 32  # 10 % of 200, and three standard errors


def test_the_two_way_rule_names_what_is_missing():
    assert (
        "200 images and 20 draws, there are 300 and 5"
        in crossed.two_way(effects(300, 5), 0).obstacle
    )
    assert "there are 100 and 20" in crossed.two_way(effects(100, 20), 0).obstacle
    assert crossed.two_way(np.zeros((300, 20)), 0).obstacle == "all effects are exactly 0"
    assert crossed.two_way(effects(300, 1), 0).p_up == 1


def test_the_typical_draw_is_the_trimmed_mean_over_draws_of_scipy():
    y = effects(300, 25, 7, draw=0.2)

    assert crossed.typical_draw(y, 0).estimate == pytest.approx(stats.trim_mean(y.mean(0), 0.2))
    assert crossed.typical_draw(y[:100], 0).obstacle.endswith("there are 100 and 25")


def test_many_tables_are_judged_at_once_as_each_is_alone():
    y = np.stack([effects(200, 20, case) for case in range(4)])
    for rule in (crossed.two_way, crossed.typical_draw):
        every = rule(y, 0.01)
        for i in range(4):
            one = rule(y[i], 0.01)
            assert (one.p_up, one.low, one.high, one.obstacle) == (
                every.p_up[i],
                every.low[i],
                every.high[i],
                every.obstacle[i],
            )
