"""Maps together: planted and permuted labels, folds that keep channels whole, rank correlation
against scipy.
"""

import numpy as np
import pytest
from scipy import stats

from probes.errors import BadInput
from probes.studies.sensitivity import indexstats
from probes.studies.sensitivity.indexstats import agree, classify_maps, map_similarity

NAMES = ("a", "b", "c")


def generator(seed):
    return np.random.Generator(np.random.Philox(seed))


def planted(channels=24, side=4, seed=0):
    """A pattern for each variable beneath noise, the same in every channel."""
    rng = generator(seed)
    return rng.normal(size=(3, channels, side, side)) + 1.5 * rng.normal(size=(3, 1, side, side))


def test_planted_patterns_are_identified():
    found = classify_maps(planted(), NAMES, "planted", permutations=39)

    assert found.accuracy > 0.8
    assert found.p == 1 / 40
    assert found.null.mean() == pytest.approx(found.chance, abs=0.08)
    np.testing.assert_allclose(found.confusion.sum(1), 1)
    assert np.diag(found.confusion).min() > 0.5


def test_trap_s12_maps_of_one_channel_alike_identify_nothing():
    """A channel's maps are the same for all variables but for noise: split over folds they would
    seem to be told apart.
    """
    rng = generator(1)
    maps = 3 * rng.normal(size=(1, 30, 4, 4)) + 0.1 * rng.normal(size=(3, 30, 4, 4))
    found = classify_maps(maps, NAMES, "channels", permutations=39)

    assert found.accuracy == pytest.approx(found.chance, abs=0.12)
    assert found.p > 0.02


def test_folds_never_split_a_channel(monkeypatch):
    seen = []
    real = indexstats._projected
    monkeypatch.setattr(
        indexstats, "_projected", lambda flat, folds: seen.append(folds) or real(flat, folds)
    )
    classify_maps(planted(11), NAMES, "folds", repeats=2, permutations=1)

    for folds in seen:
        assert sorted(np.concatenate(folds).tolist()) == list(range(11))
    assert not all((a == b).all() for a, b in zip(seen[0], seen[1], strict=True))


def test_p_is_uniform_enough_without_an_effect():
    ps = [
        classify_maps(
            generator(i).normal(size=(3, 10, 2, 2)), NAMES, "null", i, repeats=1, permutations=19
        ).p
        for i in range(40)
    ]

    assert np.mean(np.array(ps) <= 0.1) <= 0.25
    assert np.mean(ps) == pytest.approx(0.5, abs=0.15)


def test_channels_with_dead_units_are_left_out_and_counted():
    maps = planted(12)
    maps[0, 3, 1, 1] = np.nan
    found = classify_maps(maps, NAMES, "dead", repeats=1, permutations=1)

    assert (found.channels, found.left_out) == (11, 1)


def test_rank_correlation_is_scipys():
    rng = generator(2)
    first, second = rng.normal(size=(2, 9, 2, 3)), rng.normal(size=(3, 9, 2, 3))
    found = agree(first, second, "scipy")

    for i in range(2):
        for j in range(3):
            by_pixel = [
                stats.spearmanr(first[i, :, y, x], second[j, :, y, x]).statistic
                for y in range(2)
                for x in range(3)
            ]
            assert found.mean[i, j] == pytest.approx(np.mean(by_pixel))
            assert found.std[i, j] == pytest.approx(np.std(by_pixel))
    assert (found.pixels, found.channels) == (6, 9)
    assert ((found.low < found.mean) & (found.mean < found.high)).all()


def test_the_same_maps_agree_and_dead_units_are_left_out():
    maps = generator(3).normal(size=(1, 12, 2, 2))
    holed = maps.copy()
    holed[0, 4, 0, 0] = np.nan
    holed[0, :9, 1, 1] = np.nan  # three channels are left there: too few
    found = agree(holed, maps, "same")

    assert found.mean[0, 0] == pytest.approx(1)
    assert found.pixels == 3


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: classify_maps(planted(4), NAMES, "few"),
            "4 channels without dead units for 5 folds",
        ),
        (lambda: classify_maps(planted(), ("a",), "names"), "of 1 variables"),
        (lambda: agree(np.zeros((1, 4, 2, 2)), np.zeros((1, 4, 2, 2)), "few"), "5 channels"),
        (lambda: agree(np.zeros((1, 6, 2, 2)), np.zeros((1, 6, 2, 3)), "shape"), "the same units"),
    ],
)
def test_what_can_not_be_is_refused(call, says):
    with pytest.raises(BadInput, match=says):
        call()


def test_maps_of_the_same_channels_are_found_among_those_of_others():
    rng = np.random.Generator(np.random.Philox(2))
    first = rng.normal(size=(3, 40, 5, 5))
    found = map_similarity(first, first + rng.normal(0, 0.3, first.shape))
    other = map_similarity(first, rng.normal(size=first.shape))

    assert (found.rho > 0.7).all()
    assert (found.p <= 1 / 40).all()
    assert (found.difference_p <= 0.2).mean() > 0.8
    assert abs(other.rho.mean()) < 0.1
    assert other.p.mean() == pytest.approx(0.5, abs=0.15)


def test_what_all_channels_have_in_common_does_not_make_two_maps_the_same():
    """Maps with a common middle are alike by far, and no more than those of other channels."""
    rng = np.random.Generator(np.random.Philox(3))
    common = np.arange(25.0).reshape(5, 5)
    first, second = (common + rng.normal(0, 2, (2, 50, 5, 5)) for _ in range(2))
    found = map_similarity(first, second)

    assert found.rho.mean() > 0.8
    assert (found.p <= 0.05).mean() < 0.2


def test_rho_is_scipys_and_a_constant_map_says_nothing():
    rng = np.random.Generator(np.random.Philox(4))
    first, second = rng.normal(size=(2, 1, 3, 2, 3))
    second[0, 1] = 0.5
    found = map_similarity(first, second)

    assert found.rho[0] == pytest.approx(
        stats.spearmanr(first[0, 0].ravel(), second[0, 0].ravel()).statistic
    )
    assert found.rho[1] == 0
    with pytest.raises(BadInput, match="two channels and three places"):
        map_similarity(first[:, :1], second[:, :1])
