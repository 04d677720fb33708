"""Drawing named noise beside ``torch.randn``, both on one thread, for images of 28, 32 and 224
px."""

import pytest
import torch

from probes.perturb import gaussian


@pytest.mark.parametrize(
    ("images", "shape"), [(250, (1, 28, 28)), (128, (3, 32, 32)), (16, (3, 224, 224))]
)
def test_named_noise(ratio, threads, images, shape):
    threads(1)
    under, ids = gaussian(0, 0.1), range(images)
    ratio(
        f"named noise, {images} x {'x'.join(map(str, shape))}",
        lambda: under.noise("digits", ids, shape, 0, 0),
        lambda: torch.randn(images, *shape),
        rounds=60,
        limit=4.5,
    )
