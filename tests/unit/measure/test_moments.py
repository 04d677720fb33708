"""Moments per image, against numpy in double precision."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probes import seeds
from probes.measure.moments import mean_and_variance, rows, squares

shapes = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6), st.integers(1, 6))


@settings(max_examples=60, deadline=None)
@given(shapes, st.booleans(), st.floats(-50, 50), st.floats(0.01, 20))
def test_mean_and_variance_are_those_of_numpy(shape, channels_last, offset, scale):
    x = torch.from_numpy(seeds.normals(int(np.prod(shape)), [("moments",)])[0] * np.float32(scale) + np.float32(offset))
    x = x.reshape(shape)
    memory = torch.channels_last if channels_last else torch.contiguous_format
    mean, variance = mean_and_variance(rows(x.contiguous(memory_format=memory)))
    double = x.double().flatten(1).numpy()

    np.testing.assert_allclose(mean, double.mean(1), rtol=1e-5, atol=1e-5 * (abs(offset) + scale))
    np.testing.assert_allclose(variance, double.var(1), rtol=2e-4, atol=1e-6 * scale**2)


def test_a_large_mean_costs_no_digits():
    x = torch.from_numpy(seeds.normals(4096, [("moments", 1)])[0]).reshape(1, -1) * 1e-2 + 100

    assert mean_and_variance(x)[1].item() == pytest.approx(x.double().var(correction=0).item(), rel=1e-6)


def test_trap_r08_half_precision_does_not_overflow():
    x = torch.full((1, 64, 112, 112), 4.0, dtype=torch.float16)

    assert torch.isinf((x * x).sum(dtype=torch.float16))
    assert squares(rows(x)).item() == pytest.approx(16 * 64 * 112 * 112)


def test_trap_r10_channels_last_is_reduced_without_a_view_of_another_shape():
    x = torch.from_numpy(seeds.normals(2 * 3 * 4 * 5, [("moments", 2)])[0]).reshape(2, 3, 4, 5)
    last = x.to(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        last.view(2, -1)

    assert rows(last).data_ptr() == last.data_ptr()
    np.testing.assert_allclose(squares(rows(last)), squares(rows(x)), rtol=1e-6)
