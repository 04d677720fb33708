"""Residual sums are found, not named: in blocks as people write them, in torchvision's and timm's
networks, and in transformers; what taps read there is what adds up.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from probes.batch import Batch
from probes.errors import BadInput, ProbesError, UnknownName
from probes.measure import BlockMetrics, residuals, tap
from probes.subjects.nets import nets


def branch(c, out=None, stride=1):
    out = out or c
    return nn.Sequential(
        nn.Conv2d(c, out, 3, stride, 1),
        nn.BatchNorm2d(out),
        nn.ReLU(),
        nn.Conv2d(out, out, 3, 1, 1),
    )


class Block(nn.Module):
    """A residual block whose sum and activation are written in one of many ways."""

    def __init__(self, add="plus", act="functional", pre=False, gate="", project=False):
        super().__init__()
        self.f, self.add, self.act, self.pre, self.gate = branch(8), add, act, pre, gate
        self.short = nn.Conv2d(8, 8, 1) if project else nn.Identity()
        self.relu, self.inplace = nn.ReLU(), nn.ReLU(inplace=True)
        self.scale = nn.Parameter(torch.full((8, 1, 1), 0.5))
        self.squeeze = nn.Linear(8, 8)

    def h(self, x):
        out = self.f(x)
        if self.gate == "scale":
            out = out * self.scale
        if self.gate == "squeeze":
            out = out * torch.sigmoid(self.squeeze(out.mean((2, 3))))[..., None, None]
        if self.gate == "drop path":
            out = out.div(0.9) * torch.ones(len(x), 1, 1, 1)
        return out

    def forward(self, x):
        out, x = self.h(x), self.short(x)
        if self.add == "plus":
            out = x + out
        elif self.add == "+=":
            out += x
        elif self.add == "torch.add":
            out = torch.add(x, out)
        else:
            out = out.add_(x)
        if self.pre:
            return out
        if self.act == "functional":
            return F.relu(out)
        return {"module": self.relu, "in place": self.inplace, "method": torch.Tensor.relu_}[
            self.act
        ](out)


WAYS = [
    *({"add": add} for add in ("plus", "+=", "torch.add", "add_")),
    *({"act": act, "add": "+="} for act in ("module", "in place", "method")),
    {"pre": True},
    *({"gate": gate} for gate in ("scale", "squeeze", "drop path")),
    {"project": True, "add": "+="},
]


@pytest.mark.parametrize("way", WAYS, ids=lambda w: ", ".join(map(str, w.values())))
def test_a_block_is_read_however_it_is_written(way):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), Block(**way), Block(**way)).eval()
    x = torch.rand(5, 3, 8, 8)
    sites = residuals(net, x[:2])

    assert [s.name for s in sites] == ["1", "2"]
    assert {s.shortcut for s in sites} == {"projection" if way.get("project") else "identity"}
    assert {s.next for s in sites[1:]} == {"" if way.get("pre") else "ReLU"}
    with torch.no_grad():
        wanted = net(x)
        for _ in range(2):  # where it learns, and where it meets again
            with tap(net) as seen:
                assert torch.equal(net(x), wanted)
            y = net[0](x)
            for site, block in zip(sites, net[1:], strict=True):
                s, h, short = seen[site.name], block.h(y), block.short(y)
                assert torch.allclose(s["h"], h, atol=1e-6)
                assert torch.allclose(s["x"], short, atol=1e-6)
                assert torch.allclose(s["sum"], h + short, atol=1e-6)
                y = block(y)
                assert torch.allclose(s["out"], y, atol=1e-6)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def image_network(name):
    torch.manual_seed(0)
    return getattr(torchvision.models, name)(weights=None).eval()


@pytest.mark.parametrize(
    ("name", "many", "first", "shortcuts", "after"),
    [
        ("resnet18", 8, "layer1.0", {"identity", "projection"}, {"ReLU"}),
        (
            "regnet_y_400mf",
            16,
            "trunk_output.block1.block1-0",
            {"identity", "projection"},
            {"ReLU"},
        ),
        ("mobilenet_v2", 10, "features.3", {"identity"}, {""}),
        ("convnext_tiny", 18, "features.1.0", {"identity"}, {""}),
        ("swin_t", 24, "features.1.0.attn", {"identity"}, {""}),
        ("densenet121", 0, None, set(), set()),
        ("vgg11", 0, None, set(), set()),
    ],
)
def test_the_sums_of_torchvisions_networks(name, many, first, shortcuts, after):
    sites = residuals(image_network(name), torch.zeros(2, 3, 64, 64))

    assert len(sites) == many
    assert (sites[0].name if sites else None) == first
    assert {s.shortcut for s in sites} == shortcuts
    assert {s.next for s in sites} == after


def test_plain_blocks_have_no_sums_and_ours_have_theirs():
    x = torch.zeros(2, 1, 28, 28)

    assert residuals(nets["plainnet20"](1, 10).eval(), x) == ()
    sites = residuals(nets["resnet20"](1, 10).eval(), x)
    with torch.no_grad(), tap(net := nets["resnet20"](1, 10).eval()) as seen:
        net(x)
    assert [s.name for s in sites] == list(seen)  # what the adapter names


@pytest.mark.parametrize("first", [True, False], ids=["norm first", "norm last"])
def test_a_transformers_attention_and_mlp_are_read_and_its_fused_layer_is_taken_apart(first):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=first)
    net = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = torch.rand(3, 7, 16)
    with torch.no_grad():
        wanted = net(x)
        with tap(net) as seen:
            got = net(x)

    assert list(seen) == [f"layers.{i}.{part}" for i in (0, 1) for part in ("self_attn", "linear2")]
    assert torch.allclose(got, wanted, atol=1e-5)
    for s in seen.values():
        assert s["h"].shape == (3, 16, 7, 1)  # tokens as maps
        assert torch.allclose(s["x"] + s["h"], s["sum"], atol=1e-6)


@pytest.mark.parametrize("name", ["convnext_tiny", "swin_t", "mobilenet_v2"])
def test_sides_add_up_and_do_not_depend_on_the_batch(name):
    net, x = image_network(name), torch.rand(4, 3, 64, 64)
    with torch.no_grad(), tap(net) as seen:
        net(x)
        every = {site: dict(s) for site, s in seen.items()}
        net(x[1:2])
        alone = {site: dict(s) for site, s in seen.items()}
    for site, s in every.items():
        assert torch.allclose(s["x"] + s["h"], s["sum"], atol=1e-5), site
        scale = s["h"].abs().max()
        assert (s["h"][1] - alone[site]["h"][0]).abs().max() < 1e-4 * scale, site


def test_some_sums_are_asked_for_by_name_and_others_are_unknown():
    net, x = image_network("mobilenet_v2"), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        with tap(net, ["features.5"], parts=("h",)) as seen:
            net(x)
        assert {site: list(s) for site, s in seen.items()} == {"features.5": ["h"]}
        with pytest.raises(UnknownName, match=r"features\.55"), tap(net, ["features.55"]):
            net(x)


def test_a_network_without_sums_says_what_reads_it():
    net = image_network("vgg11")
    with (
        pytest.raises(BadInput, match="feature_metrics reads any layer"),
        tap(net),
        torch.no_grad(),
    ):
        net(torch.rand(2, 3, 64, 64))
    with pytest.raises(BadInput, match="an example is a tensor"):
        residuals(net, "an image")


def test_branches_side_by_side_are_no_residual_sum():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.a(x) + self.b(x)

    assert residuals(Two().eval(), torch.zeros(2, 4)) == ()


FAMILIES = ["seresnet18", "resnetv2_50", "mixer_s32_224", "poolformer_s12", "gmixer_12_224"]
FAMILIES += ["vit_tiny_patch16_224", "coat_lite_tiny", "edgenext_xx_small", "repvgg_a0", "dla34"]


@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_timm_are_read_right(name):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    net = timm.create_model(name, pretrained=False).eval()
    size = 224 if "224" in name or "coat" in name else 64
    x = torch.rand(2, 3, size, size)
    with torch.no_grad():
        wanted = net(x)
        with tap(net) as seen:
            got = net(x)
    assert len(seen) >= 4
    assert torch.allclose(got, wanted, atol=1e-4)
    for site, s in seen.items():
        assert torch.allclose(s["x"] + s["h"], s["sum"], atol=1e-4), site


class Smooth(nn.Module):
    """A block that ends in GELU."""

    def __init__(self):
        super().__init__()
        self.f = branch(4)

    def forward(self, x):
        return F.gelu(x + self.f(x))


def test_block_metrics_are_those_of_the_sums_and_sparsity_needs_a_relu():
    torch.manual_seed(0)
    x = torch.rand(4, 3, 8, 8)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), Smooth(), Smooth()).eval()
    for _ in range(2):
        with torch.no_grad(), BlockMetrics().open(net) as read:
            net(x)
            found = read(Batch.of([0, 1, 2, 3]))
    y = net[0](x)
    h = net[1].f(y).detach()

    assert list(found["site"]) == ["1", "2"]
    assert "sparsity" not in found
    np.testing.assert_allclose(found["l2_h"][0], h.flatten(1).norm(dim=1), rtol=1e-5)
    np.testing.assert_allclose(found["mean_sum"][0], (h + y).detach().mean((1, 2, 3)), rtol=1e-4)
    asked = BlockMetrics(metrics=("l2_h", "sparsity"))
    with torch.no_grad(), asked.open(net) as read:
        net(x)
        with pytest.raises(ProbesError, match="goes into GELU: sparsity is defined for ReLU only"):
            read(Batch.of([0, 1, 2, 3]))

    relu = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), Block()).eval()
    with torch.no_grad(), BlockMetrics().open(relu) as read:
        relu(x)
        zeros = read(Batch.of([0, 1, 2, 3]))["sparsity"]
        out = relu(x)
    np.testing.assert_allclose(zeros[0], (out == 0).float().mean((1, 2, 3)), atol=1e-6)


@pytest.mark.parametrize("noisy_first", [True, False])
def test_what_hooks_of_others_add_is_part_of_what_meets_and_shifts_no_sum(noisy_first):
    """A perturbation adds noise to outputs and inputs inside a block that adds twice."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x):
            x = x + self.a(x)
            return x + self.b(x)

    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(6, 6), Twice(), Twice()).eval(), torch.rand(3, 6)
    noise = 0.1 * torch.randn(3, 6)

    def run(noisy):
        hooks = []
        with torch.no_grad(), tap(net) as seen:
            if noisy:
                hooks.append(net[1].a.register_forward_hook(lambda m, i, out: out + noise))
                hooks.append(net[2].b.register_forward_pre_hook(lambda m, i: (i[0] + noise,)))
            net(x)
        for hook in hooks:
            hook.remove()
        return {site: dict(s) for site, s in seen.items()}

    runs = {noisy: run(noisy) for noisy in (noisy_first, not noisy_first)}
    for noisy, seen in runs.items():
        assert list(seen) == ["1.a", "1.b", "2.a", "2.b"]
        for s in seen.values():
            assert torch.allclose(s["x"] + s["h"], s["sum"])
        y = net[0](x)
        assert torch.allclose(seen["1.a"]["x"], y)
        assert torch.allclose(seen["1.a"]["h"], net[1].a(y) + noisy * noise, atol=1e-6)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
