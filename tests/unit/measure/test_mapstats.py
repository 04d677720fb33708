"""Statistics that stream and merge, against numpy over everything at once; CKA against its
definition.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.errors import BadInput
from probes.measure.mapstats import LOWER, QUANTILES, UPPER, WIDTH, LinearCKA, MapStatistics


def maps(seed, n=6, depths=3, side=5, relu=True, scale=1.0):
    g = np.random.Generator(np.random.Philox(seed))
    x = (
        scale
        * g.standard_normal((n, depths, side, side))
        * np.exp(g.standard_normal((1, depths, 1, 1)))
    )
    return torch.tensor(np.maximum(x, 0) if relu else x, dtype=torch.float32)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([1e-3, 1.0, 300.0]), st.integers(1, 5))
def test_any_split_of_the_stream_gives_the_statistics_of_numpy(seed, relu, scale, cut):
    x = maps(seed, relu=relu, scale=scale)
    found = MapStatistics.of(x[:cut]).merge(MapStatistics.of(x[cut:])).summary()
    flat = x.double().permute(1, 0, 2, 3).flatten(1).numpy()

    np.testing.assert_allclose(found["mean"], flat.mean(1), rtol=1e-5, atol=1e-6 * scale)
    np.testing.assert_allclose(found["std"], flat.std(1), rtol=1e-4)
    np.testing.assert_array_equal(found["min"], flat.min(1))
    np.testing.assert_array_equal(found["max"], flat.max(1))
    np.testing.assert_allclose(found["zeros"], (flat == 0).mean(1))
    assert (found["n"] == flat.shape[1]).all()


def test_merging_changes_neither_and_the_order_does_not_matter():
    a, b = MapStatistics.of(maps(1, relu=True)), MapStatistics.of(maps(2, relu=False))
    before = a.summary(), b.summary()
    ab, ba = a.merge(b).summary(), b.merge(a).summary()

    for name, values in ab.items():
        np.testing.assert_allclose(values, ba[name], rtol=1e-12)
        np.testing.assert_array_equal(a.summary()[name], before[0][name])
        np.testing.assert_array_equal(b.summary()[name], before[1][name])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([1e-3, 1.0, 300.0]))
def test_quantiles_are_within_1_6_percent_of_a_value_at_that_rank(seed, relu, scale):
    x = maps(seed, n=20, relu=relu, scale=scale)
    found = MapStatistics.of(x)
    flat = x.permute(1, 0, 2, 3).flatten(1).double().numpy()
    for q in QUANTILES:
        low, high = (np.quantile(flat, q, axis=1, method=m) for m in ("lower", "higher"))
        # the width of a bin (half of it is 1.6 %), or the smallest size that is told apart from
        # another
        slack = np.maximum(1 / 32 * np.maximum(np.abs(low), np.abs(high)), 1.1 * 2**-16)

        assert (found.quantile(q) >= low - slack).all()
        assert (found.quantile(q) <= high + slack).all()


def test_quantiles_of_many_values_are_within_1_6_percent():
    x = maps(1, n=400, relu=False)
    found, flat = MapStatistics.of(x), x.permute(1, 0, 2, 3).flatten(1).double().numpy()
    for q in (0.05, 0.25, 0.75, 0.95):
        np.testing.assert_allclose(found.quantile(q), np.quantile(flat, q, axis=1), rtol=0.016)


def test_quantiles_of_few_values_lie_between_order_statistics_as_numpys():
    x = torch.tensor([0.0, 0.0, 1.0, 3.0]).reshape(1, 1, 2, 2)
    found = MapStatistics.of(x)

    for q in QUANTILES:
        assert found.quantile(q)[0] == pytest.approx(np.quantile([0, 0, 1, 3], q), rel=0.02)


def test_a_small_spread_about_a_large_mean_keeps_its_digits():
    x = torch.tensor(
        np.random.Generator(np.random.Philox(5)).normal(3.3, 1e-3, (8, 1, 30, 30)),
        dtype=torch.float32,
    )
    found = MapStatistics.of(x[:3]).merge(MapStatistics.of(x[3:])).summary()["std"][0]

    assert found == pytest.approx(x.double().std(correction=0).item(), rel=1e-4)


def test_the_median_of_mostly_zeros_is_zero():
    x = torch.zeros(1, 1, 10, 10)
    x[0, 0, 0] = 1.0

    assert MapStatistics.of(x).quantile(0.5)[0] == 0
    assert MapStatistics.of(x).quantile(0.99)[0] == pytest.approx(1.0, rel=0.016)


@given(st.floats(-60000, 60000, width=32))
def test_a_value_lies_in_its_bin(value):
    counts = MapStatistics.of(torch.full((1, 1, 1, 1), value)).counts[0]
    place = int(counts.argmax())

    assert counts.sum() == 1
    if value == 0:
        assert LOWER[place] == UPPER[place] == 0
    elif abs(value) >= 2**-16:
        assert LOWER[place] <= value <= UPPER[place]
    else:
        assert np.sign(value) * (LOWER[place] + UPPER[place]) > 0


def test_edges_ascend_and_meet():
    assert len(LOWER) == len(UPPER) == WIDTH
    assert (np.diff(LOWER) >= 0).all()
    inner = np.arange(WIDTH - 1) != WIDTH // 2 - 1
    assert (UPPER[:-1][inner][:1000] == LOWER[1:][inner][:1000]).all()


def test_the_layer_is_all_depths_together():
    x = maps(3)
    whole = MapStatistics.of(x).layer().summary()

    assert whole["mean"][0] == pytest.approx(x.mean().item(), rel=1e-5)
    assert whole["std"][0] == pytest.approx(x.std(correction=0).item(), rel=1e-4)
    assert len(whole["n"]) == 1


def test_a_histogram_counts_every_value_between_its_edges():
    x = maps(4, n=50, relu=True)
    found = MapStatistics.of(x).histogram(np.linspace(0, 40, 81))
    flat = x.permute(1, 0, 2, 3).flatten(1).numpy()
    expected = np.stack([np.histogram(row, np.linspace(0, 40, 81))[0] for row in flat])

    np.testing.assert_allclose(found.sum(1), expected.sum(1), rtol=1e-6)
    assert (abs(found - expected) <= 0.03 * flat.shape[1]).all()
    assert (found[:, 0] >= (flat == 0).sum(1)).all()


def test_values_that_are_not_finite_are_refused():
    x = maps(5)
    x[2, 1, 0, 0] = float("nan")
    with pytest.raises(BadInput, match=r"NaN or infinite values \(depth 1\)"):
        MapStatistics.of(x)


def hsic_by_definition(k, m):
    """Song et al. 2012: the unbiased estimator as an average over all quadruples of different
    images.
    """
    n, total, count = len(k), 0.0, 0
    for i in range(n):
        for j in range(n):
            for q in range(n):
                for r in range(n):
                    if len({i, j, q, r}) == 4:
                        total += k[i, j] * m[i, j] + k[i, j] * m[q, r] - 2 * k[i, j] * m[i, q]
                        count += 1
    return total / count


def test_cka_is_that_of_its_definition():
    x, y = maps(6, n=6).flatten(1), maps(7, n=6).flatten(1)
    k, m = ((t @ t.T).double().numpy() for t in (x, y))
    found = LinearCKA()
    found.add(x, y)
    expected = hsic_by_definition(k, m) / np.sqrt(
        hsic_by_definition(k, k) * hsic_by_definition(m, m)
    )

    assert found.value() == pytest.approx(expected, rel=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 12), st.floats(0.01, 100))
def test_cka_of_a_representation_with_itself_is_1_at_any_scale(seed, n, scale):
    x = maps(seed, n=n).flatten(1)
    found = LinearCKA()
    found.add(x, scale * x)

    assert found.value() == pytest.approx(1, abs=1e-5)


def test_cka_does_not_depend_on_a_rotation_of_the_features():
    x, y = maps(8, n=9).flatten(1), maps(9, n=9).flatten(1)
    turn = torch.linalg.qr(torch.randn(75, 75, generator=torch.Generator().manual_seed(0))).Q
    plain, turned = LinearCKA(), LinearCKA()
    plain.add(x, y)
    turned.add(x @ turn, y)

    assert turned.value() == pytest.approx(plain.value(), rel=1e-4)


def test_cka_of_independent_maps_is_near_0_and_streams():
    found = LinearCKA()
    for i in range(20):
        found.add(
            maps(2 * i, n=50, relu=False).flatten(1), maps(2 * i + 1, n=50, relu=False).flatten(1)
        )

    assert abs(found.value()) < 0.05
    assert found.images == 1000


def test_cka_is_refused_below_four_images_and_nan_without_variation():
    found = LinearCKA()
    with pytest.raises(BadInput, match="needs 4 images at least, there are 3"):
        found.add(torch.rand(3, 5), torch.rand(3, 5))
    found.add(torch.zeros(5, 4), torch.rand(5, 4))

    assert np.isnan(found.value())
