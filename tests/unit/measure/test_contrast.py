"""Contrast: by hand, against scipy unit by unit, its false discoveries, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from probes.errors import BadInput
from probes.measure.contrast import TOGETHER, contrast


def generator(seed):
    return np.random.Generator(np.random.Philox(seed))


def test_by_hand():
    clean = np.array([[0.0, 1, 0], [0, 2, 0], [0, 3, 0], [0, 4, 0], [0, 5, 0], [0, 6, 0]])
    d = np.array([[1.0, 0, 0], [2, 0, 0], [3, 0, 0], [-4, 0, 0], [5, 0, 0], [6, 0, 0]])
    found = contrast(clean, clean + d)

    assert found.share[:2].tolist() == [17 / 21, 0.5]
    np.testing.assert_allclose(found.rank_biserial[:2], [13 / 21, 0])
    both = np.r_[np.zeros(6), d[:, 0]]
    assert found.point_biserial[0] == pytest.approx(d[:, 0].mean() / 2 / both.std())
    assert (found.point_biserial[1], found.p[1]) == (0, 1)
    assert found.dead.tolist() == [False, False, True]
    assert np.isnan(found.share[2])
    assert np.isnan(found.adjusted[2])


@given(st.integers(0, 1000), st.integers(6, 40), st.floats(-0.5, 0.5), st.booleans())
@settings(max_examples=40)
def test_scipy_agrees_unit_by_unit(seed, n, shift, tied):
    drawn = generator(seed).normal(size=(2, n, 3)).astype(np.float32)
    clean, augmented = (np.round(drawn, 0 if tied else 3)) + np.array(
        [[[0.0]], [[np.round(shift, 1)]]]
    )
    found = contrast(clean, augmented)

    for i in range(3):
        d = augmented[:, i] - clean[:, i]
        if (d == 0).all() or found.dead[i]:
            continue
        ranks = stats.rankdata(np.abs(d))
        plus = ranks[d > 0].sum() + ranks[d == 0].sum() / 2
        assert found.share[i] == pytest.approx(plus / (n * (n + 1) / 2))
        assert found.p[i] == pytest.approx(
            stats.wilcoxon(d, zero_method="zsplit", method="asymptotic").pvalue
        )
        whose = np.r_[np.zeros(n), np.ones(n)]
        value = np.r_[clean[:, i], augmented[:, i]]
        if value.std() > 0:
            assert found.point_biserial[i] == pytest.approx(
                stats.pointbiserialr(whose, value).statistic, abs=1e-9
            )


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_turned_round_it_has_the_other_sign(seed):
    clean, augmented = generator(seed).normal(size=(2, 20, 4)) + np.array([0, 0.3])[:, None, None]
    one, other = contrast(clean, augmented), contrast(augmented, clean)

    np.testing.assert_allclose(one.rank_biserial, -other.rank_biserial, atol=1e-12)
    np.testing.assert_allclose(one.point_biserial, -other.point_biserial, atol=1e-12)
    np.testing.assert_allclose(one.p, other.p)


def test_the_correction_corrects():
    """Of 1,000 units that nothing moves about 50 have p < .05, and none is a discovery; 100 planted
    ones are found.
    """
    clean = generator(1).normal(size=(100, 1100))
    augmented = clean + generator(2).normal(size=clean.shape)
    augmented[:, :100] += 1.5
    found = contrast(clean, augmented)

    assert 20 < (found.p[100:] < 0.05).sum() < 100
    assert (found.adjusted[100:] < 0.05).sum() <= 5
    assert (found.adjusted[:100] < 0.05).all()
    np.testing.assert_allclose(found.adjusted, stats.false_discovery_control(found.p, method="by"))


def test_draws_of_an_image_are_not_images():
    """Ten draws of each of ten images, no effect but one of images: counted as a hundred, chance
    looks certain.
    """
    drawn = generator(3)
    effect = drawn.normal(size=(10, 1, 200))
    d = effect + 0.1 * drawn.normal(size=(10, 10, 200))
    by_image = contrast(np.zeros((10, 200)), d.mean(1))
    pooled = contrast(np.zeros((100, 200)), d.reshape(100, 200))

    assert (by_image.p < 0.05).mean() < 0.1
    assert (pooled.p < 0.05).mean() > 0.4


def test_many_units_in_pieces_are_the_same(monkeypatch):
    clean, augmented = generator(4).normal(size=(2, 12, 50))
    whole = contrast(clean, augmented)
    monkeypatch.setattr("probes.measure.contrast.TOGETHER", 12 * 7)

    assert TOGETHER > 600
    np.testing.assert_array_equal(contrast(clean, augmented).share, whole.share)
    np.testing.assert_array_equal(contrast(clean, augmented).adjusted, whole.adjusted)
    halves = contrast(clean[:, :20], augmented[:, :20]).beside(
        contrast(clean[:, 20:], augmented[:, 20:])
    )
    np.testing.assert_array_equal(halves.adjusted, whole.adjusted)


@pytest.mark.parametrize(
    ("clean", "augmented", "says"),
    [
        (np.zeros((5, 2)), np.zeros((5, 2)), "6 images at least"),
        (np.zeros((6, 2)), np.zeros((6, 3)), r"\(6, 2\) and augmented ones \(6, 3\)"),
        (np.zeros((6, 2)), np.full((6, 2), np.nan), "leave those images out"),
    ],
)
def test_what_it_refuses(clean, augmented, says):
    with pytest.raises(BadInput, match=says):
        contrast(clean, augmented)
