"""Weights: shipped, trained, or a file; a file that does not fit or would run code is refused."""

import importlib
import json
import os
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from probes.errors import BadInput, ProbesError, Unavailable, UnknownName
from probes.store import Store, sha256
from probes.subjects import hub, pretrained, shipping
from probes.subjects.data import load as dataset
from probes.subjects.nets import nets
from probes.subjects.spec import parse


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def digits(store):
    return dataset("mnist5k", "test", store)


@pytest.mark.parametrize("net", ["resnet20", "plainnet20"])
def test_eight_seeds_of_each_twin_are_shipped_with_at_least_97_percent(net, store):
    found = pretrained.find(parse(f"{net}@mnist5k"), store)

    assert list(found) == list(range(8))
    for weights, *_ in found.values():
        assert weights.card["test_accuracy"] >= 0.97
        assert sha256(weights.path) == weights.card["sha256"]


def test_the_card_tells_the_truth(digits, store):
    from probes.subjects.epochs import accuracy

    subject = pretrained.load(parse("resnet20@mnist5k#3"), digits, store)

    assert accuracy(subject.model, digits) == pytest.approx(
        subject.card["test_accuracy"], abs=0.0011
    )
    assert subject.card["test_images_sha256"] == digits.sha256


def test_a_subject_is_in_eval_mode_without_gradients(digits, store):
    subject = pretrained.load(parse("resnet20@mnist5k"), digits, store)

    assert not any(m.training for m in subject.model.modules())
    assert not any(p.requires_grad for p in subject.model.parameters())
    assert subject.spec.seed == 0


def test_a_star_is_every_seed_that_is_here(store):
    assert [s.seed for s in pretrained.expand(parse("resnet20@mnist5k#*"), store)] == list(range(8))


@pytest.mark.parametrize("text", ["resnet20@mnist5k#99", "resnet18@mnist5k#*"])
def test_what_is_not_here_comes_with_the_command_that_brings_it(text, digits, store):
    spec = parse(text)
    with pytest.raises(Unavailable, match="probes train"):
        [pretrained.load(s, digits, store) for s in pretrained.expand(spec, store)]


def test_a_shipped_file_that_was_changed_is_refused(digits, store, monkeypatch, tmp_path):
    for path in shipping.HERE.glob("resnet20-mnist5k-0.*"):
        shutil.copy(path, tmp_path)
    card = json.loads((tmp_path / "resnet20-mnist5k-0.json").read_text()) | {"sha256": "0" * 64}
    (tmp_path / "resnet20-mnist5k-0.json").write_text(json.dumps(card))
    monkeypatch.setattr(shipping, "HERE", tmp_path)
    with pytest.raises(BadInput, match="not what its card says"):
        pretrained.load(parse("resnet20@mnist5k#0"), digits, store)


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_trap_p05_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    path, trace = tmp_path / "w.pt", tmp_path / "it ran"
    with open(path, "wb") as f:
        pickle.dump(Evil(trace), f)
    with pytest.raises(BadInput, match="can't be read"):
        pretrained.read_weights(path)

    assert not trace.exists()


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([".safetensors", ".pt"]))
def test_outside_bytes_are_weights_or_an_error_of_ours(tmp_path_factory, content, suffix):
    path = tmp_path_factory.mktemp("w") / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(BadInput):
        pretrained.read_weights(path)


def test_a_missing_file_is_said():
    with pytest.raises(BadInput, match="no such file"):
        pretrained.read_weights(Path("no.safetensors"))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_file_of_weights_is_loaded(suffix, tmp_path, digits, store):
    state = {k: v for k, v in nets["resnet20"](1, 10).state_dict().items() if v.is_floating_point()}
    path = tmp_path / f"w{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    subject = pretrained.load(parse(f"resnet20:{path}@mnist5k"), digits, store)

    assert torch.equal(subject.model.net.fc.weight, state["fc.weight"])
    assert subject.sha256 == sha256(path)


def test_weights_of_another_architecture_are_refused(tmp_path, digits, store):
    save_file(
        {k: v for k, v in nets["resnet18"](3, 10).state_dict().items() if v.is_floating_point()},
        tmp_path / "w.safetensors",
    )
    with pytest.raises(BadInput, match=r"do not fit|lack|does not know|of shape"):
        pretrained.load(parse(f"resnet20:{tmp_path / 'w.safetensors'}@mnist5k"), digits, store)


