"""Every command that an error suggests is run here, as it stands in the error, and what was missing
is there afterwards.
"""

import contextlib
import dataclasses
import importlib
import os
import re
import shlex
import sys

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from probes import cli
from probes.errors import ProbesError, Unavailable
from probes.run.bench import Bench
from probes.run.settings import Options
from probes.store import Store, sha256
from probes.subjects import data, hub, training
from probes.subjects.nets import nets
from probes.subjects.spec import parse

MODULE = """
import numpy as np
from torch import nn
from probes.subjects.data import Dataset, datasets
from probes.subjects.nets import nets

def tiny(channels, classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * channels, classes))

def stripes(split, store):
    images = np.arange(160 * 64, dtype=np.uint64).reshape(160, 1, 8, 8) * 2654435761 % 251
    images = images.astype(np.uint8)
    return Dataset("stripes", "stripes", split, images, np.arange(160) % 2, np.arange(160), ("a", "b"), (0.5,), (0.5,))

if "filed_stripes" not in datasets:
    datasets.register("filed_stripes")(stripes)
    nets.register("filed_tiny")(tiny)
"""  # noqa: E501


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A project with a module in its folder of tests, short recipes, and nothing that reaches a
    network.
    """
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "strange_things.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "tests"), *sys.path])
    monkeypatch.setenv("PROBES_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("PROBES_DATA", raising=False)
    for name in ("mnist5k", "clean", "general"):
        monkeypatch.setitem(
            training.recipes._things, name, dataclasses.replace(training.recipes[name], epochs=1)
        )
    sys.modules.pop("strange_things", None)
    for names in (data.datasets, nets):
        for name in ("filed_stripes", "filed_tiny"):
            names._things.pop(name, None)
    yield tmp_path
    sys.modules.pop("strange_things", None)


def commands(text):
    return re.findall(r"`((?:\w+=\S+ )*probes [^`]+)`", text)


@contextlib.contextmanager
def environment(words):
    """The variables that stand before a command, as a shell sets them."""
    given = dict(word.split("=", 1) for word in words)
    before, path = {name: os.environ.get(name) for name in given}, list(sys.path)
    os.environ.update(given)
    sys.path[:0] = [p for p in given.get("PYTHONPATH", "").split(os.pathsep) if p]
    try:
        yield
    finally:
        sys.path[:] = path
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def run(command, keep=()):
    """Run a command as it was told, in another process's state: what a test imported is not
    there."""
    words = shlex.split(command)
    first = next(i for i, word in enumerate(words) if "=" not in word)
    sys.modules.pop("strange_things", None)
    for names in (data.datasets, nets):
        for name in ("filed_stripes", "filed_tiny"):
            names._things.pop(name, None)
    path = list(sys.path)
    sys.path[:] = [
        p for p in sys.path if not p.endswith("tests")
    ]  # a shell knows no folder of tests
    try:
        with environment(words[:first]):
            assert words[first] == "probes"
            assert cli.main(words[first + 1 :]) == 0, command
    finally:
        sys.path[:] = path


def load(text, store):
    return Bench([parse(text)], Store(store), Options(images=None, threads=1)).subjects


def imagefolder(folder):
    for split in ("train", "val"):
        for i, name in enumerate(("ant", "bee")):
            for j in range(4):
                place = folder / split / name / f"{j}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (20, 20), (40 * i + 7 * j + (split == "val"),) * 3).save(place)


SUBJECTS = {
    "a net of one's own": "strange_things:tiny@mnist5k",
    "a net of one's own, a seed": "strange_things:tiny@mnist5k#3",
    "all runs": "strange_things:tiny@mnist5k#*",
    "a dataset of one's own": "strange_things:tiny@strange_things:stripes",
    "registered names": "filed_tiny@filed_stripes",
    "a folder": "strange_things:tiny@imagefolder:my photos",
    "a recipe": "mlp_small:clean@strange_things:stripes",
    "a view": "strange_things:tiny@mnist5k@14px",
}


@pytest.mark.parametrize("what", SUBJECTS)
def test_the_command_that_trains_what_is_missing_works_from_where_the_tests_are_run(
    place, what, capsys
):
    imagefolder(place / "my photos")
    __import__("strange_things")
    with pytest.raises(Unavailable) as missing:
        load(SUBJECTS[what], place / "store")
    (command,) = commands(str(missing.value))
    run(command)
    __import__("strange_things")

    assert load(SUBJECTS[what], place / "store")


class Downloaded:
    """Torchvision's dataset class, whose host is this machine: it writes the files that the real
    one brings.
    """

    def __init__(self, root, train=True, download=False):
        made = np.random.Generator(np.random.Philox(1))
        self.marker = os.path.join(root, self.folder)
        if download:
            os.makedirs(self.marker, exist_ok=True)
        if not os.path.isdir(self.marker):
            raise RuntimeError("Dataset not found")
        n = 200
        self.data = made.integers(0, 256, self.shape(n), dtype=np.uint8)
        self.targets = torch.arange(n) % 10
        if len(self.data.shape) == 3:
            self.data = torch.from_numpy(self.data)


class Cifar(Downloaded):
    folder = "cifar-10-batches-py"

    def shape(self, n):
        return (n, 32, 32, 3)


class Digits(Downloaded):
    folder = os.path.join("MNIST", "raw")

    def shape(self, n):
        return (n, 28, 28)


@pytest.mark.parametrize("name", ["cifar10", "mnist", "cifar10-jpeg"])
@pytest.mark.parametrize("set_to", [None, "nowhere", "empty"])
def test_the_command_that_fetches_a_dataset_works_with_and_without_a_folder_for_it(
    place, monkeypatch, name, set_to
):
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Cifar)
    monkeypatch.setattr(torchvision.datasets, "MNIST", Digits)
    if set_to:
        monkeypatch.setenv("PROBES_DATA", str(place / set_to))
    if set_to == "empty":
        (place / "empty").mkdir()
    with pytest.raises(Unavailable) as missing:
        data.load(name, "test", Store(place / "store"))
    (command,) = commands(str(missing.value))
    run(command)
    where = place / (set_to or "data")
    monkeypatch.setenv("PROBES_DATA", str(where))

    assert (
        len(
            data.load("cifar10" if name == "cifar10-jpeg" else name, "test", Store(place / "store"))
        )
        == 200
    )


def test_the_command_that_fetches_weights_works(place, monkeypatch):
    torch.manual_seed(0)
    source = place / "source.pth"
    torch.save(nets["resnet18"](3, 1000).state_dict(), source)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(place / "hub"))

    class Entry:
        name, meta, url = (
            "IMAGENET1K_V1",
            {"categories": list(map(str, range(1000)))},
            f"https://x.invalid/r-{sha256(source)[:8]}.pth",
        )

        def get_state_dict(self, progress, check_hash):
            path = hub.checkpoint(self)
            path.parent.mkdir(parents=True)
            path.write_bytes(source.read_bytes())

    monkeypatch.setattr(hub, "torchvisions", lambda spec: Entry())
    imagefolder(place / "photos")
    with pytest.raises(Unavailable) as missing:
        load("resnet18:imagenet1k_v1@imagefolder:photos", place / "store")
    (command,) = commands(str(missing.value))
    run(command)

    assert load("resnet18:imagenet1k_v1@imagefolder:photos", place / "store")


def test_weights_that_no_longer_fit_come_with_the_command_that_trains_new_ones(place):
    __import__("strange_things")
    run("PYTHONPATH=tests probes train strange_things:tiny mnist5k --seeds 0")
    text = MODULE.replace("AdaptiveAvgPool2d(4)", "AdaptiveAvgPool2d(5)").replace("16 *", "25 *")
    (place / "tests" / "strange_things.py").write_text(text)
    sys.modules.pop("strange_things", None)
    with pytest.raises(Unavailable, match="had another shape") as missing:
        load("strange_things:tiny@mnist5k", place / "store")
    (command,) = commands(str(missing.value))
    run(command)

    assert load("strange_things:tiny@mnist5k", place / "store")


# --- A2: weights are theirs by fitting, whatever happens around them
# ------------------------------------------------------


CLAIM = """
{before}
import pytest
from torch import nn
from probes.judge import rises
from probes.measure import BlockAdapter, block_metrics, register_block
from probes.perturb import gaussian

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.act = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
    def forward(self, x):
        return self.act(x + self.f(x){code})

