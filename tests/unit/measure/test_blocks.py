"""Block metrics equal those of an independent forward written here by hand, whatever the net,
shape, batch or memory.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from probes import Lab, layer_noise, seeds, weight_noise
from probes.batch import Batch
from probes.errors import BadInput, ProbesError, UnknownName
from probes.measure import BlockAdapter, BlockMetrics, block_metrics, register_block
from probes.measure.blocks import METRICS
from probes.subjects.nets import CifarNet, Normalised


def rough(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for m in model.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.running_mean.normal_(0, 0.3, generator=generator)
                m.running_var.uniform_(0.5, 2, generator=generator)
                m.weight.uniform_(0.5, 1.5, generator=generator)
                m.bias.normal_(0, 0.3, generator=generator)
    return model.eval().requires_grad_(False).double()


def bn(x, m):
    view = (1, -1, 1, 1)
    return (x - m.running_mean.view(view)) / (
        m.running_var.view(view) + m.eps
    ).sqrt() * m.weight.view(view) + m.bias.view(view)


def numbers(h, x, total):
    """The six metrics of one image, in double precision, from arrays."""
    h, total = h.numpy().ravel(), total.numpy().ravel()
    found = {
        "l2_h": np.sqrt((h**2).sum()),
        "var_h": h.var(),
        "mean_sum": total.mean(),
        "mean_abs_sum": np.abs(total).mean(),
        "sparsity": np.mean(np.maximum(total, 0) == 0),
    }
    if x is not None:
        found["ratio_hx"] = found["l2_h"] / np.sqrt((x.numpy() ** 2).sum())
    return found


def by_hand_cifar(net, image, residual):
    """A forward of the CIFAR net without modules' own forward: convolutions, batch norm by its
    formula, sums.
    """
    x = bn(F.conv2d(image[None], net.conv1.weight, None, 1, 1), net.bn1).clamp(min=0)
    out = []
    for stage in (net.layer1, net.layer2, net.layer3):
        for b in stage:
            h = bn(F.conv2d(x, b.conv1.weight, None, b.conv1.stride, 1), b.bn1).clamp(min=0)
            h = bn(F.conv2d(h, b.conv2.weight, None, 1, 1), b.bn2)
            short = None
            if residual:
                stride = b.conv1.stride[0]
                short = x[:, :, ::stride, ::stride]
                more = h.shape[1] - short.shape[1]
                zeros = [
                    torch.zeros(1, n, *h.shape[2:], dtype=h.dtype)
                    for n in (more // 2, more - more // 2)
                ]
                short = torch.cat([zeros[0], short, zeros[1]], 1)
            total = h if short is None else h + short
            out.append(numbers(h, short, total))
            x = total.clamp(min=0)
    return out


def by_hand_torchvision(net, image):
    x = bn(F.conv2d(image[None], net.conv1.weight, None, 2, 3), net.bn1).clamp(min=0)
    x = F.max_pool2d(x, 3, 2, 1)
    out = []
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        for b in stage:
            h = bn(F.conv2d(x, b.conv1.weight, None, b.stride, 1), b.bn1).clamp(min=0)
            h = bn(F.conv2d(h, b.conv2.weight, None, 1, 1), b.bn2)
            short = x
            if b.downsample is not None:
                short = bn(F.conv2d(x, b.downsample[0].weight, None, b.stride), b.downsample[1])
            out.append(numbers(h, short, h + short))
            x = (h + short).clamp(min=0)
    return out


def compare(model, images, expected, batch, channels_last, rtol):
    memory = torch.channels_last if channels_last else torch.contiguous_format
    found = []
    with torch.no_grad(), block_metrics.open(model) as read:
        for i in range(0, len(images), batch):
            part = images[i : i + batch].contiguous(memory_format=memory)
            model(part)
            found.append(read(Batch.of(list(range(i, i + len(part))))))
    for name in METRICS:
        if name in expected[0][0]:
            mine = np.concatenate([f[name] for f in found], axis=1)
            hand = np.array([[block[name] for block in image] for image in expected]).T
            np.testing.assert_allclose(mine, hand, rtol=rtol, atol=rtol)
        else:
            assert name not in found[0]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 3]),
    st.integers(5, 14),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 3),
)
def test_metrics_equal_a_forward_by_hand_on_cifar_nets(
    seed, residual, inplace, last, channels, side, n, batch, blocks
):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = rough(CifarNet(channels, 10, blocks, residual, inplace, width=4), seed)
    images = torch.from_numpy(
        seeds.normals(n * channels * side * side, [("images", seed)])[0]
    ).reshape(n, channels, side, side)
    expected = [by_hand_cifar(net, image.double(), residual) for image in images]

    compare(net, images.double(), expected, batch, last, 1e-9)
    compare(net.float(), images, expected, batch, last, 2e-3)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("side", [32, 45])
def test_metrics_equal_a_forward_by_hand_on_torchvisions_basic_block(side, last):
    torch.manual_seed(3)
    net = rough(ResNet(BasicBlock, [2, 1, 1, 1], num_classes=5), 3)
    images = torch.rand(3, 3, side, side, dtype=torch.float64)

    compare(net, images, [by_hand_torchvision(net, image) for image in images], 2, last, 1e-9)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_trap_r09_any_batching_gives_the_same_numbers(sizes):
    torch.manual_seed(0)
    net = rough(CifarNet(1, 10, 1, width=4), 0).float()
    images = torch.rand(sum(sizes), 1, 9, 9, generator=torch.Generator().manual_seed(4))

    def measure(parts):
        with torch.no_grad(), block_metrics.open(net) as read:
            found = []
            for part in parts:
                net(part)
                found.append(read(Batch.of(list(range(len(part))))))
        return {m: np.concatenate([f[m] for f in found], axis=1) for m in METRICS}

    split, single = measure(images.split(sizes)), measure(images.split(1))
    for name in METRICS:
        np.testing.assert_allclose(split[name], single[name], rtol=1e-4, atol=1e-5)


def test_the_wrapper_is_left_out_of_site_names():
    model = Normalised(CifarNet(1, 10, 1, width=4), [0.1], [0.3]).eval()
    with torch.no_grad(), block_metrics.open(model) as read:
        model(torch.rand(2, 1, 8, 8))
        assert list(read(Batch.of([0, 1]))["site"]) == ["layer1.0", "layer2.0", "layer3.0"]


def test_chosen_sites_only():
    model = CifarNet(1, 10, 1, width=4).eval()
    with torch.no_grad(), BlockMetrics(sites=("layer2.0",)).open(model) as read:
        model(torch.rand(2, 1, 8, 8))
        assert list(read(Batch.of([0, 1]))["site"]) == ["layer2.0"]


def test_chosen_metrics_only_and_the_same_numbers():
    model = CifarNet(1, 10, 1, width=4).eval()
    images = torch.rand(2, 1, 8, 8)
    some = ("sparsity", "l2_h")
    with (
        torch.no_grad(),
        block_metrics.open(model) as read,
        BlockMetrics(metrics=some).open(model) as few,
    ):
        model(images)
        found, expected = few(Batch.of([0, 1])), read(Batch.of([0, 1]))

    assert list(found) == ["site", *some]
    assert all((found[name] == expected[name]).all() for name in some)


def test_metrics_that_do_not_exist_are_refused_with_the_nearest():
    with pytest.raises(UnknownName, match="unknown block metric 'var_g': did you mean var_h"):
        BlockMetrics(metrics=("var_g",))
    with pytest.raises(BadInput, match="at least one of l2_h, var_h"):
        BlockMetrics(metrics=())


def test_trap_r10_sparsity_is_refused_where_zeros_are_not_exact():
    model = CifarNet(1, 10, 1, width=4).eval()
    model.layer2[0].relu = nn.GELU()
    with pytest.raises(ProbesError, match=r"'layer2.0' ends in GELU"), block_metrics.open(model):
        pass


def test_trap_r10_the_adapters_own_relu_is_the_one_that_counts():
    class Gelu(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.act = nn.Conv2d(1, 1, 3, padding=1), nn.GELU()

        def forward(self, x):
            return self.act(self.f(x) + x)

    register_block(Gelu, BlockAdapter(branch="f", relu="act"))
    with (
        pytest.raises(ProbesError, match="ends in GELU"),
        block_metrics.open(nn.Sequential(Gelu()).eval()),
    ):
        pass


def test_nan_is_named_by_block_and_image():
    model = CifarNet(1, 10, 1, width=4).eval()
    images = torch.rand(3, 1, 8, 8)
    images[1] = float("nan")
    with torch.no_grad(), block_metrics.open(model) as read:
        model(images)
        with pytest.raises(ProbesError, match=r"nan in block 'layer1.0' for image 42"):
            read(Batch.of([41, 42, 43]))


def test_reading_before_a_pass_is_an_error():
    with (
        block_metrics.open(CifarNet(1, 10, 1, width=4).eval()) as read,
        pytest.raises(ProbesError, match="nothing was measured"),
    ):
        read(Batch.of([0]))


def test_nothing_larger_than_the_rows_is_kept():
    model = CifarNet(1, 10, 1, width=4).eval()
    with torch.no_grad(), block_metrics.open(model) as read:
        model(torch.rand(5, 1, 16, 16))
        found = read(Batch.of(range(5)))

    assert all(values.shape == (3, 5) for name, values in found.items() if name != "site")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_trap_r08_half_precision_activations_are_widened_before_they_are_squared(dtype):
    torch.manual_seed(0)
    net = rough(CifarNet(1, 10, 1, width=4), 0).float()
    images = torch.rand(2, 1, 8, 8)

    def measure(model, x):
        with torch.no_grad(), block_metrics.open(model) as read:
            model(x)
            return read(Batch.of([0, 1]))

    full = measure(net, images)
    half = measure(net.to(dtype), images.to(dtype))
    np.testing.assert_allclose(half["l2_h"], full["l2_h"], rtol=0.05)


@pytest.mark.parametrize(
    "under", [weight_noise(0, 0.1), layer_noise(0, 0.5, choice="each")], ids=["weights", "layers"]
)
@pytest.mark.parametrize("net", ["resnet20", "vit_lite:untrained"], ids=["adapter", "sums"])
def test_blocks_are_read_under_noise_inside_the_network(net, under, tmp_path):
    lab = Lab(f"{net}@mnist5k", tmp_path, images=4, threads=1, quiet=True, say=lambda _: None)
    table = lab.sweep(block_metrics, under=under).frame
    clean, noisy = (table[table["level"] == level] for level in sorted(set(table["level"])))
    assert len(noisy) >= len(clean) > 0
    assert not np.allclose(clean["l2_h"].mean(), noisy["l2_h"].mean(), rtol=1e-6)
