"""Weights of a few bits and pruned weights: what they are, and that the network stays as it is."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.ao.quantization import PerChannelMinMaxObserver
from torch.func import functional_call
from torch.nn.utils import prune

from probes import accuracy, gaussian
from probes.batch import Batch, Draw
from probes.errors import BadInput
from probes.kept import Kept
from probes.lab import Lab
from probes.perturb import Pass, pruned, quantised, weight_noise
from probes.perturb.precision import rounded
from probes.store import Store
from probes.subjects import pretrained, training
from probes.subjects.data import load
from probes.subjects.statedict import read_weights

DRAW = Draw(0, "d", 0)


def floats(n, seed=0):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def net():
    return training.initial("resnet20", load("mnist5k"), 0).eval()


def at(model, level):
    send = torch.Tensor.clone
    return Pass(model, level, DRAW, Kept(), send, lambda x: model(send(x)))


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 16), st.integers(0, 1000))
def test_rounding_errs_by_half_a_step_at_most_and_keeps_the_largest_weight(bits, seed):
    w = floats(60, seed).reshape(4, 5, 3)
    out, largest = rounded(w, bits), w.abs().amax((1, 2), keepdim=True)
    steps = 2 ** (bits - 1) - 1

    assert bool(((out - w).abs() <= largest * (0.5 / steps + 2**-22)).all())  # fp32 itself errs
    assert torch.allclose(out.abs().amax((1, 2), keepdim=True), largest)
    assert all(len(channel.unique()) <= 2 * steps + 1 for channel in out)
    assert torch.allclose(rounded(-w, bits), -out)
    assert torch.allclose(rounded(out, bits), out)


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_rounding_is_torchs_own_fake_quantisation_per_channel(bits):
    w, top = floats(8 * 27).reshape(8, 3, 3, 3), 2 ** (bits - 1) - 1
    observer = PerChannelMinMaxObserver(
        ch_axis=0, dtype=torch.qint8, qscheme=torch.per_channel_symmetric, quant_min=-top,
        quant_max=top,
    )  # fmt: skip
    observer(w)
    scale = w.abs().amax((1, 2, 3)) / top
    theirs = torch.fake_quantize_per_channel_affine(
        w, scale, torch.zeros(8, dtype=torch.int32), 0, -top, top
    )

    torch.testing.assert_close(rounded(w, bits), theirs, rtol=0, atol=1e-6)
    torch.testing.assert_close(observer.calculate_qparams()[0], scale, rtol=0.02, atol=0)


def test_channels_of_a_transposed_convolution_are_its_second_axis():
    layer = nn.ConvTranspose2d(4, 6, 3, groups=2)
    with torch.no_grad():
        layer.weight.mul_(torch.tensor([1.0, 10.0, 100.0])[None, :, None, None])
    net = nn.Sequential(layer)
    found = quantised(8).mapping(net, 24.0, DRAW)["0.weight"]
    parts = layer.weight.detach().reshape(2, 2, 3, 3, 3)
    wanted = torch.stack([
        torch.stack([rounded(part[:, i].reshape(1, -1), 8).reshape(2, 3, 3) for i in range(3)], 1)
        for part in parts
    ]).reshape(4, 3, 3, 3)  # fmt: skip

    assert torch.equal(found, wanted)


def test_a_channel_of_zeros_stays():
    assert torch.equal(rounded(torch.zeros(2, 3), 4), torch.zeros(2, 3))


def test_levels_are_bits_taken_away_and_ascend_from_clean():
    under = quantised(bits=(2, 8, 4))

    assert under.levels == (0.0, 24.0, 28.0, 30.0)
    assert under.describe().startswith("Weights rounded to 8, 4, 2 bits per output channel")
    assert (under.varied, under.unit) == ("bits taken away", "bits of 32")


@pytest.mark.parametrize("bits", [1, 17, 2.5, 0, (8, 8), ()])
def test_bits_that_are_none(bits):
    with pytest.raises(BadInput, match=r"quantised\(bits="):
        quantised(bits)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.01, 0.99), st.integers(0, 1000), st.booleans())
def test_pruning_takes_the_share_of_smallest_weights_and_ties_do_not_add_to_it(share, seed, tied):
    net = nn.Sequential(nn.Linear(9, 7), nn.Linear(7, 5))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(floats(p.numel(), seed).reshape(p.shape).round() if tied else p)
    before = torch.cat([net[i].weight.detach().flatten() for i in (0, 1)])
    found = pruned(share).mapping(net, share, DRAW)
    after = torch.cat([found[f"{i}.weight"].flatten() for i in (0, 1)])
    gone = after != before
    kept = before[~gone & (before != 0)]

    assert int((after == 0).sum()) == max(round(share * 98), int((before == 0).sum()))
    assert not len(kept) or bool((kept.abs().min() >= before[gone].abs()).all())


def test_pruning_is_torchs_own_global_magnitude_pruning(net):
    share, copied = 0.5, copy.deepcopy(net)
    found = pruned(share).mapping(net, share, DRAW)
    layers = [m for m in copied.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    prune.global_unstructured([(m, "weight") for m in layers], prune.L1Unstructured, amount=share)

    assert [name for name in found if not name.endswith("weight")] == []
    for (name, w), layer in zip(found.items(), layers, strict=True):
        assert torch.equal(w, layer.weight), name


@pytest.mark.parametrize("share", [-0.1, 1.0, (0.5, 0.5), float("nan"), 0.0])
def test_shares_that_are_none(share):
    with pytest.raises(BadInput, match=r"pruned\(share="):
        pruned(share)


@pytest.mark.parametrize("under", [quantised(2), pruned(0.5)])
def test_trap_n5_the_state_is_bit_equal_afterwards_also_when_the_pass_raises(net, under):
    held = dict(net.named_parameters()) | dict(net.named_buffers())
    before = {name: t.detach().clone() for name, t in held.items()}
    images, level = torch.rand(2, 1, 28, 28), max(under.levels)
    with torch.inference_mode(), under.open(at(net, level)) as forward:
        forward(Batch.of([0, 1], images=images))

    def fail(*_):
        raise RuntimeError("in a hook")

    handle = net.register_forward_hook(fail)
    with (
        torch.inference_mode(),
        pytest.raises(RuntimeError, match="in a hook"),
        under.open(at(net, level)) as forward,
    ):
        forward(Batch.of([0, 1], images=images))
    handle.remove()
    after = dict(net.named_parameters()) | dict(net.named_buffers())

    assert all(after[name] is held[name] for name in held)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_pass_is_that_of_a_network_with_these_weights(net):
    images = torch.rand(2, 1, 28, 28)
    seen = []
    handle = net.register_forward_hook(lambda _, __, out: seen.append(out))
    under = quantised(3)
    with torch.inference_mode(), under.open(at(net, 29.0)) as forward:
        forward(Batch.of([0, 1], images=images))
    handle.remove()
    copied = copy.deepcopy(net)
    copied.load_state_dict(copied.state_dict() | under.mapping(net, 29.0, DRAW))
    with torch.inference_mode():
        assert torch.equal(seen[0], copied(images))
        assert not torch.equal(seen[0], net(images))
        assert torch.equal(functional_call(net, under.mapping(net, 29.0, DRAW), (images,)), seen[0])


def test_other_precision_and_two_perturbations_of_weights_are_refused(net):
    with pytest.raises(BadInput, match=r"'0.weight' is torch.float64, .* single precision"):
        quantised(4).mapping(nn.Sequential(nn.Linear(2, 2)).double(), 28.0, DRAW)
    pruned_net = nn.Sequential(nn.Linear(2, 2))
    prune.l1_unstructured(pruned_net[0], "weight", amount=0.5)
    with pytest.raises(BadInput, match=r"quantisation: the weights of 0 .*pruned"):
        quantised(4).mapping(pruned_net, 28.0, DRAW)
    with pytest.raises(BadInput, match="both change weights"):
        quantised(4) & weight_noise(0, 0.1)


def test_a_sweep_of_quantised_weights_under_noise(tmp_path):
    lab = Lab("resnet20@mnist5k", images=60, store=tmp_path, quiet=True)
    alone = lab.sweep(accuracy, under=quantised(bits=(8, 2))).frame
    both = lab.sweep(accuracy, under=quantised(bits=(8, 2)) & gaussian(0, 0.2)).frame
    right = alone.groupby("level")["correct"].mean()

    assert right[24.0] == pytest.approx(right[0.0], abs=0.02)
    assert right[30.0] < right[0.0]
    assert both.groupby("level")["loss"].mean()[24.0] > alone.groupby("level")["loss"].mean()[24.0]
    clean = both["level"] == 0
    assert both.loc[clean, "loss"].tolist() == alone.loc[alone["level"] == 0, "loss"].tolist()


def test_evidence_tells_how_many_weights_are_changed(net):
    told = pruned(0.5).facts({"resnet20": net}, 0)

    assert sum(told["perturbed"]["resnet20"].values()) < told["parameters"]["resnet20"]
    assert "conv1.weight" in told["perturbed"]["resnet20"]


def test_weights_that_are_stored_in_8_bits_are_what_8_bits_make_of_them():
    found = [w for w in pretrained.available(Store.default()) if w.net == "resnet18"]
    if not found:
        pytest.skip("bring the weights of resnet18@cifar10 with `pip install ./weights`")
    path = found[0].path
    weights = [w for w in read_weights(path).values() if w.ndim == 4]

    assert len(weights) == 20
    assert all(torch.equal(rounded(w, 8), w) for w in weights)
    assert not any(torch.equal(rounded(w, 7), w) for w in weights)
