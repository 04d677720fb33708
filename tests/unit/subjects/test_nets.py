"""Networks: the twins have the same parameters, and normalisation lives in the wrapper."""

import numpy as np
import pytest
import torch
import torchvision

from probes.errors import BadInput, UnknownName
from probes.perturb.plainweights import targets
from probes.subjects.dataset import Dataset
from probes.subjects.epochs import initial
from probes.subjects.nets import CifarNet, Normalised, Takes, nets, takes


@pytest.mark.parametrize("channels", [1, 3])
def test_the_twins_have_the_same_parameters(channels):
    shapes = [
        [(n, p.shape) for n, p in nets[name](channels, 10).named_parameters()]
        for name in ("resnet20", "plainnet20")
    ]

    assert shapes[0] == shapes[1]
    assert (
        sum(p.numel() for p in nets["resnet20"](3, 10).parameters()) == 269_722
    )  # He et al. 2015: 0.27 M


def test_the_twins_differ_by_their_shortcuts():
    torch.manual_seed(0)
    a = CifarNet(1, 10, 1).eval()
    b = CifarNet(1, 10, 1, residual=False).eval()
    b.load_state_dict(a.state_dict())
    x = torch.rand(2, 1, 8, 8)

    assert not torch.allclose(a(x), b(x))


def test_normalisation_is_in_the_wrapper():
    inner = torch.nn.Identity()
    x = torch.rand(2, 3, 4, 4)
    out = Normalised(inner, [0.1, 0.2, 0.3], [0.5, 0.6, 0.7])(x)

    torch.testing.assert_close(out[:, 1], (x[:, 1] - 0.2) / 0.6)


def test_in_place_relus_change_no_number():
    torch.manual_seed(0)
    a, b = CifarNet(1, 10, 1).eval(), CifarNet(1, 10, 1, inplace=False).eval()
    b.load_state_dict(a.state_dict())
    x = torch.rand(2, 1, 8, 8)

    assert torch.equal(a(x), b(x))


def test_an_unknown_net_names_the_nearest():
    with pytest.raises(UnknownName, match="resnet20"):
        nets["resnet200"]


def test_resnet18_says_that_it_takes_colour_images():
    with pytest.raises(BadInput, match="3 channels"):
        nets["resnet18"](1, 10)
    assert nets["resnet18"](3, 10).fc.out_features == 10


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "vgg11", "vgg19", "vgg19_bn", "alexnet"])
def test_torchvisions_networks_have_a_head_of_their_own(name):
    with torch.device("meta"):
        net = nets[name](3, 7)
    last = [m for m in net.modules() if isinstance(m, torch.nn.Linear)][-1]

    assert last.out_features == 7
    assert name in nets[name].__doc__


def test_the_small_vgg_is_torchvisions_convolutions_and_one_linear_layer():
    with torch.device("meta"):
        net = nets["vgg19_bn_small"](3, 10)
        features = torchvision.models.vgg19_bn().features

    assert net(torch.rand(2, 3, 32, 32, device="meta")).shape == (2, 10)
    assert [str(m) for m in net.features] == [str(m) for m in features]
    assert (
        sum(p.numel() for p in net.parameters())
        == sum(p.numel() for p in features.parameters()) + 5130
    )


SMALL = (
    "mlp_small",
    "mlp_medium",
    "mlp_large",
    "cnn",
    "vit_lite",
    "row_gru",
    "row_lstm",
    "mobilenet_v2",
    "resnet18",
)


@pytest.mark.parametrize("side", [28, 32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("net", SMALL)
def test_small_networks_take_grey_and_colour_of_either_side(net, channels, side):
    model = initial(net, made_of(channels, side), 0).eval()
    with torch.inference_mode():
        assert model(torch.rand(2, channels, side, side)).shape == (2, 10)


def made_of(channels, side, high=None):
    images = np.zeros((10, channels, high or side, side), np.uint8)
    constants = {"mean": (0.4,) * channels, "std": (0.2,) * channels}
    return Dataset(
        "made",
        "made",
        "test",
        images,
        np.arange(10),
        np.arange(10),
        tuple("0123456789"),
        **constants,
    )


def test_the_studys_networks_have_its_sizes():
    """MNIST as 3 x 28 x 28: 2352 inputs; the last linear layer of the CNN has 576."""
    shapes = {
        net: [tuple(p.shape) for p in targets(initial(net, made_of(1, 28), 0)).values()]
        for net in SMALL[:4]
    }

    assert shapes["mlp_small"] == [(256, 2352), (128, 256), (10, 128)]
    assert shapes["mlp_medium"] == [(512, 2352), (256, 512), (10, 256)]
    assert shapes["mlp_large"] == [(1024, 2352), (512, 1024), (256, 512), (10, 256)]
    assert shapes["cnn"] == [(32, 3, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3), (10, 576)]


def test_networks_on_pixels_are_not_normalised_and_grey_is_repeated():
    grey = torch.rand(2, 1, 28, 28)
    raw, usual = (initial(net, made_of(1, 28), 0).eval() for net in ("mlp_small", "resnet18"))
    with torch.inference_mode():
        assert torch.equal(raw(grey), raw.net(grey.expand(-1, 3, -1, -1)))
        assert torch.equal(usual(grey), usual.net((grey.expand(-1, 3, -1, -1) - 0.4) / 0.2))


def test_a_network_for_squares_says_so():
    with pytest.raises(BadInput, match="mlp_small takes square images, those of made are 20 x 28"):
        initial("mlp_small", made_of(1, 28, high=20), 0)


def test_what_a_builder_takes_is_declared_beside_it():
    @takes(channels=3, side=True, raw=True)
    def build(channels, classes, side):
        return torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(channels * side * side, classes)
        )

    assert build.takes == Takes(3, True, True)
    assert Takes() == Takes(None, False, False)
