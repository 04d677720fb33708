"""What a strength is: one answer for every kind of noise."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.errors import BadInput
from probes.perturb import gaussian, layer_noise, weight_noise
from probes.perturb.strength import is_strength


@given(st.one_of(st.floats(), st.integers(-5, 5), st.booleans(), st.text(max_size=2), st.none()))
def test_every_noise_takes_strengths_and_refuses_what_is_none(value):
    if is_strength(value) and value > 0:
        assert all(noise(0, value).levels == (0.0, float(value)) for noise in (gaussian, weight_noise, layer_noise))
    elif not is_strength(value):
        for noise in (gaussian, weight_noise, layer_noise):
            with pytest.raises(BadInput):
                noise(0, value)


def test_the_borders():
    assert [is_strength(v) for v in (0, -0.0, math.inf, math.nan, True)] == [True, True, False, False, False]
