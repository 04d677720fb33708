"""Looks at doubling numbers of images: their levels against published ones and by simulation, the
sequential p, and verdicts.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from probes.errors import BadInput
from probes.judge import both, exceeds, looks, sequential
from probes.judge.asking import Question


def rng(*name):
    return np.random.Generator(np.random.Philox(key=np.array([88, *name], np.uint64)))


def table(values, site="a"):
    base = {"net": "n", "weights": "w", "dataset": "d", "train_seed": 0, "draw": 0, "level": 0.1}
    return pd.DataFrame(base | {"image": np.arange(len(values)), "site": site, "gain": values})


def test_the_looks_double_from_300_images_on():
    assert looks.sizes(10_000) == (312, 625, 1250, 2500, 5000, 10_000)
    assert looks.sizes(1000) == (500, 1000)
    assert looks.sizes(599) == (599,)
    with pytest.raises(BadInput, match="until=0"):
        looks.sizes(0)


def test_equal_looks_with_linear_spending_have_the_published_bounds():
    """Kim and DeMets (1987), rho = 1, five equal looks at a one-sided .025: 2.576 to 2.227 (the
    values that ``gsDesign(k = 5, test.type = 1, alpha = .025, sfu = sfPower, sfupar = 1)`` gives).
    """
    found = stats.norm.isf(looks.levels((1, 2, 3, 4, 5), 0.025))

    np.testing.assert_allclose(found, [2.576, 2.486, 2.414, 2.342, 2.266], atol=0.08)
    assert found[0] == pytest.approx(stats.norm.isf(0.005), abs=1e-6)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 8])
def test_the_error_up_to_each_look_is_alpha_times_its_share(alpha):
    plan = looks.sizes(10_000)
    g = rng(1)
    steps = np.sqrt(np.diff(plan, prepend=0))
    z = np.cumsum(g.standard_normal((400_000, len(plan))) * steps, 1) / np.sqrt(plan)
    crossed = np.maximum.accumulate(z > stats.norm.isf(looks.levels(plan, alpha)), 1).mean(0)
    want = alpha * np.array(plan) / plan[-1]

    np.testing.assert_allclose(crossed, want, atol=4 * np.sqrt(alpha / 400_000))


@pytest.mark.parametrize(("plan", "alpha"), [((300, 600), 0.05), ((312, 625, 1250), 0.01)])
def test_the_levels_are_those_of_the_multivariate_normal(plan, alpha):
    """The law of the estimates at the looks is known: independent increments."""
    z = stats.norm.isf(looks.levels(plan, alpha))
    times = np.array(plan, float)
    law = np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
    for i in range(1, len(plan) + 1):
        below = stats.multivariate_normal.cdf(
            z[:i], np.zeros(i), law[:i, :i], maxpts=2_000_000, abseps=1e-8, releps=1e-8
        )
        crossed = 1 - below
        assert crossed == pytest.approx(alpha * plan[i - 1] / plan[-1], abs=alpha * 1e-4)


def test_the_sequential_p_and_the_levels_are_one_procedure():
    plan = looks.sizes(5000)
    for j in (1, 2, 5):
        for i, level in enumerate(looks.levels(plan, 0.05 / j)):
            assert looks.sequential_p(plan, i, level, 0.05, 5) == pytest.approx(0.05 / j, rel=1e-9)
            for p in (level * 0.999, level * 1.001):
                assert (looks.sequential_p(plan, i, p, 0.05, 5) <= 0.05 / j) == (p < level)


def test_a_sequential_p_is_uniform_or_larger_under_the_null():
    plan = looks.sizes(1200)
    g = rng(2)
    z = np.cumsum(g.standard_normal((3000, 3)) * np.sqrt(np.diff(plan, prepend=0)), 1)
    p = stats.norm.sf(z / np.sqrt(plan))
    least = [min(looks.sequential_p(plan, i, one[i]) for i in range(3)) for one in p]

    for alpha in (0.2, 0.05, 0.01):
        assert np.mean(np.array(least) <= alpha) <= alpha + 3 * np.sqrt(alpha / 3000)


def ask_of(frame, sesoi=0.1):
    def ask(n, level):
        part = frame[frame["image"] < n]
        return Question("exceeds", "gain", sesoi, "site").of(part, level)

    return ask


def test_what_is_plain_is_decided_at_the_first_look():
    x = 0.5 + 0.1 * rng(3).standard_normal(5000)
    said = []
    found = sequential(ask_of(table(x)), 5000, say=said.append)

    assert found.overall == "supported"
    assert [look.n for look in found.path] == [312]
    assert said == ["look 1 of 5, 312 images: 1 of 1 block decided"]
    assert "after 312 of at most 5,000 images (look 1 of 5, at level 0.00312)" in found.scope
    assert "biased outwards" in found.scope
    assert found.level == found.path[-1].level < found.alpha == 0.05


def test_what_is_near_the_sesoi_is_looked_at_to_the_end():
    x = 0.1 + 0.2 * rng(4).standard_normal(2400)
    found = sequential(ask_of(table(x)), 2400)

    assert [look.n for look in found.path] == [300, 600, 1200, 2400]
    assert "biased" not in found.scope


def test_a_family_goes_on_until_every_block_is_decided():
    g = rng(5)
    plain, close = (c + 0.3 * g.standard_normal(2400) for c in (0.5, 0.13))
    frame = pd.concat([table(plain, "a"), table(close, "b")], ignore_index=True)
    found = sequential(ask_of(frame), 2400)

    assert found.path[0].decided == 1
    assert found.path[-1].n > 300
    assert found.overall == "supported"


def test_what_one_look_has_decided_a_later_one_does_not_take_back():
    """Block a is plainly above at first, and below in all images: it stays supported."""
    a = np.repeat([0.5, -0.4], [300, 2100]) + 0.01 * rng(6).standard_normal(2400)
    b = 0.1 + 0.2 * rng(7).standard_normal(2400)
    found = sequential(ask_of(pd.concat([table(a, "a"), table(b, "b")], ignore_index=True)), 2400)

    assert found.path[-1].n == 2400
    assert found["a"].outcome == "supported"


def test_a_claim_of_two_parts_is_decided_as_a_whole():
    g = rng(8)
    frame = table(0.5 + 0.1 * g.standard_normal(2400)).assign(
        other=-0.5 + 0.1 * g.standard_normal(2400)
    )

    def ask(n, level):
        part = frame[frame["image"] < n]
        return both(
            Question("exceeds", "gain", 0.1, "site").of(part, level),
            Question("below", "other", 0.1, "site").of(part, level),
        )

    found = sequential(ask, 2400)
    assert (found.overall, found.path[-1].n) == ("supported", 300)
    assert max(leaf.p_supported for leaf in found["a"].leaves) < 0.05


def test_a_claim_whose_units_are_no_images_is_asked_once():
    rows = [table([0.5 + 0.01 * seed]).assign(train_seed=seed) for seed in range(8)]
    frame = pd.concat(rows, ignore_index=True)
    asked = []

    def ask(n, level):
        asked.append((n, level))
        return Question("exceeds", "gain", 0.1, unit="train_seed").of(frame, level)

    found = sequential(ask, 10_000)
    assert (found.overall, found.path, asked[-1]) == ("supported", (), (10_000, 0.05))
    assert exceeds(frame, "gain", sesoi=0.1, unit="train_seed").overall == "supported"


@pytest.mark.parametrize("effect", [0.0, 1.0, 2.0, 5.0])
def test_the_error_at_the_sesoi_is_kept_and_images_are_saved_elsewhere(effect):
    """With the rules as they are: at 5 SESOI a tenth of the images decide."""
    g = rng(9 + int(effect))
    sesoi, used, wrong = 0.01, [], 0
    for _ in range(40):
        x = np.clip(effect * sesoi + 0.12 * g.standard_normal(2400), -1, 1)
        found = sequential(ask_of(table(x), sesoi), 2400)
        used.append(found.path[-1].n)
        wrong += found.overall == "supported" if effect <= 1 else found.overall == "refuted"

    assert wrong <= 0.05 * 40 + 3 * np.sqrt(0.05 * 0.95 * 40)
    assert np.mean(used) < {0.0: 1400, 1.0: 2400, 2.0: 1400, 5.0: 340}[effect]
