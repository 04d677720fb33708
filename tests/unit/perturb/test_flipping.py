"""Bits that flip: named, nested over rates, undone by themselves, and never in the network."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from probes import accuracy
from probes.batch import Batch, Draw
from probes.errors import BadInput
from probes.kept import Kept
from probes.lab import Lab
from probes.perturb import Pass, bit_flips
from probes.perturb.flipping import flipped, flips

DRAW = Draw(0, "d", 0)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 500), st.floats(0, 0.1), st.floats(0, 0.1), st.integers(0, 1 << 30))
def test_flips_are_different_bits_and_nested_over_rates(numbers, one, other, seed):
    few, many = (flips(numbers, rate, "t", seed) for rate in sorted((one, other)))

    assert len(set(many.tolist())) == len(many)
    assert set(few.tolist()) <= set(many.tolist())
    assert not len(many) or (many.min() >= 0 and many.max() < 32 * numbers)


def test_as_many_bits_flip_as_the_rate_says_in_every_place():
    found = np.concatenate([flips(1000, 0.01, "rate", i) for i in range(200)])
    counts = np.bincount(found % 32, minlength=32)

    assert len(found) / (200 * 32_000) == pytest.approx(0.01, rel=0.02)
    assert counts == pytest.approx(np.full(32, 2000), rel=0.12)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.sets(st.integers(0, 32 * 20 - 1), max_size=40))
def test_flipping_twice_gives_the_bits_back_where_nothing_was_cut(seed, places):
    w = torch.randn(4, 5, generator=torch.Generator().manual_seed(seed))
    places = np.array(sorted(p for p in places if p % 32 < 23 or p % 32 == 31), dtype=np.int64)
    once, lost = flipped(w, places, clip=False)

    assert lost == 0
    assert torch.equal(flipped(once, places, clip=False)[0], w)
    assert int((once != w).sum()) == len(set((places // 32).tolist()))


def test_what_is_no_number_any_more_is_told_and_cut():
    w = torch.tensor([1.0, -1.5, 0.5])  # the highest exponent bit: infinite, NaN, huge
    places = np.array([30, 62, 94])
    clipped, lost = flipped(w, places)
    left, also = flipped(w, places, clip=False)

    assert (lost, also) == (2, 2)
    assert clipped.tolist() == [1.5, 0.0, 1.5]
    assert left[:2].tolist() == [0.0, 0.0]
    assert left[2] > 1e38
    assert w.tolist() == [1.0, -1.5, 0.5]


@pytest.mark.parametrize("rates", [(0.1,), (0, 0.2), (0, 0.01, 0.01), (0, float("nan")), (-1, 0)])
def test_rates_that_are_none(rates):
    with pytest.raises(BadInput, match="bit flips at"):
        bit_flips(*rates)


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4 * 36, 3)
    ).eval()


def outputs(under, net, ids, images, draw=DRAW, level=0.01):
    seen = []
    handle = net.register_forward_hook(lambda _, __, out: seen.append(out))
    (_, arm), *_ = under.arms(net)
    at = Pass(net, level, draw, Kept(), torch.Tensor.clone, lambda x: net(x.clone()))
    with torch.inference_mode(), arm.open(at) as forward:
        forward(Batch.of(ids, images=images))
    handle.remove()
    return seen[0]


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)), st.integers(1, 6))
def test_trap_n03_order_and_batch_size_change_no_flip_of_an_activation(order, size):
    net, ids = small(), [3, 1, 4, 15, 9, 2]
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    under = bit_flips(0, 0.01, on="activations")
    whole = outputs(under, net, ids, images)
    for start in range(0, 6, size):
        part = list(order[start : start + size])
        found = outputs(under, net, [ids[i] for i in part], images[part])

        torch.testing.assert_close(found, whole[part], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("on", ["weights", "activations"])
def test_the_state_is_bit_equal_afterwards_and_hooks_are_gone(on):
    net, images = small(), torch.rand(2, 1, 8, 8)
    before = {name: t.clone() for name, t in net.state_dict().items()}
    with torch.inference_mode():
        clean = net(images)
    found = outputs(bit_flips(0, 0.01, on=on), net, [0, 1], images)
    again = outputs(bit_flips(0, 0.01, on=on), net, [0, 1], images)
    other = outputs(bit_flips(0, 0.01, on=on), net, [0, 1], images, Draw(0, "d", 1))

    assert torch.equal(found, again)
    assert not torch.equal(found, clean)
    assert not torch.equal(found, other)
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    assert not any(m._forward_hooks for m in net.modules())


def test_only_single_precision_flips():
    net = small().double()
    with pytest.raises(BadInput, match="single precision only"):
        outputs(bit_flips(0, 0.1, on="activations"), net, [0], torch.rand(1, 1, 8, 8).double())
    with pytest.raises(BadInput, match="'weights' or 'activations'"):
        bit_flips(0, 0.1, on="biases")


@pytest.mark.parametrize("on", ["weights", "activations"])
def test_flips_cost_accuracy_in_a_sweep(tmp_path, on):
    lab = Lab("resnet20@mnist5k", images=40, store=tmp_path, quiet=True)
    under = bit_flips(0, 1e-6, 0.02, on=on)
    right = lab.sweep(accuracy, under=under).frame.groupby("level")["correct"].mean()

    assert right[0.02] < right[0.0] - 0.1
    assert right[1e-6] >= right[0.02]


def test_evidence_tells_how_many_weights_are_no_numbers():
    net = small()
    net[3].weight.data.fill_(1.5)  # a flip of the highest bit of its exponent makes it NaN
    told = bit_flips(0, 0.05).facts({"small": net}, 0)

    assert told["not_finite"]["small"] > 0
