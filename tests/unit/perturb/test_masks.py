"""Masks: what is scaled, sizes whatever the ties, magnitudes that are matched, nothing left
behind."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from probes.errors import BadInput, ProbesError, UnknownName
from probes.perturb.masks import BINS, at_random, largest, matched, scaled, scaled_units
from probes.subjects.nets import nets


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nets["resnet20"](1, 10).eval()


def state(model):
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    return {k: v.clone() for k, v in model.state_dict().items()}, hooks


def same(a, b):
    return a[1] == b[1] and all(torch.equal(a[0][k], b[0][k]) for k in a[0])


def test_units_are_scaled_and_what_comes_after_sees_it(model):
    x = torch.randn(3, 1, 28, 28)
    factors = torch.rand(16, 28, 28)
    seen = {}
    with torch.no_grad():
        model.layer1.register_forward_hook(lambda _, __, out: seen.setdefault("plain", out.clone()))
        plain = model(x)
        model.layer1._forward_hooks.clear()
        with scaled_units(model, {"layer1": factors}):
            hook = model.layer2.register_forward_pre_hook(
                lambda _, args: seen.setdefault("after", args[0])
            )
            out = model(x)
            hook.remove()

    torch.testing.assert_close(seen["after"], seen["plain"] * factors)
    assert not torch.allclose(out, plain)


def test_a_mask_of_ones_changes_no_bit_and_nothing_is_left(model):
    x, before = torch.randn(2, 1, 28, 28), state(model)
    with torch.no_grad():
        plain = model(x)
        with scaled_units(model, {"layer1": torch.ones(16, 1, 1), "fc": torch.ones(10)}):
            assert torch.equal(model(x), plain)
        assert torch.equal(model(x), plain)

    assert same(state(model), before)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_after_an_exception(model, error):
    before = state(model)
    with (
        pytest.raises(error),
        scaled_units(model, {"layer1": torch.zeros(16, 1, 1)}),
        scaled_units(model, {"fc": torch.zeros(10)}),
    ):
        raise error

    assert same(state(model), before)


def test_masks_nest(model):
    x = torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        with (
            scaled_units(model, {"fc": torch.full((10,), 0.5)}),
            scaled_units(model, {"fc": torch.full((10,), 0.5)}),
        ):
            twice = model(x)
        torch.testing.assert_close(twice, model(x) / 4)


@given(st.integers(2, 300), st.floats(0.05, 0.95), st.integers(0, 3), st.integers(0, 100))
@settings(max_examples=80)
def test_trap_s10_the_top_share_is_that_share_whatever_the_ties(n, q, values, seed):
    """The published masks scale every unit where the quantile is tied with the smallest index."""
    many = round((1 - q) * n)
    index = np.random.Generator(np.random.Philox(seed)).integers(0, values + 1, n).astype(float)
    if not 0 < many < n:
        with pytest.raises(BadInput, match="leaves some in and some out"):
            largest(index, q, seed)
        return
    chosen = largest(index, q, seed)

    assert chosen.sum() == many
    assert index[chosen].min() >= index[~chosen].max()
    assert at_random((n,), q, seed).sum() == many


def test_ties_are_broken_by_name_and_dead_units_come_last():
    index = np.array([np.nan, 0.0, 0.0, 0.0, np.nan, 0.0, 1.0, 0.0])

    assert largest(index, 0.5, "a")[6]
    assert not largest(index, 0.25, "a")[[0, 4]].any()
    np.testing.assert_array_equal(largest(index, 0.5, "a"), largest(index, 0.5, "a"))
    assert len({largest(index, 0.5, i).tobytes() for i in range(20)}) > 3


@given(st.integers(40, 400), st.floats(0.3, 0.9), st.integers(0, 100))
@settings(max_examples=40)
def test_a_matched_mask_has_the_same_sizes_and_magnitudes(n, q, seed):
    magnitude = np.random.Generator(np.random.Philox(seed)).gamma(1.0, size=n)
    chosen = largest(
        magnitude + 0.3 * np.random.Generator(np.random.Philox(seed + 1)).gamma(1.0, size=n),
        q,
        seed,
    )
    other = matched(chosen, magnitude, seed)

    assert other.sum() == chosen.sum()
    classes = np.array_split(np.argsort(magnitude), BINS)
    assert [other[c].sum() for c in classes] == [chosen[c].sum() for c in classes]
    if any(0 < chosen[c].sum() < len(c) for c in classes):
        assert len({matched(chosen, magnitude, seed, i).tobytes() for i in range(20)}) > 1


def test_draws_are_their_names():
    first = at_random((4, 5, 5), 0.5, "net", 0)

    np.testing.assert_array_equal(first, at_random((4, 5, 5), 0.5, "net", 0))
    assert (first != at_random((4, 5, 5), 0.5, "net", 1)).any()
    assert first.shape == (4, 5, 5)


def test_scaled():
    assert scaled(np.array([[True], [False]]), 1.5).tolist() == [[1.5], [1.0]]
    assert scaled(np.array([True]), 0).tolist() == [0.0]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: largest(np.zeros(4), 0, "x"), "q 0: a quantile between 0 and 1"),
        (lambda: largest(np.zeros(4), 1.0, "x"), "q 1.0"),
        (lambda: at_random((4,), 0.99, "x"), "q 0.99 of 4 units chooses 0"),
        (lambda: largest(np.full(4, np.nan), 0.5, "x"), "every unit of the layer is dead"),
        (lambda: scaled(np.array([True]), -0.1), "alpha -0.1"),
        (lambda: scaled(np.array([True]), float("nan")), "alpha nan"),
        (lambda: matched(np.array([True, False]), np.zeros(3), "x"), r"magnitudes of shape \(3,\)"),
    ],
)
def test_what_can_not_be_is_refused(call, says):
    with pytest.raises(BadInput, match=says):
        call()


def test_masks_of_another_network_are_refused(model):
    x = torch.randn(1, 1, 28, 28)
    with torch.no_grad():
        with (
            pytest.raises(
                BadInput,
                match=(
                    r"a mask of shape \(8, 28, 28\) for module 'layer1', which gives \(16, 28, 28\)"
                ),
            ),
            scaled_units(model, {"layer1": torch.ones(8, 28, 28)}),
        ):
            model(x)
        with (
            pytest.raises(UnknownName, match="did you mean layer"),
            scaled_units(model, {"layer": torch.ones(1)}),
        ):
            model(x)


def test_a_module_that_does_not_run_is_an_error():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.used(x)

    net = Idle().eval()
    with (
        pytest.raises(ProbesError, match="'idle' did not run"),
        scaled_units(net, {"used": torch.ones(2), "idle": torch.ones(2)}),
    ):
        net(torch.ones(1, 2))
