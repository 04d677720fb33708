"""What is typed wrong: one line that repeats it, says what is allowed and names the way out, and
nothing half-written.

Each case goes through the door that a user would take: the library, the command line, or pytest.
"""

import dataclasses
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from probes import cli
from probes.batch import Batch
from probes.errors import BadInput, ProbesError, Unavailable, UnknownName
from probes.judge import rises
from probes.measure import BlockMetrics, block_metrics, tap
from probes.perturb import gaussian
from probes.run import console
from probes.run.bench import Bench
from probes.run.options import contradiction, levels
from probes.run.settings import Options
from probes.store import Store
from probes.subjects import training
from probes.subjects.dataset import Dataset, datasets
from probes.subjects.nets import nets
from probes.subjects.recipes import recipes
from probes.subjects.spec import parse


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def lab(store, subject, **options):
    return Bench([parse(subject)], store, Options(**{"images": 20, "threads": 1} | options))


def sweep(store, subject="resnet20@mnist5k", measure=block_metrics, **options):
    return lab(store, subject, **options).sweep(measure, under=gaussian(0, 0.1))


def wholly(text):
    """The whole message, and the note that names the page."""
    return "^" + re.escape(text) + r"(\nexplained in docs/errors/[a-z-]+\.md, .*)?$"


@pytest.mark.parametrize(
    ("subject", "kind", "sentence"),
    [
        ("resnet200@mnist5k", UnknownName, "unknown network 'resnet200': did you mean resnet20"),
        ("resnet20@mnist5", UnknownName, "unknown dataset 'mnist5': did you mean mnist5k"),
        (
            "resnet20:nowhere.safetensors@mnist5k",
            BadInput,
            "weights 'nowhere.safetensors': no such file",
        ),
        (
            "resnet18:imagenet1k_v9@mnist5k",
            UnknownName,
            "unknown weights 'imagenet1k_v9': did you mean imagenet1k_v1",
        ),
        ("resnet20@mnist5k#77", Unavailable, "probes train resnet20 mnist5k --seeds 77"),
        (
            "resnet20@mnist5k#one",
            UnknownName,
            "unknown dataset 'mnist5k#one': did you mean mnist5k",
        ),
    ],
)
def test_subjects(store, subject, kind, sentence):
    with pytest.raises(kind, match=re.escape(sentence)) as caught:
        sweep(store, subject)

    assert "\n" not in str(caught.value)
    assert not (store.folder / "cells").exists()


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (
            (0, -0.1),
            "noise levels (0, -0.1): each is a standard deviation, a finite number from 0 up",
        ),
        (
            (0, float("nan")),
            "noise levels (0, nan): each is a standard deviation, a finite number from 0 up",
        ),
        (
            (0, float("inf")),
            "noise levels (0, inf): each is a standard deviation, a finite number from 0 up",
        ),
        (
            (0.1, 0.2),
            "noise levels (0.1, 0.2) lack 0, the clean images that every effect is measured from",
        ),
        ((0, 0.1, 0.1), "noise levels (0, 0.1, 0.1): one of them stands twice"),
    ],
)
def test_levels(bad, sentence):
    with pytest.raises(BadInput, match=wholly(sentence)):
        gaussian(*bad)


def test_metrics_and_blocks(store):
    table = sweep(store).frame
    with pytest.raises(UnknownName, match="unknown metric 'var_g': did you mean var_h"):
        rises(table, "var_g", sesoi="1 %")
    with pytest.raises(UnknownName, match="unknown block metric 'sparsty': did you mean sparsity"):
        BlockMetrics(metrics=("sparsty",))
    with pytest.raises(UnknownName, match=r"unknown block 'layer1.9': did you mean layer1"):
        sweep(store, measure=BlockMetrics(sites=("layer1.9",))).frame  # noqa: B018


def test_a_layer_that_is_no_block():
    net = nets["resnet20"](1, 10).eval()
    with (
        pytest.raises(
            BadInput,
            match=r"'conv1' is a Conv2d, no block that taps know \(.*torchvision's BasicBlock",
        ),
        tap(net, ["conv1"]),
    ):
        pass


IMAGES = torch.full((3, 1, 4, 4), 0.5)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (
            255.0,
            (
                "image 2 of the batch has values from 0.5 to 255: noise is added to images in [0,"
                " 1] (divide bytes by 255; leave normalising to the model, see"
                " probes.subjects.nets.Normalised)"
            ),
        ),
        (
            -1.5,
            (
                "image 2 of the batch has values from -1.5 to 0.5: noise is added to images in [0,"
                " 1] (divide bytes by 255; leave normalising to the model, see"
                " probes.subjects.nets.Normalised)"
            ),
        ),
        (
            float("nan"),
            "image 2 of the batch holds nan: every value of an image is a number in [0, 1]",
        ),
        (
            float("inf"),
            "image 2 of the batch holds inf: every value of an image is a number in [0, 1]",
        ),
    ],
)
@pytest.mark.parametrize("level", [0, 0.1])
def test_images(value, sentence, level):
    images = IMAGES.clone()
    images[2, 0, 1, 1] = value
    with pytest.raises(BadInput, match=wholly(sentence)):
        gaussian(0, 0.1).apply(images, torch.zeros_like(images), level)


