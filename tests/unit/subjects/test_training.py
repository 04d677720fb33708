"""Training: the same bytes each time, also after a kill; nothing global is touched."""

import contextlib
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from probes.errors import BadInput, Unavailable, UnknownName
from probes.perturb.plainweights import targets
from probes.perturb.weights import perturbed
from probes.store import Store, sha256
from probes.subjects import epochs, pretrained, training
from probes.subjects.data import load
from probes.subjects.nets import CifarNet, nets
from probes.subjects.recipes import Recipe, default_recipe, recipes
from probes.subjects.spec import parse
from probes.subjects.training import train

ROOT = Path(__file__).parents[3]
short = Recipe("short", epochs=2, batch_size=500, max_lr=0.05, random_crop_padding=1, flip=True)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    load("mnist5k", "train", store)
    return store


def copy_of(store, tmp_path):
    import shutil

    shutil.copytree(store.folder / "decoded", tmp_path / "decoded")
    return Store(tmp_path)


def test_weights_and_card_are_made_once(digits, tmp_path):
    store, said = copy_of(digits, tmp_path), []
    path, card = train(
        "tiny", "mnist5k@14px", 0, store, dataclasses.replace(short, epochs=1), said.append
    )
    again, _ = train(
        "tiny", "mnist5k@14px", 0, store, dataclasses.replace(short, epochs=1), said.append
    )

    assert again == path
    assert len(said) == 1
    assert "s to go" in said[0]
    assert card["sha256"] == sha256(path)
    assert not list(tmp_path.rglob("*.pt"))


@pytest.fixture(autouse=True, scope="module")
def tiny():
    if "tiny" not in nets:
        nets.register("tiny")(
            lambda channels, classes: CifarNet(channels, classes, blocks=1, width=4)
        )


SCRIPT = """
import sys
from probes.store import Store
from probes.subjects.nets import CifarNet, nets
from probes.subjects.training import Recipe, train
nets.register("tiny")(lambda channels, classes: CifarNet(channels, classes, blocks=1, width=4))
r = Recipe("short", epochs=3, batch_size=500, max_lr=0.05, random_crop_padding=1, flip=True)
print(train("tiny", "mnist5k@14px", 1, Store(sys.argv[1]), r, lambda t: print(t, flush=True))[1]["sha256"], flush=True)
"""  # noqa: E501


@pytest.fixture
def script(child):
    return lambda store: child(["-c", SCRIPT, store.folder], cwd=ROOT)


def test_trap_p03_a_killed_training_goes_on_and_ends_with_the_same_bytes(digits, tmp_path, script):
    one, two = copy_of(digits, tmp_path / "one"), copy_of(digits, tmp_path / "two")
    undisturbed = script(one).told()[1].split()[-1]
    process = script(two)
    assert "epoch 1/3" in process.readline()
    process.kill()
    process.wait()
    assert not list((two.folder / "weights").glob("*.safetensors"))
    said = script(two).told()[1]

    assert "resuming after epoch" in said.splitlines()[0]
    assert said.split()[-1] == undisturbed
    assert len(undisturbed) == 64


