"""Weight noise: a mapping for functional_call, named draws, the model never written to."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from probes.errors import BadInput, UnknownName
from probes.perturb import WeightNoise, weight_noise
from probes.perturb.effective import re_estimated
from probes.perturb.plainweights import targets
from probes.perturb.weights import perturbed
from probes.subjects import training
from probes.subjects.data import load

ALL = (
    "mlp_small",
    "cnn",
    "plainnet20",
    "resnet20",
    "mobilenet_v2",
    "vit_lite",
    "row_gru",
    "row_lstm",
)


@pytest.fixture(scope="module")
def digits():
    return load("mnist5k")


@pytest.fixture(scope="module", params=ALL)
def model(request, digits):
    return training.initial(request.param, digits, 0).eval()


@pytest.fixture(scope="module")
def images(digits):
    return torch.from_numpy(digits.images[:4].copy()).float() / 255


def noisy_weights(model, alpha=0.1, draw=0):
    under = weight_noise(0, alpha)
    return under.mapping(model, alpha, under.directions(model, 0, draw))


def test_a_pass_at_the_mapping_is_that_of_a_copy_with_these_weights(model, images):
    """A foreign reference for every layer type: recurrent layers and torch's fused encoder read the
    mapping, too.
    """
    weights = noisy_weights(model)
    copied = copy.deepcopy(model)
    copied.load_state_dict(copied.state_dict() | weights)
    with torch.inference_mode():
        found, clean = functional_call(model, weights, (images,)), model(images)

        assert torch.allclose(copied(images), found, atol=1e-5)
        assert float((clean - found).abs().max()) > 0.01 * float(clean.abs().max())


def test_trap_n5_the_state_is_bit_equal_before_during_and_after_also_when_the_pass_raises(
    model, images
):
    held = dict(model.named_parameters()) | dict(model.named_buffers())
    before = {name: tensor.detach().clone() for name, tensor in held.items()}
    checked = []

    def during(*_):
        checked.append(all(torch.equal(held[name], tensor) for name, tensor in before.items()))
        raise RuntimeError("in a hook")

    last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    handle = last.register_forward_hook(during)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="in a hook"):
        functional_call(model, noisy_weights(model), (images,))
    handle.remove()
    with torch.inference_mode():
        functional_call(model, noisy_weights(model), (images,))
    after = dict(model.named_parameters()) | dict(model.named_buffers())

    assert checked == [True]
    assert all(after[name] is held[name] for name in held)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_trap_n6_no_bias_norm_or_buffer_is_perturbed(model):
    names = set(targets(model))
    norms = {
        f"{prefix}."
        for prefix, m in model.named_modules()
        if isinstance(m, nn.BatchNorm2d | nn.LayerNorm)
    }

    assert names <= {name for name, _ in model.named_parameters()}
    assert not any("bias" in name or "position" in name for name in names)
    assert not any(name.startswith(tuple(norms)) for name in names) or not norms


def test_recurrent_and_attention_weights_are_perturbed(digits):
    lstm, vit = (training.initial(net, digits, 0) for net in ("row_lstm", "vit_lite"))

    assert [n for n in targets(lstm) if "rnn" in n] == [
        f"net.rnn.weight_{k}_l{i}" for i in (0, 1) for k in ("ih", "hh")
    ]
    assert sum("in_proj_weight" in name for name in targets(vit)) == 6


def test_the_strength_is_alpha_times_the_std_of_each_tensor(model):
    weights = targets(model)
    for name, noisy in noisy_weights(model, alpha=0.3).items():
        eps = (noisy - weights[name].detach()).double()
        n = eps.numel()

        assert float(eps.std() / weights[name].detach().double().std()) == pytest.approx(
            0.3, rel=6 / math.sqrt(2 * n)
        )


@given(st.floats(0.001, 10), st.floats(0.001, 10), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_the_direction_of_a_draw_is_common_to_all_alphas(a, b, draw):
    model = nn.Linear(5, 4)
    under = weight_noise(0, *sorted({a, b}))
    direction = under.directions(model, 3, draw)["weight"]
    first, second = (
        under.mapping(model, alpha, {"weight": direction})["weight"] - model.weight.detach()
        for alpha in (a, b)
    )

    assert torch.allclose(first / a, second / b, rtol=0, atol=1e-6 * max(1, 1 / a, 1 / b))


@given(st.integers(0, 2**31), st.integers(0, 100), st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_a_draw_is_named_by_seed_tensor_draw_and_training_seed(seed, draw, run):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    under = weight_noise(0, 1)
    one = under.directions(model, seed, draw, run)
    again = under.directions(model, seed, draw, run)
    others = [
        under.directions(model, *name)
        for name in ((seed + 1, draw, run), (seed, draw + 1, run), (seed, draw, run + 1))
    ]

    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not any(torch.equal(one["0.weight"], other["0.weight"]) for other in others)
    assert not torch.equal(
        one["0.weight"] / model[0].weight.std(), one["1.weight"] / model[1].weight.std()
    )
    assert not torch.equal(one["0.weight"], under.directions(model, seed, draw)["0.weight"])


def test_the_draw_is_the_same_for_ever():
    w = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        w.weight.copy_(torch.tensor([[0.0, 1.0, 0.0, 1.0]]))
    found = weight_noise(0, 1).directions(w, 0, 0)["weight"] / math.sqrt(1 / 3)

    assert np.allclose(found.numpy()[0], [0.41200924, -2.044074, 0.01121944, 0.78817403], atol=1e-6)


def test_a_draw_does_not_depend_on_the_memory_format(digits):
    model = training.initial("cnn", digits, 0)
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    a, b = noisy_weights(model), noisy_weights(last)

    assert all(torch.equal(a[name], b[name]) for name in a)


def test_select_names_other_parameters_and_what_matches_nothing_is_an_error(digits):
    model = training.initial("vit_lite", digits, 0)

    assert list(targets(model, ["*.position"])) == ["net.position"]
    with pytest.raises(UnknownName, match=r"unknown weights '\*.positon'.*glob"):
        targets(model, ["*.position", "*.positon"])


def test_a_network_without_such_weights_is_an_error_with_the_way_out():
    with pytest.raises(BadInput, match=r"BatchNorm2d has no convolution.*select"):
        targets(nn.BatchNorm2d(3))


def test_tied_weights_stand_once_and_get_one_noise():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    weights = noisy_weights(model, alpha=0.5)
    with torch.inference_mode():
        found = functional_call(model, weights, (torch.eye(3),))

    assert list(weights) == ["0.weight"]
    assert torch.allclose(found, (weights["0.weight"] @ weights["0.weight"]).T, atol=1e-6)


@pytest.mark.parametrize(
    ("levels", "sentence"),
    [
        ((0, -0.1), "alpha -0.1"),
        ((0, math.nan), "alpha nan"),
        ((0, math.inf), "alpha inf"),
        ((0.1,), "lack 0"),
        ((0, 0.1, 0.1), "hold one twice"),
        ((0, True), "alpha True"),
        ((0, "1"), "alpha 1"),
    ],
)
def test_alphas_that_can_not_be(levels, sentence):
    with pytest.raises(BadInput, match=sentence):
        weight_noise(*levels)


def test_policies_and_images_that_can_not_be():
    with pytest.raises(UnknownName, match="frozen"):
        weight_noise(0, batch_norm="frosen")
    with pytest.raises(BadInput, match="two different ones"):
        weight_noise(0, batch_norm=("frozen", "frozen"))
    with pytest.raises(BadInput, match="one policy"):
        weight_noise(0, batch_norm=())
    with pytest.raises(BadInput, match="two training images"):
        weight_noise(0, batch_norm="re-estimated", images=1)


def test_gradients_pass_to_the_clean_weights_as_if_the_noise_were_constant():
    w = torch.tensor([1.0, 3.0], requires_grad=True)
    perturbed({"w": w}, 0.5, torch.ones)["w"].square().sum().backward()

    assert torch.allclose(w.grad, 2 * (w.detach() + 0.5 * w.detach().std()))


def test_a_weight_of_one_number_gets_no_noise():
    assert torch.equal(
        perturbed({"w": torch.tensor([2.0])}, 1.0, torch.ones)["w"], torch.tensor([2.0])
    )


def test_trap_n7_re_estimated_statistics_are_those_of_torchs_update_bn(digits, images):
    model = training.initial("resnet20", digits, 0).eval()
    weights = noisy_weights(model, alpha=0.5)
    batches = [
        torch.from_numpy(digits.images[i : i + 20].copy()).float() / 255 for i in (0, 20, 40)
    ]
    copied = copy.deepcopy(model)
    copied.load_state_dict(copied.state_dict() | weights)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.inference_mode():
        torch.optim.swa_utils.update_bn(batches, copied)
        fresh = re_estimated(model, weights, batches)
        found = functional_call(model, {**weights, **fresh}, (images,))

        assert torch.equal(copied.eval()(images), found)
    assert all(torch.equal(copied.state_dict()[name], tensor) for name, tensor in fresh.items())
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    assert not any(m.training for m in model.modules())
    assert {m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


def test_re_estimating_leaves_modes_and_buffers_also_after_an_exception(digits):
    model = training.initial("resnet20", digits, 0).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def batches():
        yield torch.zeros(4, 1, 28, 28)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), torch.inference_mode():
        re_estimated(model, {}, batches())

    assert not any(m.training for m in model.modules())
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())


def test_a_model_without_batch_norm_has_nothing_to_re_estimate():
    with pytest.raises(BadInput, match="no batch norm to re-estimate"):
        re_estimated(nn.Linear(1, 1), {}, [])


def test_the_key_of_clean_weights_depends_on_nothing():
    a, b = weight_noise(0, 0.1), weight_noise(0, 0.1, batch_norm="re-estimated", select="*.weight")

    assert a.key(0.0) == b.key(0.0)
    assert a.key(0.1) != b.key(0.1)
    assert WeightNoise((0.0,)).batch_norm == ("frozen",)
