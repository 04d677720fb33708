"""Holm twice, and the overall verdict over a family."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.judge import family

ps = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_holm_is_the_textbook_example():
    assert family.holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx(
        [0.03, 0.06, 0.06, 0.02]
    )


@given(ps)
def test_holm_lies_between_the_p_value_and_bonferroni(p):
    adjusted = family.holm(p)

    assert (adjusted >= np.array(p) - 1e-12).all()
    assert (adjusted <= np.minimum(1, np.array(p) * len(p)) + 1e-12).all()


@given(ps, st.randoms())
def test_holm_does_not_depend_on_the_order(p, random):
    order = list(range(len(p)))
    random.shuffle(order)

    np.testing.assert_allclose(family.holm([p[i] for i in order]), family.holm(p)[order])


@given(ps)
def test_no_member_is_both(p):
    up, down = np.array(p), 1 - np.array(p)
    found = family.outcomes(up, down, 0.05)

    assert all(o in ("supported", "refuted", "inconclusive") for o in found)
    assert not any(
        a <= 0.05 and b <= 0.05 for a, b in zip(family.holm(up), family.holm(down), strict=True)
    )


@pytest.mark.parametrize(
    ("up", "down", "expected"),
    [
        ([0.04, 0.04, 0.04], [0.96, 0.96, 0.96], "supported"),  # intersection-union: no Holm
        ([0.96, 0.96], [0.04, 0.04], "refuted"),
        ([0.001, 0.999], [0.999, 0.001], "mixed"),
        ([0.04, 0.96], [0.96, 0.04], "inconclusive"),  # Holm leaves neither
        ([0.001, 0.5], [0.999, 0.5], "inconclusive"),
        ([0.03], [0.97], "supported"),
    ],
)
def test_the_overall_verdict(up, down, expected):
    assert family.overall(up, down, 0.05) == expected


def test_trap_s03_the_best_of_33_null_effects_is_not_a_hit():
    """Reporting the best of 33 null layers finds one in about four of five families; Holm over the
    family in one of 20.
    """
    z = np.random.Generator(np.random.Philox(5)).uniform(size=(2000, 33))
    uncorrected = np.mean([(row <= 0.05).any() for row in z])
    corrected = np.mean(["supported" in family.outcomes(row, 1 - row, 0.05) for row in z])

    assert uncorrected > 0.75
    assert corrected <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 2000)
