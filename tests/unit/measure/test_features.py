"""Feature maps equal those of an independent forward, and nothing of the model or its maps is
disturbed.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet18, vgg11

from probes.axes import folded
from probes.batch import Batch
from probes.errors import BadInput, ProbesError, UnknownName
from probes.measure import FeatureMetrics, extract, feature_metrics, stages
from probes.measure.features import METRICS, compare, stages_of
from probes.subjects.nets import CifarNet, Normalised, nets


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return resnet18(num_classes=10).eval().requires_grad_(False)


def by_hand(net, x):
    """The outputs of the four stages, written out; batch norm by torch's own function."""

    def bn(x, m):
        return F.batch_norm(x, m.running_mean, m.running_var, m.weight, m.bias, False, 0, m.eps)

    x = F.max_pool2d(F.relu(bn(F.conv2d(x, net.conv1.weight, None, 2, 3), net.bn1)), 3, 2, 1)
    found = {}
    for name in ("layer1", "layer2", "layer3", "layer4"):
        for b in getattr(net, name):
            h = F.relu(bn(F.conv2d(x, b.conv1.weight, None, b.stride, 1), b.bn1))
            h = bn(F.conv2d(h, b.conv2.weight, None, 1, 1), b.bn2)
            short = (
                x
                if b.downsample is None
                else bn(F.conv2d(x, b.downsample[0].weight, None, b.stride), b.downsample[1])
            )
            x = F.relu(h + short)
        found[name] = x
    return found


@pytest.mark.parametrize("size", [32, 45, 224])
def test_the_stages_equal_those_of_a_forward_by_hand(net, size):
    x = torch.rand(2, 3, size, size)
    with torch.no_grad(), extract(net) as maps:
        net(x)
        expected = by_hand(net, x)

    assert list(maps) == list(expected)
    for layer, value in expected.items():
        torch.testing.assert_close(maps[layer], value, rtol=1e-4, atol=1e-5)


def test_trap_r01_maps_are_copies_that_no_later_operation_changes(net):
    x = torch.rand(2, 3, 32, 32)
    layer = "layer1.0.bn2"  # overwritten by the sum and the in-place ReLU right after
    with torch.no_grad(), extract(net, [layer]) as maps:
        net(x)

    assert (maps[layer] < 0).any()


def test_trap_r02_a_module_that_runs_twice_is_refused(net):
    with (
        pytest.raises(BadInput, match=r"layer 'layer1.0.relu' runs more than once"),
        extract(net, ["layer1.0.relu"]),
    ):
        net(torch.rand(1, 3, 32, 32))


def test_trap_r05_no_hook_stays_also_after_an_exception(net):
    hooks = [dict(m._forward_hooks) | dict(m._forward_pre_hooks) for m in net.modules()]
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(KeyboardInterrupt), extract(net):
        raise KeyboardInterrupt

    assert [dict(m._forward_hooks) | dict(m._forward_pre_hooks) for m in net.modules()] == hooks
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_the_stages_of_a_network_on_another_device_are_found():
    """A network that another pass has moved to the GPU; here to the device without numbers."""
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(2, 2, 1)).eval()
    here = stages_of(net, torch.zeros(2, 1, 4, 4))

    assert stages_of(net.to("meta"), torch.zeros(2, 1, 4, 4)) == here


def test_stages_of_a_cifar_net_in_its_wrapper():
    assert stages(Normalised(CifarNet(1, 10, 1), [0.1], [0.3])) == ["layer1", "layer2", "layer3"]


def test_a_network_without_stages_says_what_could_be_named():
    why = r"no stages layer1.* no container of blocks: name the layers to read, e\.g\. features\.0"
    with pytest.raises(BadInput, match=why):
        stages(vgg11(num_classes=10))


@pytest.mark.parametrize(
    ("layers", "kind", "sentence"),
    [
        (["layer5"], UnknownName, "unknown layer 'layer5': did you mean layer"),
    ],
)
def test_layers_that_are_none(net, layers, kind, sentence):
    with pytest.raises(kind, match=sentence), torch.no_grad(), extract(net, layers):
        net(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("out", "gives"), [(lambda x: (x, x), "tuple"), (lambda x: x.flatten(1).long(), "int64")]
)
def test_outputs_that_are_no_features_are_refused(out, gives):
    class Odd(nn.Module):
        def forward(self, x):
            return out(x)

    net = nn.Sequential(Odd(), nn.Identity()).eval()
    with (
        pytest.raises(BadInput, match=f"layer '0' gives .*{gives}, no feature maps"),
        torch.no_grad(),
        extract(net, ["0"]),
    ):
        net(torch.rand(1, 3, 4, 4))


