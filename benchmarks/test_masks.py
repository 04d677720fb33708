"""What masks cost: a mask in the forward beside the plain forward, and one module masked with the
clean beginning shared.
"""

import pytest
import torch
from torchvision.models import resnet18

from probes.hooks import Prefix
from probes.perturb.masks import scaled_units

SIDE, STAGES = 32, ("layer1", "layer2", "layer3", "layer4")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return (
        resnet18(num_classes=10).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    )


@pytest.fixture(scope="module")
def images():
    x = torch.rand(250, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return x.to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def scales(model, images):
    """A fifth of the units of every stage removed, as factors; one draw."""
    shapes = {}
    handles = [
        getattr(model, name).register_forward_hook(
            lambda _, __, out, name=name: shapes.update({name: out.shape[1:]})
        )
        for name in STAGES
    ]
    with torch.inference_mode():
        model(images[:1])
    for handle in handles:
        handle.remove()
    generator = torch.Generator().manual_seed(1)
    return {
        name: (torch.rand(shape, generator=generator) > 0.2).float()
        for name, shape in shapes.items()
    }


def test_a_mask_of_all_stages_in_the_forward(ratio, model, images, scales):
    def ours():
        for _ in range(4):
            with scaled_units(model, scales):
                model(images)

    def plain():
        for _ in range(4):
            model(images)

    with torch.inference_mode():
        ratio(
            "masks of four stages, ResNet-18, 250 images, 32 px", ours, plain, rounds=15, limit=1.05
        )


def test_one_stage_masked_from_where_it_ends(ratio, model, images, scales):
    """20 masks of every stage in turn; the plain loop passes the whole network for each. The kept
    pass counts.
    """

    def plain():
        for name in STAGES:
            for _ in range(20):
                with scaled_units(model, {name: scales[name]}):
                    model(images)

    def ours():
        for name in STAGES:
            prefix = Prefix(model)
            with prefix.record():
                model(images)
            for _ in range(20):
                with prefix.replay(name, through=True), scaled_units(model, {name: scales[name]}):
                    model(images)

    with torch.inference_mode():
        ratio(
            "20 masks of one stage at a time, ResNet-18, 250 images, 32 px",
            ours,
            plain,
            rounds=5,
            limit=1 / 1.3,
        )