def test_nan_in_weights_is_named(tmp_path, digits, store):
    state = {k: v for k, v in nets["resnet20"](1, 10).state_dict().items() if v.is_floating_point()}
    state["layer2.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ProbesError, match=r"layer2\.0\.conv1\.weight"):
        pretrained.load(parse(f"resnet20:{tmp_path / 'w.safetensors'}@mnist5k"), digits, store)


@pytest.mark.parametrize("net", ["probes.subjects.nets:resnet20", "resnet20", "resnet18"])
def test_random_weights_are_asked_for_and_the_same_each_time(net, digits, store):
    spec = parse(f"{net}:untrained@mnist5k")
    a, b = pretrained.load(spec, digits, store), pretrained.load(spec, digits, store)
    other = pretrained.load(parse(f"{net}:untrained@mnist5k#1"), digits, store)

    assert a.sha256 == b.sha256 != other.sha256
    assert a.weights == "untrained"
    assert a.untrained


def test_an_own_net_without_weights_is_the_trained_one_and_else_comes_with_its_command(
    digits, store
):
    with pytest.raises(
        Unavailable,
        match=r"`probes train probes.subjects.nets:resnet20 mnist5k --seeds 0 --store .*`",
    ):
        pretrained.load(parse("probes.subjects.nets:resnet20@mnist5k"), digits, store)


def test_untrained_networks_are_no_runs(store):
    with pytest.raises(BadInput, match="untrained networks are no training runs"):
        pretrained.expand(parse("resnet20:untrained@mnist5k#*"), store)


class Entry:
    """As an entry of torchvision's weights: a URL whose name ends in the start of the file's
    SHA-256.
    """

    name = "IMAGENET1K_V1"
    meta = {"categories": [str(i) for i in range(1000)]}  # noqa: RUF012

    def __init__(self, digest, reach=True):
        self.url, self.reach = f"https://example.invalid/resnet18-{digest}.pth", reach

    def get_state_dict(self, progress, check_hash):
        raise OSError("Name or service not known")


@pytest.fixture
def colour(monkeypatch, tmp_path):
    import numpy as np

    from probes.subjects.dataset import Dataset

    return Dataset(
        name="d",
        title="D",
        split="test",
        images=np.zeros((2, 3, 32, 32), np.uint8),
        labels=np.array([0, 1]),
        ids=np.array([0, 1]),
        classes=("a", "b"),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
    )


def saved(monkeypatch, tmp_path, digest=None):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / "w.pth"
    torch.save(nets["resnet18"](3, 1000).state_dict(), path)
    entry = Entry(digest or sha256(path)[:8])
    path.rename(hub.checkpoint(entry))
    monkeypatch.setattr(hub, "torchvisions", lambda spec: entry)
    return entry


def test_torchvisions_weights_are_loaded_from_its_folder_with_their_own_head(
    monkeypatch, tmp_path, colour, store
):
    entry = saved(monkeypatch, tmp_path)
    subject = pretrained.load(parse("resnet18:imagenet1k_v1@d"), colour, store)

    assert subject.model.net.fc.out_features == 1000
    assert subject.sha256 == sha256(hub.checkpoint(entry))
    assert subject.weights == "torchvision IMAGENET1K_V1"


def test_torchvisions_weights_that_are_damaged_are_refused(monkeypatch, tmp_path, colour, store):
    saved(monkeypatch, tmp_path, digest="00000000")
    with pytest.raises(BadInput, match="is damaged"):
        pretrained.load(parse("resnet18:imagenet1k_v1@d"), colour, store)


def test_torchvisions_weights_that_are_not_here_come_with_their_command(
    monkeypatch, tmp_path, colour, store
):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(Unavailable, match="probes fetch resnet18:imagenet1k_v1"):
        pretrained.load(parse("resnet18:imagenet1k_v1@d"), colour, store)


def test_a_host_that_can_not_be_reached_is_said_with_the_way_round(monkeypatch):
    monkeypatch.setattr(hub, "torchvisions", lambda spec: Entry("00000000"))
    with pytest.raises(Unavailable, match="fetch it on another machine and put it at"):
        hub.fetch(parse("resnet18:imagenet1k_v1"))


def test_weights_that_torchvision_does_not_have_are_an_error():
    with pytest.raises(UnknownName, match="imagenet1k_v1"):
        hub.fetch(parse("resnet18:imagenet1k_v9"))


def test_an_edited_network_is_measured_again(tmp_path, monkeypatch, digits, store):
    monkeypatch.syspath_prepend(str(tmp_path))
    code = (
        "from torch import nn\nclass N(nn.Module):\n    def forward(self, x):\n        return"
        " x.flatten(1)[:, :10]{}\ndef build(c, k): return N()\n"
    )
    digests = []
    for version in ("", " * 2"):
        (tmp_path / "edited_net.py").write_text(code.format(version))
        sys.modules.pop("edited_net", None)
        importlib.invalidate_caches()
        digests.append(
            pretrained.load(parse("edited_net:build:untrained@mnist5k"), digits, store).code
        )

    assert digests[0] != digests[1]
