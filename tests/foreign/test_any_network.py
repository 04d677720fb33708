"""H1 and H0 are judged on networks as people have them: a transformer, a network of timm, a
ConvNeXt, pre-activation blocks; trained here, or with random weights.
"""

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from probes import Lab, block_metrics, falls, gaussian
from probes.errors import UnknownName
from probes.measure import BlockMetrics, residuals, tap
from probes.store import Store
from probes.studies.dynamics.claims import h0, h1
from probes.subjects import training
from probes.subjects.data import load
from probes.subjects.nets import nets
from probes.subjects.recipes import Recipe


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.attn = (
            nn.LayerNorm(width),
            nn.MultiheadAttention(width, 2, batch_first=True),
        )
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class SmallViT(nn.Module):
    """A vision transformer on 16 patches of 7 x 7."""

    def __init__(self, channels, classes, width=32):
        super().__init__()
        self.patch = nn.Conv2d(channels, width, 7, 7)
        self.place = nn.Parameter(torch.randn(1, 16, width) * 0.02)
        self.blocks = nn.Sequential(Attention(width), Attention(width))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2) + self.place
        return self.head(self.norm(self.blocks(x)).mean(1))


class PreActivation(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(c), nn.Conv2d(c, c, 3, 1, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(c), nn.Conv2d(c, c, 3, 1, 1, bias=False)

    def forward(self, x):
        return x + self.conv2(torch.relu(self.bn2(self.conv1(torch.relu(self.bn1(x))))))


class Smooth(PreActivation):
    """A block whose sum goes into a GELU."""

    def forward(self, x):
        return nn.functional.gelu(super().forward(x))


def of(block):
    def build(channels, classes):
        stem, pool = nn.Conv2d(channels, 8, 3, 2, 1), nn.AdaptiveAvgPool2d(1)
        return nn.Sequential(stem, block(8), block(8), pool, nn.Flatten(), nn.Linear(8, classes))

    return build


def convnext(channels, classes):
    config = torchvision.models.convnext.CNBlockConfig
    stages = [config(8, 16, 1), config(16, 32, 1), config(32, None, 1)]
    net = torchvision.models.ConvNeXt(stages, num_classes=classes)
    net.features[0][0] = nn.Conv2d(channels, 8, 4, 4)
    return net


BUILT = {
    "convnext": convnext,
    "small_vit": SmallViT,
    "pre_activation": of(PreActivation),
    "smooth": of(Smooth),
}
for name, build in BUILT.items():
    nets.register(f"tests_{name}")(build)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def lab(net, store, images=120):
    return Lab(f"{net}@mnist5k", store, images=images, threads=1, quiet=True, say=lambda _: None)


@pytest.mark.parametrize(
    ("net", "rate", "metric"),
    [("tests_small_vit", 0.002, None), ("timm:test_resnet", 0.01, "sparsity")],
)
def test_h1_and_h0_are_judged_on_networks_trained_here(net, rate, metric, store):
    pytest.importorskip("timm")
    recipe = Recipe("brief", epochs=1, optimiser="adam", max_lr=rate, batch_size=100)
    _, card = training.train(net, "mnist5k", 0, store, recipe)
    assert card["test_accuracy"] > 0.5
    bench = lab(net, store)
    table = bench.sweep(block_metrics, under=gaussian(0, 0.2))
    one, zero = h1(table), h0(table)

    subject = next(iter(bench.subjects.values()))
    sites = [s.name for s in residuals(subject.model, torch.zeros(2, 1, 28, 28))]
    assert [v.label for v in one] == [v.label for v in zero] == sites
    assert {leaf.metric for leaf in one[sites[0]].leaves} == {"var_h", metric or "var_h"}
    assert all(leaf.n == 120 for v in one for leaf in v.leaves)
    assert {v.outcome for v in (*one, *zero)} <= {"supported", "refuted", "inconclusive", "mixed"}
    assert any(v.outcome in ("supported", "refuted") for v in zero)


@pytest.mark.parametrize(
    ("net", "metric", "activation"),
    [
        ("vit_lite", None, ""),
        ("tests_convnext", None, ""),
        ("tests_pre_activation", None, ""),
        ("tests_smooth", "linearity", "GELU"),
        ("resnet20", "sparsity", "ReLU"),
    ],
)
def test_they_run_on_other_networks_and_ask_what_is_defined(net, metric, activation, store):
    pytest.importorskip("timm")
    bench = lab(f"{net}:untrained", store, images=20)
    table = bench.sweep(block_metrics, under=gaussian(0, 0.2))
    found = h1(table)

    model = next(iter(bench.subjects.values())).model
    assert {s.next for s in residuals(model, torch.zeros(2, 1, 28, 28))} >= {activation}
    assert {leaf.metric for v in found for leaf in v.leaves} == {"var_h", *filter(None, [metric])}
    assert len(h0(table)) == len(found)
    if metric != "sparsity":
        with pytest.raises(UnknownName, match=r"no metric 'sparsity' here: sum .* goes into"):
            falls(table, "sparsity", by="site", sesoi="0.5 points").overall  # noqa: B018


def test_linearity_is_the_share_of_slopes_near_0_or_1(store):
    bench = lab("tests_smooth:untrained", store, images=20)
    table = bench.sweep(BlockMetrics(metrics=("linearity",)), under=gaussian(0, 0.2)).frame
    model = next(iter(bench.subjects.values())).model
    x = torch.from_numpy(load("mnist5k").sample(20).images).float() / 255
    with torch.no_grad(), tap(model) as seen:
        model(x)
    for site in ("1", "2"):
        total = seen[site]["sum"].double().requires_grad_()
        (slope,) = torch.autograd.grad(nn.functional.gelu(total).sum(), total)
        near = ((slope.abs() <= 0.1) | ((slope - 1).abs() <= 0.1)).flatten(1).double().mean(1)
        mine = table[(table["site"] == site) & (table["level"] == 0)].sort_values("image")
        order = np.argsort(load("mnist5k").sample(20).ids)
        assert np.allclose(mine["linearity"], near.numpy()[order], atol=2e-4)
