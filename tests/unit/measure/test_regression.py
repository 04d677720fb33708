"""Networks that give numbers: how far from their targets, and what is not asked of them."""

import sys
import types

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import nn

from probes import accuracy, agreement, attacked, error, fgsm, gaussian, rises
from probes.errors import BadInput
from probes.lab import Lab
from probes.measure.regression import deviations
from probes.store import Store
from probes.subjects import training
from probes.subjects.dataset import Dataset
from probes.subjects.objects import dataset_of


class Brightness(nn.Module):
    """Gives the mean brightness of an image, and its double."""

    def __init__(self, k=1):
        super().__init__()
        self.scale = nn.Parameter(torch.arange(1.0, k + 1))

    def forward(self, x):
        return x.mean((1, 2, 3))[:, None] * self.scale


def images(n=40):
    return torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def lab_of(targets, tmp_path, k=1, given=None):
    given = images() if given is None else given
    return Lab(Brightness(k), (given, targets), tmp_path, quiet=True, threads=1)


def test_errors_are_those_of_another_library():
    g = np.random.default_rng(0)
    given, targets = g.normal(size=(50, 3)), g.normal(size=(50, 3))
    found = deviations(torch.from_numpy(given), torch.from_numpy(targets))

    assert float(found["absolute_error"].mean()) == pytest.approx(
        metrics.mean_absolute_error(targets, given)
    )
    assert float(found["squared_error"].mean()) == pytest.approx(
        metrics.mean_squared_error(targets, given)
    )


@pytest.mark.parametrize("k", [1, 3])
def test_a_network_of_numbers_is_measured_against_its_targets(tmp_path, k):
    given = images()
    seen = (given * 255).round() / 255
    targets = seen.mean((1, 2, 3))[:, None] * torch.arange(1.0, k + 1) + 0.5
    frame = lab_of(targets if k > 1 else targets[:, 0], tmp_path, k).sweep(error, under=gaussian(0))

    np.testing.assert_allclose(frame.frame["absolute_error"], 0.5, rtol=1e-5)
    np.testing.assert_allclose(frame.frame["squared_error"], 0.25, rtol=1e-5)


def test_a_claim_about_errors_is_judged_and_told(tmp_path):
    given = images(300) * 0.2
    targets = ((given * 255).round() / 255).mean((1, 2, 3))
    lab = lab_of(targets, tmp_path / "store", given=given)
    found = rises(lab.sweep(error, under=gaussian(0, 0.5)), "absolute_error", sesoi=0.05)
    lab.claim("Noise makes the error larger.", found)
    text = lab.report(tmp_path / "report").read_text()

    assert found.overall == "supported"
    assert "targets that are numbers, not classes" in text


def test_other_targets_are_other_results(tmp_path):
    one, other = (
        lab_of(torch.full((40,), value), tmp_path).sweep(error, under=gaussian(0)).frame
        for value in (0.0, 1.0)
    )

    assert (one["absolute_error"].to_numpy() != other["absolute_error"].to_numpy()).all()


def test_fewer_images_keep_their_targets(tmp_path):
    given = images()
    targets = ((given * 255).round() / 255).mean((1, 2, 3))
    lab = Lab(Brightness(), (given, targets), tmp_path, images=7, quiet=True, threads=1)
    found = lab.sweep(error, under=gaussian(0)).frame

    assert len(found) == 7
    assert found["absolute_error"].max() < 1e-6


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (
            lambda lab: lab.sweep(accuracy, under=gaussian(0)),
            r"numbers, not classes \(measure probes\.error\)",
        ),
        (lambda lab: lab.sweep(agreement, under=gaussian(0)), "have numbers as targets"),
        (
            lambda lab: lab.sweep(error, under=attacked(fgsm(), (0, 0.1))),
            "attacks the label of an image",
        ),
    ],
)
def test_what_needs_classes_is_refused(tmp_path, ask, says):
    with pytest.raises(BadInput, match=says):
        ask(lab_of(torch.zeros(40), tmp_path)).frame  # noqa: B018


def test_classes_are_no_targets(tmp_path):
    lab = lab_of(torch.zeros(40, dtype=torch.int64), tmp_path)
    with pytest.raises(BadInput, match="error needs targets"):
        lab.sweep(error, under=gaussian(0)).frame  # noqa: B018


class Flat(nn.Module):
    """Gives a number for each image, without the axis of numbers."""

    def forward(self, x):
        return x.mean((1, 2, 3))


def test_a_network_without_the_axis_of_numbers_is_refused_with_what_to_write(tmp_path):
    lab = Lab(Flat(), (images(), torch.zeros(40)), tmp_path, quiet=True, threads=1)
    with pytest.raises(BadInput, match=r"gives \(40,\), the targets are \(40, 1\).*x\[:, None\]"):
        lab.sweep(error, under=gaussian(0)).frame  # noqa: B018


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_any_size_are_images_and_targets(kind):
    found = dataset_of((images(4).to(kind), torch.tensor([0.0, 1, 2, 3], dtype=kind)))

    assert found.targets.ravel().tolist() == [0, 1, 2, 3]
    assert found.images.dtype == np.uint8


def numbered(split, store):
    n = 40
    pixels = (images(n).numpy() * 255).astype(np.uint8)
    constants = ("numbered", "Numbered", split, pixels, np.zeros(n, int), np.arange(n))
    return Dataset(*constants, ("target",), (0.0,), (1.0,), targets=np.ones((n, 1)))


def test_a_classifier_is_not_trained_on_numbers(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "numbered", types.SimpleNamespace(build=numbered))
    with pytest.raises(BadInput, match=r"cnn on numbered:build: .* numbers as targets"):
        training.run_of("cnn", "numbered:build", 0, Store(tmp_path))


def test_a_verdict_on_numbers_names_no_classes(tmp_path):
    lab = lab_of(torch.zeros(40), tmp_path)
    found = rises(lab.sweep(error, under=gaussian(0, 0.5)), "absolute_error", sesoi=0.05)

    assert "classes" not in str(found)


def test_another_number_of_targets_is_refused(tmp_path):
    with pytest.raises(BadInput, match="gives 2 numbers per image, the targets are 3"):
        lab_of(torch.zeros(40, 3), tmp_path, 2).sweep(error, under=gaussian(0)).frame  # noqa: B018


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (np.zeros((2, 1), int), "targets are floats"),
        (np.zeros(2), "targets are floats"),
        (np.zeros((3, 1)), "for 2 images"),
        (np.array([[0.0], [np.nan]]), "the target of image 1 is not a finite number"),
    ],
)
def test_targets_that_are_none_are_refused(targets, says):
    with pytest.raises(BadInput, match=says):
        Dataset(
            "d",
            "d",
            "test",
            np.zeros((2, 1, 2, 2), np.uint8),
            np.zeros(2, int),
            np.arange(2),
            ("target",),
            (0.0,),
            (1.0,),
            targets=targets,
        )
