"""What a strength is: one answer for every kind of noise."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.errors import BadInput
from probes.perturb import gaussian, layer_noise, weight_noise
from probes.perturb.strength import is_strength


@given(
    st.one_of(
        st.floats(),
        st.floats(0, 4),
        st.integers(-5, 5),
        st.booleans(),
        st.text(max_size=2),
        st.none(),
    )
)
def test_every_noise_takes_strengths_and_refuses_what_is_none(value):
    if is_strength(value) and value > 0:
        noises = (
            (gaussian, weight_noise, layer_noise) if value <= 4 else (weight_noise, layer_noise)
        )
        assert all(noise(0, value).levels == (0.0, float(value)) for noise in noises)
    elif not is_strength(value):
        for noise in (gaussian, weight_noise, layer_noise):
            with pytest.raises(BadInput):
                noise(0, value)


def test_a_standard_deviation_on_the_scale_of_bytes_is_refused_with_the_number_that_was_meant():
    with pytest.raises(BadInput, match=r"of 0 to 255 it would be gaussian\(0, 0\.196\)"):
        gaussian(0, 50)
    assert gaussian(0, 50, space="normalised").levels == (0.0, 50.0)


def test_the_borders():
    assert [is_strength(v) for v in (0, -0.0, math.inf, math.nan, True)] == [
        True,
        True,
        False,
        False,
        False,
    ]
