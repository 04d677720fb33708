"""The weights that come with Probes: in the package, and in a distribution of their own."""

import importlib.machinery
import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from probes.errors import Unavailable
from probes.store import Store, sha256
from probes.subjects import pretrained, shipping
from probes.subjects.spec import parse

CHECKOUT = Path(shipping.__file__).parents[2] / "weights" / "probes_weights"


def without(monkeypatch, tmp_path, installed=None):
    """No checkout, and the distribution in a folder or nowhere."""
    spec = importlib.machinery.ModuleSpec("probes_weights", None, is_package=True)
    if installed:
        spec.submodule_search_locations.append(str(installed))
    found = spec if installed else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    monkeypatch.setattr(shipping, "__file__", str(tmp_path / "a" / "b" / "c.py"))


def test_the_command_is_told_for_what_the_distribution_holds_and_nothing_else():
    cards = [json.loads(p.read_text()) for p in CHECKOUT.glob("*.json")]

    assert {(c["net"], c["dataset"]) for c in cards} == set(shipping.APART)
    assert {c["seed"] for c in cards} == {0}
    assert shipping.command(parse("resnet18@cifar10#1")) is None
    assert shipping.command(parse("resnet20@mnist5k")) is None


def test_each_file_is_what_its_card_says():
    for path in CHECKOUT.glob("*.safetensors"):
        assert sha256(path) == json.loads(path.with_suffix(".json").read_text())["sha256"]


def test_a_checkout_needs_no_installation(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    assert shipping.folders() == [shipping.HERE, CHECKOUT]


def test_an_installed_distribution_is_found_without_a_checkout(monkeypatch, tmp_path):
    place = tmp_path / "site" / "probes_weights"
    place.mkdir(parents=True)
    for path in CHECKOUT.glob("resnet18-*"):
        shutil.copy(path, place)
    without(monkeypatch, tmp_path, place)

    spec = parse("resnet18@cifar10")
    assert [w.path.parent for w in pretrained.find(spec, Store(tmp_path))[0]] == [place]


@pytest.mark.parametrize("seed", ["", "#*", "#0"])
def test_what_is_missing_comes_with_the_command_that_installs_it(monkeypatch, tmp_path, seed):
    without(monkeypatch, tmp_path)
    store, spec = Store(tmp_path), parse(f"resnet18@cifar10{seed}")
    with pytest.raises(Unavailable, match=r"`pip install \./weights`.* `probes train resnet18"):
        [pretrained.load(one, None, store) for one in pretrained.expand(spec, store)]
