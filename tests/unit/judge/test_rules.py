"""The rules, against scipy, against an independent implementation, and against themselves (test and
interval are dual).
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from probes import seeds
from probes.errors import BadInput
from probes.judge import ranking, rules

# Made by an implementation of the same published formulas that shares no code with ours.
REFERENCE = pd.read_csv(Path(__file__).with_name("reference_rules.csv"))
RULES = {
    "trimmed_mean": rules.trimmed_mean,
    "mean": rules.mean,
    "score": rules.score,
    "signed_rank": ranking.signed_rank,
}


def reference_data(case):
    z = seeds.normals(case.n, [("reference data", case.case)])[0].astype(float)
    if case.rule == "score":
        return np.sign(z) * (abs(z) > [0.3, 1.0, 1.6, 2.2][case.law])
    return [z, np.exp(z), -np.exp(z / 2), z**3][case.law]


@pytest.mark.parametrize("case", list(REFERENCE.itertuples()), ids=lambda c: f"{c.rule}-{c.case}")
def test_a_rule_equals_the_independent_implementation(case):
    found = RULES[case.rule](reference_data(case), case.delta, case.alpha)
    expected = [case.p_up, case.p_down, case.low, case.high, case.estimate]

    np.testing.assert_allclose(
        [found.p_up, found.p_down, found.low, found.high, found.estimate],
        expected,
        rtol=1e-6,
        atol=1e-9,
    )


effects = st.lists(st.floats(-2, 2).map(lambda v: round(v, 3)), min_size=5, max_size=60).map(
    np.array
)
ternary = st.lists(st.sampled_from([-1.0, 0.0, 0.0, 0.0, 1.0]), min_size=20, max_size=200).map(
    np.array
)
cases = st.one_of(
    st.tuples(st.sampled_from(["trimmed_mean", "mean"]), effects),
    st.tuples(st.just("signed_rank"), effects.map(lambda x: x[:14])),
    st.tuples(st.just("score"), ternary),
)


@settings(max_examples=300, deadline=None)
@given(
    cases, st.floats(-0.9, 0.9).map(lambda v: round(v, 4)), st.sampled_from([0.05, 0.025, 0.005])
)
def test_supported_means_that_the_interval_lies_beyond_delta(case, delta, alpha):
    name, x = case
    found = RULES[name](x, delta, alpha)
    if min(abs(found.low - delta), abs(found.high - delta)) < 1e-9:
        return  # the last bit decides

    assert (found.p_up <= alpha) == (found.low > delta)
    assert (found.p_down <= alpha) == (found.high < delta)
    assert found.p_up + found.p_down >= 1 - 1e-9


@settings(max_examples=200, deadline=None)
@given(cases, st.floats(-0.9, 0.9).map(lambda v: round(v, 4)))
def test_mirrored_effects_give_mirrored_answers(case, delta):
    name, x = case
    a, b = RULES[name](x, delta), RULES[name](-x, -delta)

    np.testing.assert_allclose(
        [a.p_up, a.p_down, a.low, a.high], [b.p_down, b.p_up, -b.high, -b.low], rtol=1e-6, atol=1e-9
    )


def test_the_trimmed_mean_is_that_of_scipy():
    x = seeds.normals(201, [("scipy", 0)])[0].astype(float) ** 3

    assert rules.trimmed_mean(x, 0).estimate == pytest.approx(stats.trim_mean(x, 0.2), rel=1e-12)


def test_the_trimmed_interval_is_near_that_of_scipy_which_counts_other_degrees_of_freedom():
    x = seeds.normals(500, [("scipy", 1)])[0].astype(float)
    low, high = stats.mstats.trimmed_mean_ci(x, limits=(0.2, 0.2), alpha=0.1)
    found = rules.trimmed_mean(x, 0)

    assert (found.high - found.low) == pytest.approx(high - low, rel=0.03)


def test_the_mean_rule_is_students_t_where_there_is_no_skewness():
    half = seeds.normals(150, [("scipy", 2)])[0].astype(float)
    x = np.concatenate([half, -half]) + 0.1

    assert rules.mean(x, 0).p_up == pytest.approx(
        stats.ttest_1samp(x, 0, alternative="greater").pvalue, rel=1e-6
    )


def test_the_score_test_needs_361_unchanged_images_to_refute_one_point():
    assert rules.score(np.zeros(361), 0.01).p_down <= 0.05 < rules.score(np.zeros(360), 0.01).p_down


@pytest.mark.parametrize(("rule", "fewest"), [("trimmed_mean", 100), ("score", 20)])
def test_too_few_units_are_named(rule, fewest):
    x = np.sign(seeds.normals(fewest, [("few", 0)])[0].astype(float))
    if rule == "trimmed_mean":
        x = seeds.normals(fewest, [("few", 0)])[0].astype(float)

    assert RULES[rule](x, 0.1).obstacle == ""
    assert str(fewest) in RULES[rule](x[:-1], 0.1).obstacle


def test_the_mean_rule_names_its_three_conditions():
    z = seeds.normals(400, [("few", 1)])[0].astype(float)
    rare = np.zeros(400)
    rare[:90] = z[:90]

    assert "200 units" in rules.mean(z[:199], 0).obstacle
    assert "skewness" in rules.mean(np.exp(3 * z), 0).obstacle
    assert "nonzero" in rules.mean(rare, 0).obstacle
    assert rules.mean(z, 0).obstacle == ""


@pytest.mark.parametrize("rule", [rules.trimmed_mean, rules.mean])
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_trap_s06_identical_effects_leave_a_t_rule_without_a_verdict(rule, value):
    found = rule(np.full(500, value), 0.1)

    assert (found.p_up, found.p_down) == (1.0, 1.0)
    assert found.estimate == pytest.approx(value)
    assert "0" in found.obstacle if value == 0 else "same" in found.obstacle


def test_trap_s06_all_zero_effects_are_judged_by_the_score_test_alone():
    assert rules.score(np.zeros(1000), 0.01).p_down < 0.01
    assert ranking.signed_rank(np.zeros(8), 0.01).obstacle == "all effects are exactly 0"


def test_dead_units_in_the_tails_leave_the_trimmed_mean_alone():
    x = np.concatenate([seeds.normals(190, [("dead", 0)])[0].astype(float), np.full(10, -np.inf)])

    assert np.isfinite(rules.trimmed_mean(x, 0).low)


def test_more_than_a_fifth_of_dead_units_is_an_error():
    x = np.concatenate([np.zeros(150), np.full(50, -np.inf)])
    with pytest.raises(BadInput, match="25% of the images"):
        rules.trimmed_mean(x, 0)


def test_the_score_test_refuses_other_effects():
    with pytest.raises(BadInput, match="-1, 0 and 1"):
        rules.score(np.array([0.5, 1.0]), 0)


def test_trap_s06_a_sign_flip_of_the_mean_is_the_t_test_in_disguise():
    """Flipping signs gives the p of t on skewed effects, so it is no exact test and no rule of
    ours.
    """
    x = np.exp(seeds.normals(60, [("flip", 0)])[0].astype(float)) - 1.2
    flips = np.where(seeds.uniform(60 * 4000, "flip", 1).reshape(4000, 60) < 0.5, -1, 1)
    flipped = (flips * x).mean(1)
    p = np.mean(flipped >= x.mean())

    assert p == pytest.approx(stats.ttest_1samp(x, 0, alternative="greater").pvalue, abs=0.03)
    assert not any("flip" in name or "boot" in name for name in dir(rules))
