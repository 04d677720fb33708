"""Hue, saturation and value against two foreign references, and what is refused."""

import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import rgb_to_hsv

from probes.errors import BadInput
from probes.studies.segments.hsv import hsv

BYTES = st.tuples(*[st.integers(0, 255)] * 3)


@given(BYTES)
def test_every_colour_is_what_colorsys_says(colour):
    rgb = [c / 255 for c in colour]
    found = hsv(torch.tensor(rgb, dtype=torch.float64).reshape(3, 1, 1)).flatten().numpy()

    np.testing.assert_allclose(found, colorsys.rgb_to_hsv(*rgb), atol=1e-12)


def test_batches_are_what_matplotlib_says():
    images = torch.rand(4, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    expected = np.moveaxis(rgb_to_hsv(np.moveaxis(images.numpy(), 1, -1)), -1, 1)

    np.testing.assert_allclose(hsv(images), expected, atol=1e-6)


def test_grey_images_have_a_value_only():
    grey = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    found = hsv(grey)

    assert found[:, :2].abs().max() == 0
    assert torch.equal(found[:, 2:], grey)


def test_normalised_images_are_refused():
    """The published code takes hue and saturation of normalised images: 64 % of its saturations lie
    outside [0, 1].
    """
    with pytest.raises(BadInput, match="values from -2 to 1"):
        hsv(torch.tensor([-2.0, 0.0, 1.0]).reshape(3, 1, 1))
    with pytest.raises(BadInput, match="of shape"):
        hsv(torch.zeros(2, 4, 5, 5))
