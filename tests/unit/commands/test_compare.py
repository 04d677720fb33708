"""``probes compare``: what is typed, and the exit code of each answer."""

import os

import pytest
import torch
from torch import nn

from probes.cli import main
from probes.commands.compare import margins
from probes.errors import BadInput
from probes.subjects.nets import nets
from probes.tell.verify import verify

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PROBES_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)

    def go(*words):
        code = main(["compare", *words, "--quiet"])
        return code, capsys.readouterr()

    return go


@pytest.fixture
def zeroed(tmp_path):
    """The weights of ResNet-20, a tenth of them 0."""
    from probes import Lab

    model = next(iter(Lab("resnet20@mnist5k", images=20).subjects.values())).model.net
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    drawn = torch.Generator().manual_seed(0)
    for tensor in state.values():
        if tensor.ndim > 1:
            tensor[torch.rand(tensor.shape, generator=drawn) < 0.1] = 0
    torch.save(state, tmp_path / "tenth.pt")
    return tmp_path / "tenth.pt"


def test_a_tenth_of_the_weights_zeroed_is_worse(run, zeroed, tmp_path):
    code, said = run(
        *("resnet20", f"resnet20:{zeroed}", "--dataset", "mnist5k", "--margin", "1 point"),
        *("--images", "100", "--out", str(tmp_path / "out")),
    )

    assert code == 1
    assert said.out.startswith(f"worse: resnet20:{zeroed} against resnet20, over 100 images")
    assert verify(tmp_path / "out") == []
    assert main(["report", str(tmp_path / "out")]) == 0
    assert verify(tmp_path / "out") == []


def test_not_worse_is_0_and_not_decided_is_2_or_1_where_that_is_asked_for(run):
    two = ("resnet20#0", "resnet20#1", "--images", "60")

    assert run(*two, "--margin", "10", "points", "--fail-on", "open")[0] == 0
    assert run(*two)[0] == 2
    assert run(*two, "--fail-on", "open")[0] == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("resnet20",), "two networks, the old one and the new one"),
        (("resnet20", "resnet20#1", "--draws", "0", "--under", "noise"), "draws 0: allowed are"),
        (("resnet20#0", "resnet20#1", "--images", "20", "--under", ""), "no perturbation is named"),
        (("resnet20", "resnet20"), "that is one network"),
        (("resnet20", "resnet20#99"), "probes train resnet20 mnist5k --seeds 99"),
        (("resnet20", "resnet20#1", "--metrics", "entropy"), "metric with a better side"),
        (("resnet20", "resnet20#1", "--under", "nose"), "did you mean noise"),
        (("resnet20", "resnet20#1", "--margin", "correct=1 point", "loss=1"), "not asked for"),
        (("resnet20", "resnet20#1", "--seeds", "x"), "seeds 'x'"),
    ],
)
def test_trouble_is_3_and_names_what_was_typed(run, words, says):
    code, said = run(*words)

    assert code == 3
    assert says in said.err


def test_what_can_not_be_read_is_3_since_2_is_an_answer(run):
    with pytest.raises(SystemExit) as e:
        run("resnet20", "resnet20#1", "--draws", "many")

    assert e.value.code == 3


def test_an_error_in_somebodys_network_is_3_since_1_is_an_answer(run, monkeypatch):
    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, images):
            raise IndexError("no such layer")

    monkeypatch.setitem(nets._things, "failing", lambda channels, classes: Failing())
    code, said = run("resnet20", "failing:untrained", "--images", "20")

    assert code == 3
    assert "no such layer" in said.err


def test_a_reader_that_leaves_early_changes_no_answer(monkeypatch, tmp_path):
    """``probes compare ... | head -1``"""
    heard, said = os.pipe()
    os.close(heard)
    monkeypatch.setenv("PROBES_STORE", str(tmp_path / "store"))
    with os.fdopen(said, "w") as left:
        monkeypatch.setattr("sys.stdout", left)
        code = main(["compare", "resnet20#0", "resnet20#1", "--images", "20", "--quiet"])

    assert code == 2


def test_an_estimate_is_no_answer(run):
    assert run("resnet20#0", "resnet20#1", "--images", "20", "--estimate")[0] == 3


def test_margins_are_one_or_one_for_each_metric():
    assert margins(["correct=1", "point", "brier=.01"]) == {"correct": "1 point", "brier": ".01"}
    with pytest.raises(BadInput, match="one margin, or metric=margin for each"):
        margins(["1 point", "brier=.01"])


@pytest.mark.slow
def test_training_with_weight_noise_is_better_under_weight_noise(run):
    for recipe in ("clean", "noisy"):
        main(["train", "mlp_small", "mnist5k", "--recipe", recipe, "--quiet"])
    code, said = run(
        *("mlp_small:clean", "mlp_small:noisy", "--margin", "2 points"),
        *("--under", "weight_noise:1.5,2", "--draws", "5"),
    )

    assert code == 0
    assert "\nbetter: mlp_small:noisy against mlp_small:clean, " in said.out