{adapter}

def mine(channels, classes):
    return nn.Sequential(nn.Conv2d(channels, 4, 3, 2), Block(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, classes))

@pytest.mark.subjects("test_own:mine@mnist5k")
@pytest.mark.claim("{sentence}", id="MINE", {more})
def test_mine(lab, claim):
    claim.holds(rises(lab.sweep(block_metrics, under=gaussian(0, 0.2)), "sigma_realised", sesoi=0.03))
"""  # noqa: E501
PLAIN = {
    "before": "",
    "code": "",
    "adapter": 'register_block(Block, BlockAdapter(branch="f", relu="act"))',
    "sentence": "Noise.",
    "more": "",
}
CHANGES = {
    "nothing": {},
    "a comment": {"before": "# a comment"},
    "the sentence": {"sentence": "Something else."},
    "an adapter": {
        "adapter": (
            PLAIN["adapter"] + "\nclass Other(Block):\n    forward = Block.forward\n"
            'register_block(Other, BlockAdapter(branch="f", relu="act"))'
        )
    },
    "its code": {"code": " * 1.0"},
}


def test_weights_that_were_trained_are_found_after_what_has_nothing_to_do_with_them_was_changed(
    place, monkeypatch
):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    told = {}
    for what, change in CHANGES.items():
        (place / "tests" / "test_own.py").write_text(CLAIM.format(**PLAIN | change))
        sys.modules.pop("test_own", None)
        importlib.invalidate_caches()
        if what == "nothing":
            training.train("test_own:mine", "mnist5k", 0, Store(place / "store"))
        (subject,) = load("test_own:mine@mnist5k", place / "store").values()
        told[what] = subject.notes
    sys.modules.pop("test_own", None)

    assert told.pop("its code") == (
        "the code of test_own:mine changed after these weights were trained",
    )
    assert set(told.values()) == {()}


def test_a_recipe_or_a_dataset_that_nobody_knows_is_one_line(place, capsys):
    assert cli.main(["train", "resnet20", "nothing"]) == 2
    assert "unknown dataset 'nothing'" in capsys.readouterr().err
    with pytest.raises(ProbesError):
        training.train("resnet20", "nothing:at_all", 0, Store(place / "store"))
