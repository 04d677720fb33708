"""Moments per image, against numpy in double precision."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probes import seeds
from probes.moments import flatten_images, mean_and_variance, power_sums, sign_sums

shapes = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6), st.integers(1, 6))


@settings(max_examples=60, deadline=None)
@given(shapes, st.booleans(), st.floats(-50, 50), st.floats(0.01, 20))
def test_sums_are_those_of_numpy(shape, channels_last, offset, scale):
    x = torch.from_numpy(
        seeds.normals(int(np.prod(shape)), [("moments",)])[0] * np.float32(scale)
        + np.float32(offset)
    )
    x = x.reshape(shape)
    memory = torch.channels_last if channels_last else torch.contiguous_format
    row = flatten_images(x.contiguous(memory_format=memory))
    mean, variance = mean_and_variance(row)
    total, zeros, size = sign_sums(row)
    double = x.double().flatten(1).numpy()

    np.testing.assert_allclose(mean, double.mean(1), rtol=1e-5, atol=1e-5 * (abs(offset) + scale))
    np.testing.assert_allclose(variance, double.var(1), rtol=2e-4, atol=1e-6 * scale**2)
    np.testing.assert_allclose(
        total, double.sum(1), rtol=1e-5, atol=1e-5 * (abs(offset) + scale) * row.shape[1]
    )
    np.testing.assert_allclose(size, abs(double).sum(1), rtol=1e-5)
    assert zeros.tolist() == (double <= 0).sum(1).tolist()


@pytest.mark.parametrize("piece", [1, 7, 40, 10**6])
def test_rows_are_the_same_in_any_pieces(piece, monkeypatch):
    row = torch.from_numpy(seeds.normals(20, [("pieces", i) for i in range(9)]))
    whole = sign_sums(row)
    monkeypatch.setattr("probes.moments.PIECE", piece)

    assert all(torch.equal(a, b) for a, b in zip(whole, sign_sums(row), strict=True))
    assert sign_sums(row, size=False)[2] is None


def test_more_elements_than_float32_counts_are_counted_exactly():
    row = torch.zeros(1, (1 << 24) + 3, dtype=torch.bfloat16)

    assert sign_sums(row)[1].item() == (1 << 24) + 3


def test_a_large_mean_costs_no_digits():
    x = torch.from_numpy(seeds.normals(4096, [("moments", 1)])[0]).reshape(1, -1) * 1e-2 + 100

    assert mean_and_variance(x)[1].item() == pytest.approx(
        x.double().var(correction=0).item(), rel=1e-6
    )


def test_trap_r08_half_precision_does_not_overflow():
    x = torch.full((1, 64, 112, 112), 4.0, dtype=torch.float16)

    assert torch.isinf((x * x).sum(dtype=torch.float16))
    assert power_sums(flatten_images(x))[1].item() ** 2 == pytest.approx(16 * 64 * 112 * 112)


def test_trap_r10_channels_last_is_reduced_without_a_view_of_another_shape():
    x = torch.from_numpy(seeds.normals(2 * 3 * 4 * 5, [("moments", 2)])[0]).reshape(2, 3, 4, 5)
    last = x.to(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        last.view(2, -1)

    assert flatten_images(last).data_ptr() == last.data_ptr()
    np.testing.assert_allclose(
        power_sums(flatten_images(last))[1], power_sums(flatten_images(x))[1], rtol=1e-6
    )
