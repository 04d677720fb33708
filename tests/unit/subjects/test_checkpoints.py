"""Checkpoints as frameworks write them."""

import argparse
import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from probes.errors import BadInput, UnknownName
from probes.store import Store, sha256
from probes.subjects import pretrained
from probes.subjects.checkpoints import opened_file, split
from probes.subjects.data import load
from probes.subjects.spec import parse


def net(seed=0, wide=3):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, wide, 3), nn.BatchNorm2d(wide), nn.Flatten(), nn.Linear(12, 2)
    )


STATE, OTHER = net(0).state_dict(), net(1).state_dict()


def under(prefix, state=STATE):
    return {prefix + name: tensor for name, tensor in state.items()}


def same(found, state=STATE):
    return found.keys() == state.keys() and all(torch.equal(found[k], state[k]) for k in state)


WRITTEN = {
    "plain": (STATE, ""),
    "compiled": (under("_orig_mod."), ""),
    "compiled inside": (
        {k.replace("0.", "0._orig_mod.", 1): v for k, v in STATE.items()},
        "",
    ),
    "parallel": ({"state_dict": under("module."), "best": 91.7}, "entry 'state_dict'"),
    "compiled in parallel": (under("module._orig_mod."), "prefix 'module.'"),
    "loop": ({"model": STATE, "epoch": 3}, "entry 'model'"),
    "loop with an optimiser": (
        {
            "model_state_dict": STATE,
            "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]},
        },
        "entry 'model_state_dict'",
    ),
    "lightning": (
        {"state_dict": under("net.") | {"loss.weight": torch.ones(2)}, "epoch": 1},
        "'loss.weight' beside them left aside",
    ),
    "averaged": (under("module.") | {"n_averaged": torch.tensor(3)}, "'n_averaged' beside"),
    "nested": ({"checkpoint": {"model": under("module.")}}, "entry 'checkpoint.model'"),
    "numbers beside": (STATE | {"epoch": 3, "lr": 0.1}, ""),
}


@pytest.mark.parametrize("how", WRITTEN)
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin"])
def test_wrappers_are_opened_and_told(how, suffix, tmp_path):
    content, note = WRITTEN[how]
    torch.save(content, tmp_path / f"w{suffix}")
    found = opened_file(str(tmp_path / f"w{suffix}"), net(5))

    assert same(found.state)
    assert found.sha256 == sha256(tmp_path / f"w{suffix}")
    assert note in found.note
    assert bool(note) == bool(found.note)


TWICE = {
    "entries": ({"model": STATE, "ema": OTHER}, "model", "ema"),
    "prefixes": (under("student.") | under("teacher.", OTHER), "student", "teacher"),
    "a prefix beside": (STATE | under("ema.", OTHER), ".", "ema"),
    "both": (
        {"state_dict": under("net."), "state_dict_ema": under("net.", OTHER)},
        "state_dict",
        "state_dict_ema",
    ),
}


@pytest.mark.parametrize("how", TWICE)
def test_two_candidates_are_an_error_with_the_syntax_that_chooses(how, tmp_path):
    content, first, second = TWICE[how]
    path = tmp_path / "last.pt"
    torch.save(content, path)
    with pytest.raises(BadInput, match=r"several weights that fit: .*last\.pt\["):
        opened_file(str(path), net())

    one, two = (opened_file(f"{path}[{choice}]", net()) for choice in (first, second))
    assert same(one.state)
    assert same(two.state, OTHER)
    assert one.sha256 != two.sha256, "results of the two would be kept under one name"
    with pytest.raises(UnknownName, match=r"unknown weights in last\.pt 'emma'"):
        opened_file(f"{path}[emma]", net())


def test_of_two_candidates_the_one_of_the_right_shape_is_taken(tmp_path):
    torch.save({"small": STATE, "large": net(1, wide=6).state_dict()}, tmp_path / "w.pt")
    assert same(opened_file(str(tmp_path / "w.pt"), net()).state)


def test_a_file_whose_name_ends_in_brackets_is_a_file(tmp_path):
    (tmp_path / "w[1]").touch()
    assert split(str(tmp_path / "w[1]")) == (tmp_path / "w[1]", "")
    assert split(str(tmp_path / "v[1]")) == (tmp_path / "v", "1")


def shards(folder):
    names = list(STATE)
    save_file({k: STATE[k] for k in names[:3]}, folder / "model-00001-of-00002.safetensors")
    save_file({k: STATE[k] for k in names[3:]}, folder / "model-00002-of-00002.safetensors")
    where = {k: f"model-0000{1 + (i >= 3)}-of-00002.safetensors" for i, k in enumerate(names)}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return index


def test_shards_are_joined_by_their_index(tmp_path):
    index = shards(tmp_path)
    assert same(opened_file(str(index), net()).state)
    assert same(opened_file(str(tmp_path), net()).state)


def test_an_index_that_lies_is_refused(tmp_path):
    index = shards(tmp_path)
    where = json.loads(index.read_text())["weight_map"]
    index.write_text(
        json.dumps({"weight_map": where | {"more": "model-00001-of-00002.safetensors"}})
    )
    with pytest.raises(BadInput, match="'more', which its shards do not hold"):
        opened_file(str(index), net())
    index.write_text(json.dumps({"weight_map": where | {"more": "../outside.safetensors"}}))
    with pytest.raises(BadInput, match="no file beside it"):
        opened_file(str(index), net())
    index.write_text(json.dumps({"other": 1}))
    with pytest.raises(BadInput, match="no weight_map"):
        opened_file(str(index), net())


def test_objects_beside_tensors_are_refused_with_the_way_out(tmp_path):
    path = tmp_path / "w.ckpt"
    torch.save({"state_dict": STATE, "args": argparse.Namespace(lr=0.1)}, path)
    with pytest.raises(BadInput, match=r"argparse.Namespace.*torch.save\(net.state_dict\(\)"):
        opened_file(str(path), net())


def test_a_folder_without_weights_and_a_file_without_tensors_are_refused(tmp_path):
    with pytest.raises(BadInput, match=r"none of model\.safetensors"):
        opened_file(str(tmp_path), net())
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(BadInput, match="no state dict"):
        opened_file(str(tmp_path / "w.pt"), net())


def test_double_precision_stays(tmp_path):
    wide = {k: v.double() + 1e-12 if v.is_floating_point() else v for k, v in STATE.items()}
    torch.save(wide, tmp_path / "w.pt")
    assert same(opened_file(str(tmp_path / "w.pt"), net().double()).state, wide)


def test_a_choice_is_part_of_a_subject_and_told_on_its_page(tmp_path):
    from probes.subjects.nets import nets

    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        states.append(nets["resnet20"](1, 10).state_dict())
    torch.save({"model": states[0], "ema": states[1]}, tmp_path / "w.pt")
    subject = pretrained.load(
        parse(f"resnet20:{tmp_path / 'w.pt'}[ema]@mnist5k"),
        load("mnist5k").sample(10),
        Store(tmp_path / "s"),
    )
    assert same(subject.model.net.state_dict(), states[1])
    assert subject.weights == "w.pt[ema]"
    assert "entry 'ema'" in subject.notes[0]
