"""What noise on the outputs of layers costs: injection beside the plain forward, and passes that
begin in the middle.
"""

import pytest
import torch
from torchvision.models import resnet34

from probes.hooks import Prefix
from probes.perturb import inject, layer_noise
from probes.perturb.layers import layers_of

SIDE = 32


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return (
        resnet34(num_classes=10).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    )


@pytest.fixture(scope="module")
def images():
    x = torch.rand(250, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return x.to(memory_format=torch.channels_last)


def test_injection_of_noise_that_is_drawn(ratio, model, images):
    """Three layers for each image, as in the claim; the noise of the first pass is used again, as
    at the next strength.
    """
    noise = layer_noise(0, 0.5, layers=3, scale="absolute")
    ids = range(len(images))
    with torch.inference_mode():
        with inject(model, noise.on, noise, ids) as drawn:
            model(images)

        def ours():
            for _ in range(4):
                with inject(model, noise.on, noise, ids, again=drawn):
                    model(images)

        def plain():
            for _ in range(4):
                model(images)

        ratio(
            "noise on three layers, ResNet-34, 250 images, 32 px",
            ours,
            plain,
            rounds=15,
            limit=1.03,
        )


def test_one_layer_at_a_time_from_the_middle(ratio, model, images):
    """Every one of the 36 batch norms in turn; the plain loop passes the whole network for each.
    The kept pass counts.
    """
    noise = layer_noise(0, 0.5, scale="absolute", choice="each")
    layers, ids = list(layers_of(model, noise.on)), range(len(images))
    drawn = {}
    with torch.inference_mode():
        for layer in layers:
            with inject(model, layer, noise, ids) as drawn[layer]:
                model(images)

        def plain():
            for layer in layers:
                with inject(model, layer, noise, ids, again=drawn[layer]):
                    model(images)

        def ours():
            prefix = Prefix(model)
            with prefix.record():
                model(images)
            for layer in layers:
                with prefix.replay(layer), inject(model, layer, noise, ids, again=drawn[layer]):
                    model(images)

        ratio(
            "one layer at a time, ResNet-34, 250 images, 32 px",
            ours,
            plain,
            rounds=5,
            limit=1 / 1.5,
        )
