"""Samples of one size that are stacked are judged as each is alone; the guard of trimmed means as
its definition says.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes import seeds
from probes.judge import crossed, ranking, rules, ruling


def drawn(n, name):
    return seeds.normals(n, [("stacked", name, n)])[0].astype(float)


def samples(n):
    """Four samples of effects: plain, skewed, all alike, and all 0 but a few."""
    few = np.zeros(n)
    few[: max(1, n // 20)] = 0.4
    return np.array([drawn(n, 0), np.exp(3 * drawn(n, 1)), np.full(n, 0.3), few]).reshape(2, 2, n)


def grouped(n):
    """Samples whose tails begin early, on either side, and late."""
    x = drawn(n, 2) / 100
    low, high, late = x.copy(), x.copy(), x.copy()
    low[: int(0.19 * n)] -= 5
    high[: int(0.19 * n)] += 5
    late[: int(0.03 * n)] += 5
    return np.array([x, low, high, late]).reshape(2, 2, n)


def ternary(n):
    return np.sign(samples(n)) * (np.abs(samples(n)) > 0.35)


def crossing(n, draws=24):
    """Samples of images x draws: plain, alike, skewed over draws, and with a second group."""
    plain = drawn(n, 3)[:, None] + drawn(draws, 4) + drawn(n * draws, 5).reshape(n, draws)
    grouped = plain / 100
    grouped = grouped + np.where(np.arange(draws) < 4, 9.0, 0.0)
    alike, skewed = np.zeros((n, draws)), plain + np.exp(3 * drawn(draws, 6))
    return np.array([plain, alike, skewed, grouped]).reshape(2, 2, n, draws)


CASES = [
    *[(rules.trimmed_mean, x) for n in (2, 30, 120, 400) for x in (samples(n), grouped(n))],
    *[(rules.mean, x) for n in (1, 60, 240, 400) for x in (samples(n), grouped(n))],
    *[(rules.score, ternary(n)) for n in (12, 20, 300)],
    *[(ranking.signed_rank, x) for n in (1, 3, 5, 12) for x in (samples(n), 0 * samples(n))],
    *[(ranking.typical_group, samples(n)) for n in (12, 20)],
    *[(crossed.two_way, crossing(n)) for n in (1, 40, 220)],
    *[(crossed.typical_draw, crossing(n)) for n in (2, 40, 220)],
    *[(crossed.typical_draw, crossing(220, draws)) for draws in (2, 19, 20)],
]


@pytest.mark.parametrize(
    ("rule", "x"), CASES, ids=[f"{rule.__name__}-{i}" for i, (rule, x) in enumerate(CASES)]
)
def test_stacked_samples_are_judged_as_each_is_alone(rule, x):
    every = rule(x, 0.1, 0.025)

    for at in np.ndindex(2, 2):
        one = rule(x[at], 0.1, 0.025)
        for field in ("p_up", "p_down", "low", "high", "estimate", "spread"):
            found, alone = getattr(every, field)[at], getattr(one, field)
            np.testing.assert_allclose(found, alone, rtol=1e-9, atol=1e-12, err_msg=field)
        assert every.obstacle[at] == one.obstacle
        assert every.n == one.n
        if one.components:
            for found, alone in zip(every.components, one.components, strict=True):
                np.testing.assert_allclose(found[at], alone, rtol=1e-9, atol=1e-12)


def test_a_second_group_of_each_side_is_named_and_a_late_one_is_not():
    told = rules.trimmed_mean(grouped(400), 0).obstacle.tolist()

    assert told == [["", ruling.SECOND_GROUP], [ruling.SECOND_GROUP, ""]]


@settings(max_examples=300, deadline=None)
@given(
    st.integers(12, 60).flatmap(
        lambda n: st.lists(st.sampled_from([0, 1, 2, 3, 4, 6, 9, 14]), min_size=n, max_size=n)
    ),
    st.sampled_from([0.1, 0.2]),
)
def test_the_guard_of_trimmed_means_is_its_definition(values, trim):
    """Winsorised two standard errors of the trimmed share earlier, on one side, the spread is more
    than 1.5 times as large.
    """
    s = sorted(map(float, values))
    n, k = len(s), int(trim * len(s))
    early = max(0, k - int(2 * math.sqrt(trim * (1 - trim) * n)))

    def spread(low, high):
        kept = [min(max(v, s[low]), s[high]) for v in s]
        m = sum(kept) / n
        return math.sqrt(sum((v - m) ** 2 for v in kept) / (n - 1))

    usual = spread(k, n - k - 1)
    wider = max(spread(early, n - k - 1), spread(k, n - early - 1))
    winsorised = np.clip(s, s[k], s[n - k - 1])
    if abs(wider - 1.5 * usual) < 1e-9:
        return  # the last bit decides

    found = ruling.second_group(np.array(s), k, winsorised, trim)
    assert bool(found) == (wider > 1.5 * usual)
