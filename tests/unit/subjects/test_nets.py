"""Networks: the twins have the same parameters, and normalisation lives in the wrapper."""

import pytest
import torch

from probes.errors import BadInput, UnknownName
from probes.subjects.nets import CifarNet, Normalised, nets


@pytest.mark.parametrize("channels", [1, 3])
def test_the_twins_have_the_same_parameters(channels):
    shapes = [[(n, p.shape) for n, p in nets[name](channels, 10).named_parameters()] for name in ("resnet20", "plainnet20")]

    assert shapes[0] == shapes[1]
    assert sum(p.numel() for p in nets["resnet20"](3, 10).parameters()) == 269_722  # He et al. 2015: 0.27 M


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
