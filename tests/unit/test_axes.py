"""Where the channels of an output are: told by the layers inside, whatever sizes coincide."""

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from probes.axes import as_given, as_maps, channels_last
from probes.hooks import reading
from probes.naming import modules
from probes.perturb.masks import scaled_units

SIZE = st.integers(1, 9)


@settings(max_examples=60, deadline=None)
@given(SIZE, SIZE, SIZE, st.booleans())
def test_maps_go_back_to_what_was_given(channels, high, wide, tokens):
    module = nn.LayerNorm(channels)
    x = torch.rand(2, high * wide, channels) if tokens else torch.rand(2, high, wide, channels)
    maps = as_maps(module, x)

    assert maps.ndim == 4
    assert maps.shape[1] == channels
    assert torch.equal(as_given(module, maps, x.shape), x)


@settings(max_examples=60, deadline=None)
@given(SIZE, SIZE, SIZE)
def test_maps_with_channels_first_stay(channels, high, wide):
    module, x = nn.Conv2d(3, channels, 1), torch.rand(2, channels, high, wide)
    assert as_maps(module, x) is x


@pytest.mark.parametrize(
    ("module", "shape", "last"),
    [
        (nn.Conv1d(1, 8, 3), (2, 8, 5), False),
        (nn.BatchNorm1d(8), (2, 8, 8), False),
        (nn.Linear(3, 8), (2, 5, 8), True),
        (nn.ReLU(), (2, 5, 8), True),
        (nn.ReLU(), (2, 5, 8, 8), False),
        (nn.LayerNorm(8), (2, 8, 8, 8), True),
        (nn.Conv2d(3, 8, 1), (2, 8, 8, 8), False),
    ],
)
def test_the_layers_inside_tell(module, shape, last):
    assert channels_last(module, shape) is last


@pytest.mark.parametrize(
    ("name", "sites", "last"),
    [
        ("swin_t", ["features.0", "features.1", "features.1.0", "features.3.1.mlp"], True),
        ("convnext_tiny", ["features.0", "features.1.0", "features.3"], False),
        ("vit_b_16", ["encoder.layers.encoder_layer_0"], True),
        ("resnet18", ["layer1", "layer4.1.conv2"], False),
    ],
)
def test_networks_of_torchvision(name, sites, last):
    torch.manual_seed(0)
    net = getattr(torchvision.models, name)(weights=None).eval()
    side = 224 if name == "vit_b_16" else 64
    with torch.no_grad(), reading(net, sites, lambda _, out: out.shape, "layer") as shapes:
        net(torch.rand(1, 3, side, side))
    for site in sites:
        assert channels_last(modules(net)[site], shapes[site]) is last, site


@pytest.mark.parametrize("shape", [(2, 5, 8), (2, 9, 8), (2, 3, 4, 8)])
def test_a_mask_of_channels_scales_the_channels_of_tokens(shape):
    net = nn.Sequential(nn.Linear(4, 8), nn.Identity()).eval()
    x = torch.rand(*shape[:-1], 4)
    factors = torch.arange(8.0)
    with torch.no_grad():
        wanted = net(x) * factors
        with scaled_units(net, {"0": factors.view(8, 1, 1)}):
            assert torch.equal(net(x), wanted)