def test_no_images():
    with pytest.raises(BadInput, match="there are no images"):
        gaussian(0, 0.1).apply(IMAGES[:0], IMAGES[:0], 0.1)
    with pytest.raises(BadInput, match="images 0: allowed are whole numbers from 1 up"):
        Options(images=0)
    with pytest.raises(BadInput, match="there are no images"):
        made(n=0)


def made(n=40, labels=None, name="made"):
    images = np.zeros((n, 1, 8, 8), np.uint8)
    images[:] = np.arange(64, dtype=np.uint8).reshape(8, 8)
    labels = np.arange(n) % 4 if labels is None else labels
    return Dataset(name, name, "test", images, labels, np.arange(n), tuple("abcd"), (0.5,), (0.25,))


def test_activations_that_are_not_finite(store):
    class Hot(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nets["resnet20"](1, 10)
            with torch.no_grad():
                self.net.layer2[1].bn2.running_var.fill_(-1)

        def forward(self, x):
            return self.net(x)

    hot = Hot().eval()
    with torch.no_grad(), block_metrics.open(hot) as read:
        hot(torch.rand(2, 1, 8, 8))
        with pytest.raises(
            ProbesError, match=wholly("l2_h is nan in block 'net.layer2.1' for image 8")
        ):
            read(Batch.of([8, 9]))


def test_a_label_outside_the_classes():
    with pytest.raises(
        BadInput, match=wholly("dataset made: labels run from 0 to 4, but there are 4 classes")
    ):
        made(labels=np.arange(40) % 5)


def test_a_label_outside_the_head(store):
    if "made" not in datasets:
        datasets.register("made")(lambda split, store: made())
        nets.register("two_outputs")(
            lambda channels, classes: nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
        )
    recipe = dataclasses.replace(recipes["mnist5k"], epochs=1, batch_size=8)
    sentence = (
        "two_outputs@made#0: there are 4 classes, but its output is (2,) per image; a network gets"
        " (channels, classes)"
    )
    with pytest.raises(BadInput, match=re.escape(sentence)):
        training.train("two_outputs", "made", 0, store, recipe)

    assert not list(store.folder.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"levels": (0.0,), "draws": 3},
            "--probes-draws 3 with --probes-levels 0: clean images have no draws",
        ),
        (
            {"report": "out", "store": "out"},
            "--probes-report out with --probes-store out: a report replaces its folder",
        ),
        ({"report": "s/reports", "store": "s"}, "keep the two apart"),
        (
            {"precision": "bf16", "device": "mps"},
            "--probes-precision bf16 with --probes-device mps: bf16 is for cuda and cpu",
        ),
    ],
)
def test_options_that_contradict(options, sentence):
    assert sentence in contradiction(options)


def test_options_that_agree():
    assert (
        contradiction(
            {"levels": (0.0, 0.1), "draws": 3, "report": "reports/latest", "store": ".probes"}
        )
        == ""
    )


def test_options_that_contradict_are_a_usage_error(pytester, run_pytest):
    result = run_pytest("--probes-report=out", "--probes-store=out", "-p", "no:cacheprovider")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*--probes-report out with --probes-store out: a report replaces its folder*"]
    )
    assert not (pytester.path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["run", "dynamics", "resnet200"], "unknown network 'resnet200': did you mean resnet20"),
        (["run", "dynamics", "--dataset", "mnist"], "PROBES_DATA"),
        (["run", "dynamics", "--levels", "0,-.1"], "each is a standard deviation"),
        (["run", "dynamics", "--images", "0"], "images 0: allowed are whole numbers from 1 up"),
        (
            ["run", "dynamics", "--images", "2000"],
            "2000 images of mnist5k (test): there are 1000; ask for 1 to 1000",
        ),
        (
            ["train", "resnet20", "mnist5k", "--seeds", "3-1"],
            "seeds '3-1': numbers and ranges from small to large",
        ),
        (
            ["train", "resnet20", "mnist5k", "--recipe", "mnist5"],
            "unknown recipe 'mnist5': did you mean mnist5k",
        ),
        (["fetch", "cifar100"], "unknown dataset to fetch 'cifar100'"),
        (["verify", "nowhere"], "no such file"),
        (["report", "nowhere"], "nowhere"),
    ],
)
def test_the_command_line(argv, sentence, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("PROBES_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROBES_STORE", str(tmp_path / "store"))
    code = cli.main(argv)
    told = capsys.readouterr()
    text = told.err + told.out

    assert code in (1, 2)
    assert sentence in text
    assert len([t for t in text.splitlines() if sentence in t]) == 1
    assert not (tmp_path / "reports").exists()
    assert not (tmp_path / "store" / "cells").exists()


@given(st.text(max_size=20))
def test_any_text_is_levels_or_an_error_that_argparse_tells(text):
    try:
        found = levels(text)
    except ValueError:
        return

    assert all(isinstance(v, float) for v in found)


@given(st.text(max_size=20))
def test_any_text_is_seeds_or_an_error_of_ours(text):
    try:
        found = console.seed_range(text)
    except BadInput:
        return

    assert found
    assert min(found) >= 0


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.floats() | st.integers() | st.text(max_size=3) | st.none() | st.booleans(), max_size=4
    )
)
def test_anything_is_levels_of_noise_or_an_error_of_ours(values):
    try:
        found = gaussian(*values)
    except BadInput:
        return

    assert found.levels[0] == 0