def test_twins_of_a_seed_start_from_the_same_weights_and_see_the_same_batches(digits):
    data = load("mnist5k", "train", digits)
    a, b = (training.initial(net, data, 3) for net in ("resnet20", "plainnet20"))

    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    first, second = (next(epochs.batches(data, short, 3, 0)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_another_seed_or_epoch_is_another_order(digits):
    data = load("mnist5k", "train", digits)
    labels = [
        next(epochs.batches(data, short, seed, epoch))[1].tolist()
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]

    assert labels[0] != labels[1] != labels[2] != labels[0]


def test_an_epoch_visits_each_image_at_most_once_and_every_full_batch(digits):
    data = load("mnist5k", "train", digits)
    plain = dataclasses.replace(short, random_crop_padding=0, flip=False)
    seen = torch.cat([x.flatten(1).sum(1) for x, _ in epochs.batches(data, plain, 0, 0)])

    assert len(seen) == 4000
    assert np.isclose(seen.double().sum().item(), data.images.sum() / 255, rtol=1e-5)


def test_no_global_state_is_left_changed(digits):
    before = (
        torch.get_rng_state(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
    )
    data = load("mnist5k", "train", digits)
    training.initial("resnet20", data, 0)
    with pytest.raises(RuntimeError), training.reproducible(1):
        raise RuntimeError

    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before[1:]


def test_the_rate_rises_to_its_peak_and_falls_to_zero():
    rates = [short.rate(i, 100) for i in range(100)]

    assert max(rates) == pytest.approx(short.max_lr)
    assert int(np.argmax(rates)) == 29
    assert rates[-1] < 0.001 * short.max_lr + 1e-4


def test_fewer_images_than_a_batch_are_an_error(digits):
    with pytest.raises(BadInput, match="fewer than a batch"):
        train("resnet20", "mnist5k", 0, digits, dataclasses.replace(short, batch_size=5000))


def test_the_recipe_of_the_digits_is_frozen():
    recipe = recipes["mnist5k"]

    assert (
        recipe.epochs,
        recipe.batch_size,
        recipe.max_lr,
        recipe.threads,
        recipe.storage_dtype,
    ) == (
        10,
        64,
        0.05,
        1,
        "float16",
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.epochs = 1


def test_a_network_whose_code_was_edited_is_trained_again(digits, tmp_path, monkeypatch):
    store = copy_of(digits, tmp_path)
    one = dataclasses.replace(short, epochs=1)
    first, _ = train("tiny", "mnist5k@14px", 0, store, one)
    monkeypatch.setitem(
        nets._things,
        "tiny",
        lambda channels, classes: CifarNet(channels, classes, blocks=1, width=4, residual=False),
    )
    second, _ = train("tiny", "mnist5k@14px", 0, store, one)

    assert first != second


noisy = Recipe(
    "noisy-short",
    epochs=2,
    batch_size=500,
    max_lr=1e-3,
    optimiser="adam",
    regime="noisy",
    alpha_train=0.2,
    storage_dtype="float32",
)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"alpha_train": 0.2}, "0.2 in the clean regime: it is 0"),
        ({"regime": "noisy"}, "0 in the noisy regime: it is above 0"),
        ({"alpha_train": -1.0}, "alpha_train -1.0"),
        ({"alpha_train": float("nan")}, "alpha_train nan"),
        ({"regime": "loud"}, "unknown regime"),
        ({"optimiser": "sgdd"}, "did you mean sgd"),
        ({"precision": "fp64"}, "precision"),
        ({"epochs": 0}, "0 epochs"),
        ({"max_lr": 0.0}, "learning rate"),
    ],
)
def test_recipes_that_can_not_be(changes, sentence):
    with pytest.raises((BadInput, UnknownName), match=sentence):
        Recipe(**({"name": "mine", "epochs": 1} | changes))


def test_the_regimes_of_a_seed_differ_by_the_noise_only(digits):
    """Same initial weights, same batches; the noise is added for the pass, and the update goes to
    the clean weights.
    """
    data = dataclasses.replace(load("mnist5k", "train", digits))
    clean = dataclasses.replace(noisy, regime="clean", alpha_train=0.0)
    batch = [next(epochs.batches(data, recipe, 3, 1))[0] for recipe in (clean, noisy)]
    model = training.initial("tiny", data, 3)
    names = dict(model.named_parameters())
    before = {name: p.detach().clone() for name, p in names.items()}
    draws = []

    def draw(shape):
        draws.append(torch.ones(shape))
        return draws[-1]

    wanted = {name: p.detach() + 0.2 * p.detach().std() for name, p in targets(model).items()}
    given = perturbed(targets(model), 0.2, draw)

    assert torch.equal(batch[0], batch[1])
    assert all(torch.allclose(given[name], wanted[name]) for name in wanted)
    epochs._forward(model, batch[0][:8], 0.2, torch.Generator().manual_seed(0)).sum().backward()
    assert all(torch.equal(names[name], tensor) for name, tensor in before.items())
    assert all(p.grad is not None for p in names.values())


def test_a_noisy_training_goes_on_after_a_kill_with_the_same_bytes(digits, tmp_path, monkeypatch):
    store = copy_of(digits, tmp_path)
    whole, _ = train("tiny", "mnist5k@14px", 0, copy_of(digits, tmp_path / "other"), noisy)

    def interrupt(text):
        if "epoch 1/2" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("tiny", "mnist5k@14px", 0, store, noisy, interrupt)
    said = []
    again, _ = train("tiny", "mnist5k@14px", 0, store, noisy, said.append)

    assert "resuming after epoch 1" in said[0]
    assert sha256(again) == sha256(whole)


def test_recipes_written_before_regimes_keep_their_keys():
    assert list(recipes["mnist5k"].json()) == [
        *("name", "epochs", "batch_size", "peak", "warmup", "momentum", "weight_decay"),
        *("label_smoothing", "shift", "flip", "threads", "stored", "channels_last"),
    ]
    assert recipes["noisy"].json()["alpha_train"] == 0.2
    assert default_recipe("cifar10@28px") == recipes["cifar10"]
    assert default_recipe("cifar10", "vgg19_bn_small").early_stop_accuracy == 0.8
    assert default_recipe("cifar10", "resnet18") == recipes["cifar10"]


