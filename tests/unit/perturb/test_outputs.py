"""Noise on the outputs of layers: which layers, the same draw at every strength, nothing left
behind.
"""

import contextlib
import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from probes.batch import Batch
from probes.errors import BadInput, ProbesError, UnknownName
from probes.measure import accuracy, block_metrics
from probes.perturb import inject, layer_noise
from probes.perturb.layers import layers_of
from probes.subjects.nets import nets

IDS = [5, 6, 7, 8]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nets["resnet20"](1, 10).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(0))


def run(model, images, noise, ids=IDS, on="BatchNorm2d", **more):
    with torch.inference_mode(), inject(model, on, noise, ids, **more) as done:
        return model(images), done


def absolute(*levels, **more):
    return layer_noise(*levels, scale="absolute", **more)


def test_layers_are_chosen_by_name_glob_class_and_predicate(model):
    assert list(layers_of(model, "layer1.0.bn2")) == ["layer1.0.bn2"]
    assert list(layers_of(model, "layer1.*.bn2")) == [f"layer1.{i}.bn2" for i in range(3)]
    assert len(layers_of(model, "BatchNorm2d")) == len(layers_of(model, nn.BatchNorm2d)) == 19
    assert list(layers_of(model, ["fc", lambda name, _: name == "bn1"])) == ["bn1", "fc"]


@pytest.mark.parametrize(
    ("which", "sentence"),
    [
        ("layer9.*", "unknown layer 'layer9"),
        ("BatchNorm1d", "did you mean BatchNorm2d"),
        (nn.LSTM, "chosen by LSTM"),
        ((lambda name, module: False), "chosen by <lambda>"),
    ],
)
def test_a_selection_that_matches_nothing_is_an_error(model, which, sentence):
    with pytest.raises((UnknownName, BadInput), match=sentence):
        layers_of(model, which)


def test_strength_0_is_the_clean_pass_bit_for_bit(model, images):
    with torch.inference_mode():
        clean = model(images)

    assert torch.equal(run(model, images, absolute(0, 0.5, layers=3), level=0)[0], clean)
    assert torch.equal(run(model, images, absolute(0))[0], clean)


