"""Right or wrong, and the loss, per image."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from probes.batch import Batch
from probes.errors import BadInput, ProbesError
from probes.measure import Predictions, accuracy, block_metrics
from probes.subjects import training
from probes.subjects.data import load


@pytest.fixture(scope="module")
def digits():
    return load("mnist5k")


@pytest.fixture(scope="module")
def model(digits):
    return training.initial("cnn", digits, 0).eval()


def test_they_are_torchs_accuracy_and_cross_entropy_image_by_image(model, digits):
    x, labels = torch.from_numpy(digits.images[:50].copy()).float() / 255, digits.labels[:50]
    with accuracy.open(model) as read, torch.inference_mode():
        logits = model(x)
        found = read(Batch.of(digits.ids[:50], labels))
    wanted = torch.from_numpy(labels)

    assert found["site"].tolist() == ["output"]
    assert found["correct"].shape == found["loss"].shape == (1, 50)
    assert found["correct"][0].tolist() == (logits.argmax(1) == wanted).float().tolist()
    assert np.allclose(
        found["loss"][0], F.cross_entropy(logits, wanted, reduction="none").numpy(), atol=1e-6
    )


def test_any_batching_gives_the_same_numbers(model, digits):
    x, labels = torch.from_numpy(digits.images[:12].copy()).float() / 255, digits.labels[:12]
    parts = []
    with accuracy.open(model) as read, torch.inference_mode():
        model(x)
        whole = read(Batch.of(digits.ids[:12], labels))["loss"][0]
        for i in (0, 5, 10):
            model(x[i : i + 5])
            parts.append(read(Batch.of(digits.ids[i : i + 5], labels[i : i + 5]))["loss"][0])

    assert np.allclose(np.concatenate(parts), whole, atol=1e-5)


def test_nothing_is_left_behind_also_after_an_exception(model):
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError), accuracy.open(model):
        raise RuntimeError

    assert not model._forward_hooks
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_it_works_beside_taps(digits):
    model = training.initial("resnet20", digits, 0).eval()
    x = torch.from_numpy(digits.images[:4].copy()).float() / 255
    with block_metrics.open(model) as blocks, accuracy.open(model) as read:
        with torch.inference_mode():
            model(x)
        found = read(Batch.of(digits.ids[:4], digits.labels[:4]))

    assert found["loss"].shape == (1, 4)
    assert len(blocks(Batch.of(digits.ids[:4]))["site"]) == 9


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_output_that_is_no_number_names_the_image(value):
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2)).eval()
    x = torch.tensor([[[[0.0]]], [[[value]]]])
    with accuracy.open(model) as read, torch.inference_mode():
        model(x)
        with pytest.raises(ProbesError, match=r"image 12 holds (nan|-?inf)"):
            read(Batch.of([11, 12], np.array([0, 1])))


def test_fewer_outputs_than_classes_and_reading_too_early_are_errors():
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2)).eval()
    with Predictions().open(model) as read, torch.inference_mode():
        with pytest.raises(ProbesError, match="run a forward pass"):
            read(Batch.of([1], np.array([0])))
        model(torch.zeros(1, 1, 1, 1))
        with pytest.raises(BadInput, match=r"labels run to 5, but the output is \(2,\)"):
            read(Batch.of([1], np.array([5])))


def test_a_model_in_training_mode_is_refused(digits):
    with (
        pytest.raises(BadInput, match="eval"),
        accuracy.open(training.initial("resnet20", digits, 0)),
    ):
        pass