def test_training_stops_at_the_accuracy_that_a_recipe_asks_for(digits, tmp_path):
    store, said = copy_of(digits, tmp_path), []
    recipe = Recipe("early", epochs=3, max_lr=0.05, early_stop_accuracy=0.0)
    _, card = train("tiny", "mnist5k@14px", 0, store, recipe, said.append)

    assert len(card["history"]) == 1
    assert said[-1] == (
        "tiny@mnist5k@14px#0: stops after epoch 1, at the accuracy of 0.0 that its recipe asks for"
    )
    assert card["recipe"]["stop_at"] == 0.0


def test_a_network_without_weights_to_perturb_fails_before_the_work(digits):
    nets.register("bare")(
        lambda channels, classes: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784))
    )
    with pytest.raises(BadInput, match="no convolution"):
        train("bare", "mnist5k", 0, digits, noisy)


def test_weights_of_a_named_recipe_are_found_by_its_name_only(digits, tmp_path):
    store = copy_of(digits, tmp_path)
    quick = dataclasses.replace(recipes["clean"], epochs=1)
    train("tiny", "mnist5k@14px", 0, store, quick)
    data = load("mnist5k", "test", store)

    assert (
        pretrained.find(parse("tiny:clean@mnist5k"), store) == {}
    )  # another number of epochs: another recipe
    assert pretrained.find(parse("tiny@mnist5k"), store) == {}
    with pytest.raises(Unavailable, match=r"probes train tiny mnist5k --seeds 0-7 --recipe noisy"):
        pretrained.expand(parse("tiny:noisy@mnist5k#*"), store)
    with pytest.raises(Unavailable, match=r"probes train tiny mnist5k --seeds 4 --recipe clean"):
        pretrained.load(parse("tiny:clean@mnist5k#4"), data, store)


def test_the_device_is_part_of_a_runs_key_where_it_is_not_the_cpu(digits):
    one, other, third = (
        training.run_of("tiny", "mnist5k@14px", 0, digits, short, device)
        for device in ("cpu", "cuda", "cuda:1")
    )

    assert one.key == training.run_of("tiny", "mnist5k@14px", 0, digits, short).key
    assert "device" not in one.key
    assert other.key == third.key == one.key | {"device": "cuda"}
    assert (one.device, other.device, third.device) == ("cpu", "cuda", "cuda:1")


def test_batches_and_noise_go_where_the_network_is(digits, monkeypatch):
    """On a device that computes nothing, whose tensors refuse those of another."""
    data, noisy = load("mnist5k@14px", "train", digits), recipes["noisy"]
    model = training.initial("tiny", data, 0).to("meta")
    seen = []

    def stop(logits, labels, label_smoothing):
        seen.append((logits.device.type, labels.device.type))
        raise KeyboardInterrupt

    monkeypatch.setattr(epochs.F, "cross_entropy", stop)
    monkeypatch.setattr("probes.perturb.weights._spread", lambda w: 0.1)
    monkeypatch.setattr(epochs.torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    with pytest.raises(KeyboardInterrupt):
        epochs._epoch(
            "x", model, epochs._optimiser(model, short), data, noisy, 0, 0, torch.device("meta")
        )

    assert seen == [("meta", "meta")]


def test_training_on_another_device_warns_of_what_is_not_deterministic_and_has_no_tf32(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with training.reproducible(1, "cuda"):
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.backends.cuda.matmul.allow_tf32
        assert training.os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    with training.reproducible(1):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_training_on_a_gpu_goes_as_far_as_on_a_cpu(digits, tmp_path):
    store = copy_of(digits, tmp_path)
    here, there = (
        train("tiny", "mnist5k@14px", 0, store, short, device=device)[1]
        for device in ("cpu", "cuda")
    )

    assert there["device"] == "cuda"
    assert here["history"][-1]["train_loss"] == pytest.approx(
        there["history"][-1]["train_loss"], rel=0.05
    )


def test_a_training_that_takes_longer_says_once_how_to_stop_and_go_on(
    digits, tmp_path, monkeypatch
):
    from probes.cost import GO_ON
    from probes.subjects import epochs

    said = []
    monkeypatch.setattr(epochs, "LONG", -1.0)
    recipe = dataclasses.replace(short, epochs=2, early_stop_accuracy=2.0)
    train("tiny", "mnist5k@14px", 0, copy_of(digits, tmp_path), recipe, said.append)

    assert [GO_ON in line for line in said] == [True, False]