class Attending(nn.Module):
    """A transformer of a class token and 16 patches."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.blocks = nn.Sequential(*(Mixing() for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = self.blocks(torch.cat([x[:, :1] * 0, x], 1))
        return self.head(self.norm(x)[:, 0])


class Mixing(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, x):
        return x + self.fc(self.norm(x))


def test_tokens_are_maps_and_the_stages_of_a_transformer_are_its_blocks():
    torch.manual_seed(0)
    net, x = Attending().eval(), torch.rand(2, 3, 16, 16)
    raw = []
    handle = net.blocks[0].register_forward_hook(lambda _, __, out: raw.append(out.clone()))
    with torch.no_grad(), extract(net) as maps:
        net(x)
    handle.remove()

    assert list(maps) == ["blocks.0", "blocks.1"]
    assert maps["blocks.0"].shape == (2, 8, 17, 1)
    assert torch.equal(maps["blocks.0"][..., 0].transpose(1, 2), raw[0])
    assert torch.equal(folded(maps["blocks.0"])[1, 3], raw[0][1, 1:, 3].view(4, 4))
    assert stages_of(net, x) == ["blocks.0", "blocks.1"]
    with torch.no_grad(), extract(net, ["patch", "norm", "head"]) as maps:
        net(x)
    assert [tuple(m.shape[1:]) for m in maps.values()] == [(8, 4, 4), (8, 17, 1), (10, 1, 1)]


def test_a_layer_that_never_runs_is_an_error():
    class Lazy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer1, self.layer2 = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)

        def forward(self, x):
            return self.layer1(x)

    lazy = Lazy().eval()
    with extract(lazy), pytest.raises(ProbesError, match="layer 'layer2' did not run"):
        lazy(torch.rand(1, 1, 2, 2))


def test_a_model_in_training_mode_is_refused():
    with (
        pytest.raises(BadInput, match=r"call model.eval\(\) first"),
        extract(nets["resnet20"](1, 10)),
    ):
        pass


def test_metrics_are_those_of_numpy():
    g = np.random.Generator(np.random.Philox(0))
    clean, maps = g.standard_normal((5, 40)).clip(0), g.standard_normal((5, 40)).clip(0)
    found = compare(
        torch.tensor(maps, dtype=torch.float32), torch.tensor(clean, dtype=torch.float32)
    )
    norm = np.linalg.norm

    np.testing.assert_allclose(
        found["map_distance"], norm(maps - clean, axis=1) / norm(clean, axis=1), rtol=1e-5
    )
    np.testing.assert_allclose(
        found["map_cosine"],
        (maps * clean).sum(1) / norm(maps, axis=1) / norm(clean, axis=1),
        rtol=1e-5,
    )
    np.testing.assert_allclose(found["map_zeros"], (maps == 0).mean(1), rtol=1e-6)
    np.testing.assert_allclose(found["map_mean"], maps.mean(1), rtol=1e-5)
    np.testing.assert_allclose(found["map_std"], maps.std(1), rtol=1e-4)


def test_clean_maps_have_moved_nowhere_also_where_they_are_all_zero():
    zero = torch.zeros(2, 9)
    found = compare(zero, zero)

    assert found["map_distance"].tolist() == [0, 0]
    assert found["map_cosine"].tolist() == [1, 1]


def test_a_measure_compares_with_the_pass_that_was_its_reference():
    model = CifarNet(1, 10, 1, width=4).eval()
    clean, noisy = torch.rand(3, 1, 8, 8), torch.rand(3, 1, 8, 8)
    with torch.no_grad(), feature_metrics.open(model) as read:
        model(clean)
        read.reference()
        same = read(Batch.of([0, 1, 2]))
        model(noisy)
        found = read(Batch.of([0, 1, 2]))

    assert list(found) == ["site", *METRICS]
    assert (same["map_distance"] == 0).all()
    assert (found["map_distance"] > 0).all()
    assert found["map_distance"].shape == (3, 3)


def test_chosen_layers_are_part_of_the_key():
    assert FeatureMetrics(layers=("layer1",)).key() != feature_metrics.key()
    assert FeatureMetrics(layers=("layer1",)).count(CifarNet(1, 10, 1)) == 1


def test_maps_that_are_not_finite_are_named_by_layer_and_image():
    model = CifarNet(1, 10, 1, width=4).eval()
    model.layer2[0].bn2.running_var.fill_(-1)
    with torch.no_grad(), feature_metrics.open(model) as read:
        model(torch.rand(2, 1, 8, 8))
        read.reference()
        with pytest.raises(ProbesError, match="is nan in layer 'layer2' for image 7"):
            read(Batch.of([7, 8]))
