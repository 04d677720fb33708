"""How sure a network is, and whether it keeps its answers: closed forms, and torchmetrics."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from probes import accuracy, agreement, certainty, gaussian
from probes.batch import Batch
from probes.errors import BadInput, ProbesError
from probes.lab import Lab
from probes.measure.confidence import sureness
from probes.table import kind_of


def logits_and_labels(n=200, classes=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, classes, generator=g) * 3, torch.randint(classes, (n,), generator=g)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 8), st.floats(-30, 30))
def test_equal_logits_are_a_guess_among_all_classes(classes, value):
    found = sureness(torch.full((1, classes), value), torch.tensor([classes - 1]))

    assert float(found["brier"]) == pytest.approx(1 - 1 / classes)
    assert float(found["confidence"]) == pytest.approx(1 / classes)
    assert float(found["margin"]) == pytest.approx(0, abs=1e-12)
    assert float(found["entropy"]) == pytest.approx(math.log(classes))


@pytest.mark.parametrize(("label", "brier", "margin"), [(0, 0.0, 1.0), (1, 2.0, -1.0)])
def test_a_sure_answer_is_all_right_or_all_wrong(label, brier, margin):
    found = sureness(torch.tensor([[200.0, -200.0]]), torch.tensor([label]))

    assert {name: float(v) for name, v in found.items()} == pytest.approx(
        {"brier": brier, "confidence": 1.0, "margin": margin, "entropy": 0.0}, abs=1e-12
    )


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(-5, 5))
def test_a_constant_on_all_logits_changes_nothing_and_ranges_hold(seed, shift):
    logits, labels = logits_and_labels(20, seed=seed)
    found, moved = sureness(logits, labels), sureness(logits + shift, labels)
    right = logits.argmax(1) == labels

    for name in found:
        torch.testing.assert_close(found[name], moved[name], rtol=1e-4, atol=1e-5)
    assert bool(((found["brier"] >= 0) & (found["brier"] <= 2)).all())
    assert bool((found["entropy"] <= math.log(5) + 1e-12).all())
    assert torch.equal(found["margin"] > 0, right)


def test_they_are_those_of_torch_and_torchmetrics():
    torchmetrics = pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    from torchmetrics.functional import mean_squared_error
    from torchmetrics.functional.classification import multiclass_accuracy

    logits, labels = logits_and_labels()
    found, shares = sureness(logits, labels), logits.softmax(1)
    corner = nn.functional.one_hot(labels, 5).float()

    assert torchmetrics is not None
    assert float(found["brier"].mean()) == pytest.approx(
        5 * float(mean_squared_error(shares, corner)), abs=1e-6
    )
    torch.testing.assert_close(
        found["entropy"].float(), torch.distributions.Categorical(logits=logits).entropy()
    )
    right = (found["margin"] > 0).double().mean()
    assert float(right) == pytest.approx(
        float(multiclass_accuracy(shares, labels, 5, average="micro")), abs=1e-7
    )


def test_certainty_has_what_accuracy_has_and_every_metric_is_declared(tmp_path):
    lab = Lab("resnet20@mnist5k", images=60, store=tmp_path, quiet=True)
    under = gaussian(0, 0.3)
    sure, right = (lab.sweep(m, under=under).frame for m in (certainty, accuracy))

    for name in ("correct", "loss"):
        assert sure[name].tolist() == right[name].tolist()
    assert [kind_of(n) for n in ("brier", "confidence", "margin", "entropy", "agreement")] == [
        *("plain", "share", "plain", "plain", "hit")
    ]
    assert sure.groupby("level")["brier"].mean()[0.3] > sure.groupby("level")["brier"].mean()[0.0]


def test_agreement_is_with_the_clean_pass_and_needs_no_labels(tmp_path):
    lab = Lab("resnet20@mnist5k", images=60, store=tmp_path, quiet=True)
    frame = lab.sweep(agreement, under=gaussian(0, 0.5)).frame
    by_level = frame.groupby("level")["agreement"].mean()

    assert by_level[0.0] == 1.0
    assert 0.1 < by_level[0.5] < 1.0


def test_agreement_without_a_clean_pass_is_an_error():
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2)).eval()
    with agreement.open(net) as read, torch.inference_mode():
        net(torch.zeros(2, 1, 1, 1))
        with pytest.raises(ProbesError, match="run that first"):
            read(Batch.of([0, 1]))
        read.reference()
        assert read(Batch.of([0, 1]))["agreement"].tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("measure", [accuracy, agreement, certainty])
def test_one_class_is_nothing_to_be_right_about(tmp_path, measure):
    net = nn.Sequential(nn.AvgPool2d(4), nn.Flatten())
    lab = Lab(net, torch.rand(20, 1, 4, 4), tmp_path, quiet=True)
    with pytest.raises(BadInput, match=r"one class only|two classes or more"):
        lab.sweep(measure, under=gaussian(0, 0.5)).frame  # noqa: B018


def test_a_single_logit_is_an_error():
    with pytest.raises(BadInput, match="two classes or more"):
        sureness(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64))


def test_an_attacks_passes_before_the_last_one_are_not_kept():
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2)).eval()
    x = torch.zeros(1, 1, 1, 1, requires_grad=True)
    with certainty.open(net) as read:
        net(x + 1)
        last = net(x)
        found = read(Batch.of([0], np.array([0])))["loss"]
        wanted = nn.functional.cross_entropy(last.double(), torch.tensor([0]))

    assert float(found[0, 0]) == pytest.approx(wanted.item(), abs=1e-7)