def test_one_layer_gets_the_noise_that_its_name_says():
    """A closed form: an identity of known size, one layer, relative noise of known spread."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 3, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(torch.eye(3))
    x = torch.zeros(4, 1, 1, 3)
    found, done = run(net.eval(), x, layer_noise(0, 0.5), on="1", spread={"1": 2.0})

    assert torch.allclose(found, 0.5 * 2.0 * done.drawn["1", 1])
    assert done.chosen.tolist() == [[True]] * 4


@given(st.floats(0.01, 5), st.floats(0.01, 5), st.integers(1, 3), st.integers(0, 4))
@settings(max_examples=20, deadline=None)
def test_draw_and_noise_are_common_to_all_strengths(a, b, n, draw):
    net = nn.Sequential(*(nn.Linear(3, 3) for _ in range(4))).eval()
    x = torch.zeros(4, 3)
    (_, one), (_, two) = (
        run(net, x, absolute(0, level, layers=n), on="Linear", draw=draw) for level in (a, b)
    )

    assert (one.chosen == two.chosen).all()
    assert one.chosen.sum(1).tolist() == [n] * 4
    assert all(torch.equal(one.drawn[name], two.drawn[name]) for name in one.drawn)


@given(st.permutations(range(6)), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_a_draw_belongs_to_the_image_whatever_the_batch(order, cut):
    noise = absolute(0, 1, layers=2, on=("a", "b", "c", "d"))
    whole = dict(zip(range(6), noise.chosen("d", range(6), 0, 0).tolist(), strict=True))
    parts = [
        *noise.chosen("d", order[:cut], 0, 0).tolist(),
        *noise.chosen("d", order[cut:], 0, 0).tolist(),
    ]

    assert dict(zip(order, parts, strict=True)) == whole


def test_the_noise_of_an_image_does_not_depend_on_the_batch(model, images):
    whole, _ = run(model, images, absolute(0, 0.3, layers=3))
    parts = [
        run(model, images[i : i + 2], absolute(0, 0.3, layers=3), ids=IDS[i : i + 2])[0]
        for i in (0, 2)
    ]

    assert torch.allclose(torch.cat(parts), whole, atol=1e-5)


@given(st.integers(2, 40), st.integers(0, 30))
@settings(max_examples=30, deadline=None)
def test_the_layers_of_a_smaller_count_are_among_those_of_a_larger_one(many, image):
    on = tuple(f"l{i}" for i in range(many))
    one, two = (layer_noise(0, 1, layers=n, on=on).chosen("d", [image], 0, 0)[0] for n in (1, 2))

    assert one.sum() == 1
    assert two.sum() == 2
    assert two[one].all()


def test_networks_of_other_depth_share_the_uniform():
    """Layer floor(u L): the draw for 10 layers is the one for 30, a third of the way."""
    ten, thirty = (
        layer_noise(0, 1, on=tuple(map(str, range(n)))).chosen("d", range(200), 0, 0).argmax(1)
        for n in (10, 30)
    )

    assert (ten == thirty // 3).all()
    assert len(set(ten)) == 10


def test_every_layer_is_as_likely_as_another():
    chosen = layer_noise(0, 1, layers=2, on=tuple("abcde")).chosen("d", range(2000), 0, 0)

    assert np.allclose(chosen.mean(0), 0.4, atol=4 * math.sqrt(0.24 / 2000))


@pytest.mark.parametrize(
    ("fraction", "many", "n"), [(1 / 16, 19, 1), (1 / 4, 19, 5), (0.5, 3, 2), (0.01, 5, 1)]
)
def test_fractions_are_rounded_to_at_least_one(fraction, many, n):
    on = tuple(f"l{i}" for i in range(many))

    assert layer_noise(0, 1, layers=fraction, on=on).chosen("d", [0], 0, 0).sum() == n


def test_common_layers_are_the_same_for_all_images_and_each_takes_them_all():
    on = tuple("abcdefgh")
    common = layer_noise(0, 1, layers=2, on=on, choice="common")

    assert len({tuple(row) for row in common.chosen("d", range(50), 0, 0).tolist()}) == 1
    assert len({tuple(common.chosen("d", [0], 0, draw)[0].tolist()) for draw in range(20)}) > 5
    assert layer_noise(0, 1, on=on, choice="each").chosen("d", [0], 0, 0).all()


def test_with_a_probability_some_images_are_spared():
    chosen = layer_noise(0, 1, layers=2, on=tuple("abcd"), probability=0.25).chosen(
        "d", range(2000), 0, 0
    )

    assert chosen.sum(1).mean() == pytest.approx(0.5, abs=0.07)
    assert not layer_noise(0, 1, on=("a",), probability=0.0).chosen("d", range(9), 0, 0).any()


def test_a_draw_is_replayed(model, images):
    first, done = run(model, images, absolute(0, 0.3, layers=2))
    again, same = run(model, images, absolute(0, 0.3, layers=2), again=done, seed=99)

    assert same is done
    assert torch.equal(first, again)
    with pytest.raises(BadInput, match="2 images"):
        run(model, images[:2], absolute(0, 0.3), ids=[1, 2], again=done)


def test_a_module_called_twice_gets_noise_at_each_call():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.same = nn.Identity()

        def forward(self, x):
            return self.same(self.same(x))

    found, done = run(Twice().eval(), torch.zeros(4, 3), absolute(0, 1), on="same")

    assert list(done.drawn) == [("same", 1), ("same", 2)]
    assert torch.allclose(found, done.drawn["same", 1] + done.drawn["same", 2])


def test_trap_r2_an_output_that_is_its_input_is_not_written_to():
    x = torch.ones(4, 3)
    net = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True)).eval()
    run(net, x, absolute(0, 1), on=["0", "1"])

    assert torch.equal(x, torch.ones(4, 3))


class Odd(nn.Module):
    def __init__(self, out):
        super().__init__()
        self.inner = nn.Module()
        self.inner.forward = lambda x: out
        self.never = nn.Identity()

    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ((torch.zeros(4, 2), None), "'inner' gives tuple"),
        (torch.zeros(4, 2, dtype=torch.int64), r"\(4, 2\) of torch.int64"),
        (torch.zeros(3, 2), "with 4 images along the first axis"),
    ],
)
def test_outputs_that_can_take_no_noise_are_named(out, sentence):
    with pytest.raises(BadInput, match=sentence):
        run(Odd(out).eval(), torch.zeros(4, 2), absolute(0, 1), on="inner")


def test_a_layer_that_never_runs_is_an_error():
    with pytest.raises(ProbesError, match="'never' did not run"):
        run(Odd(torch.zeros(4, 2)).eval(), torch.zeros(4, 2), absolute(0, 1), on="never")


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("nested", [False, True])
def test_trap_r5_nothing_is_left_behind_after_an_exception(model, images, error, nested):
    before = copy.deepcopy(model.state_dict())

    def fail(*_):
        raise error

    def go():
        outer = inject(model, "fc", absolute(0, 1), IDS) if nested else contextlib.nullcontext()
        with torch.inference_mode(), outer, inject(model, "BatchNorm2d", absolute(0, 1), IDS):
            model(images)

    mine = model.layer2.register_forward_hook(fail)
    count = hooks(model)
    with pytest.raises(error):
        go()

    assert hooks(model) == count
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    mine.remove()


def test_trap_r5_a_forward_pass_that_fails_leaves_nothing(model):
    with pytest.raises(RuntimeError):
        run(model, torch.zeros(4, 2, 12, 12), absolute(0, 1))

    assert hooks(model) == 0


def test_it_works_together_with_taps(model, images):
    """A tap opened inside reads the perturbed streams, one opened outside those before the noise of
    the tapped layer itself.
    """
    with torch.inference_mode():
        with block_metrics.open(model) as read, accuracy.open(model) as answers:
            model(images)
            clean = read(Batch.of(IDS))
            answers(Batch.of(IDS))
        with inject(model, "layer1.0.bn1", absolute(0, 1), IDS), block_metrics.open(model) as read:
            model(images)
            noisy = read(Batch.of(IDS))

    assert not np.allclose(clean["l2_h"][0], noisy["l2_h"][0])
    assert hooks(model) == 0


@pytest.mark.parametrize(
    ("given_", "sentence"),
    [
        ({"levels": (0, -1)}, "strength -1"),
        ({"levels": (0, math.nan)}, "strength nan"),
        ({"levels": (1,)}, "hold 0"),
        ({"layers": 0}, "layers=0"),
        ({"layers": 1.5}, "layers=1.5"),
        ({"layers": (1, 1)}, "different ones"),
        ({"layers": True}, "layers=True"),
        ({"probability": 1.5}, "probability 1.5"),
        ({"probability": math.nan}, "probability nan"),
        ({"scale": "relativ"}, "did you mean relative"),
        ({"choice": "mine"}, "choice of layers"),
    ],
)
def test_noise_that_can_not_be(given_, sentence):
    levels = given_.pop("levels", (0, 1))
    with pytest.raises((BadInput, UnknownName), match=sentence):
        layer_noise(*levels, **given_)


def test_more_layers_than_there_are_and_a_missing_spread_are_errors(model, images):
    with pytest.raises(BadInput, match="noise on 20 of the 19 layers"):
        run(model, images, absolute(0, 1, layers=20))
    with pytest.raises(BadInput, match=r"'bn1' needs spread="):
        run(model, images, layer_noise(0, 1), on="bn1")
    with pytest.raises(BadInput, match="standard deviation nan"):
        run(model, images, layer_noise(0, 1), on="bn1", spread={"bn1": math.nan})


def test_a_layers_name_in_place_of_their_number_is_told_where_it_goes():
    with pytest.raises(
        BadInput, match=r"layers='Linear': how many layers.* on='Linear' says which"
    ):
        layer_noise(0, 1, layers="Linear")
