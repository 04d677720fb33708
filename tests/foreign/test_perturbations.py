"""A perturbation and a measure of somebody else's: in a sweep, in a claim, in two processes, in a
study, in evidence and verify.
"""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from probes import (
    Measure,
    Perturbation,
    accuracy,
    augmented,
    falls,
    gaussian,
    layer_noise,
    masked,
    weight_noise,
)
from probes.batch import Batch, Draw
from probes.errors import BadInput
from probes.lab import Lab
from probes.store import Store
from probes.subjects.sending import pixels
from probes.tell.verify import verify

pytestmark = pytest.mark.slow

PLACE = Path(__file__).with_name("strange_perturbations.py")
pytest_plugins = ["pytester"]


@pytest.fixture(scope="module")
def strange():
    spec = importlib.util.spec_from_file_location("strange_perturbations", PLACE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["strange_perturbations"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["strange_perturbations"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def lab_of(store, name="resnet20@mnist5k", **options):
    return Lab(
        name, store=store, quiet=True, **({"images": 40, "threads": 1, "batch_size": 20} | options)
    )


def test_occlusion_is_swept_and_says_itself(store, strange):
    sweep = lab_of(store).sweep(accuracy, under=strange.occlusion)
    right = sweep.frame.groupby("level")["correct"].mean()

    assert right.index.tolist() == [0, 0.25, 0.5]
    assert right.to_dict() == pytest.approx({0.0: 0.975, 0.25: 0.625, 0.5: 0.225}, abs=0.15)
    assert (
        sweep.design.perturbation
        == "occlusion: A grey square in the middle whose side is level of the image's"
    )
    assert (sweep.design.varied, sweep.design.unit, sweep.design.space) == (
        "side",
        "of the image's side",
        "pixels",
    )
    assert sweep.frame.loc[sweep.frame["level"] == 0, "sigma_realised"].eq(0).all()
    assert sweep.frame.loc[sweep.frame["level"] == 0.5, "sigma_realised"].gt(0.1).all()


def test_a_report_of_occlusion_shows_its_level_and_verifies(store, strange, tmp_path):
    lab = lab_of(store, images=200)
    lab.claim(
        "Occlusion costs accuracy.",
        falls(lab.sweep(accuracy, under=strange.occlusion), "correct", sesoi="5 points"),
        id="OCC",
    )
    page = lab.report(tmp_path / "out").read_text()

    assert "OCC on `resnet20@mnist5k`" in page
    assert "supported" in page
    assert "side 0 0.25 0.5 (of the image's side)" in page
    assert "noise σ" not in page
    assert verify(tmp_path / "out") == []
    line = json.loads((tmp_path / "out" / "evidence.jsonl").read_text())
    assert line["design"]["varied"] == "side"


def test_a_measure_of_ones_own_reads_a_batch(store, strange):
    frame = lab_of(store).sweep(strange.Confidence(), under=gaussian(0, 0.3)).frame

    assert frame["confidence"].between(0.1, 1).all()


def test_what_is_no_perturbation_or_no_measure_is_one_sentence(store, strange):
    class Down(strange.Occlusion):
        """Levels that go down."""

    for under, sentence in (
        ("blur", "str is no perturbation: derive it from probes.Perturbation"),
        (Down((0.5, 0.0)), r"levels \(0.5, 0.0\) ascend from 0"),
    ):
        with pytest.raises(BadInput, match=sentence):
            lab_of(store).sweep(accuracy, under=under)
    with pytest.raises(
        BadInput,
        match=r"object is no measure, it lacks name, key, count, open: derive it",
    ):
        lab_of(store).sweep(object(), under=gaussian(0, 0.1))
    for base in (Perturbation, Measure):
        with pytest.raises(TypeError):
            base()


CLAIM = """
import pytest
from probes import accuracy, falls
from strange_perturbations import occlusion

@pytest.mark.subjects("resnet20@mnist5k", "plainnet20@mnist5k")
@pytest.mark.claim("Occlusion costs accuracy.", id="OCC")
def test_occlusion(lab, claim):
    claim.holds(falls(lab.sweep(accuracy, under=occlusion), "correct", sesoi="5 points"))
"""


def test_a_claim_about_occlusion_runs_in_two_workers(pytester, monkeypatch, tmp_path, run_pytest):
    monkeypatch.setenv("PROBES_STORE", str(tmp_path / "store"))
    (pytester.path / "strange_perturbations.py").write_text(PLACE.read_text())
    pytester.makepyfile(test_it=CLAIM)
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    done = run_pytest("-n", "2", "--probes-images=200", "-p", "no:randomly")

    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines(["2 claims judged, 2 decided (2 supported)"])
    assert verify(pytester.path / "reports" / "latest") == []


def test_a_study_runs_under_a_perturbation_of_ones_own(strange, tmp_path, monkeypatch, capsys):
    from probes import cli

    monkeypatch.setenv("PROBES_STORE", str(tmp_path / "store"))
    out = tmp_path / "out"
    command = [
        "run",
        "dynamics",
        "resnet20",
        "--under",
        "strange_perturbations:occlusion",
        "--images",
        "100",
        "--out",
        str(out),
    ]

    assert cli.main(command) == 0
    page = (out / "report.md").read_text()
    assert "Occlusion raises Var h(x)" in page
    assert "side 0 0.25 0.5 (of the image's side)" in page
    assert verify(out) == []
    for under, sentence in (
        ("strange_perturbations:no", "module strange_perturbations has no 'no'"),
        ("strange_perturbations:PLACE", "has no 'PLACE'"),
        ("blur", "unknown perturbation 'blur'"),
    ):
        assert cli.main([*command[:4], under, "--out", str(tmp_path / "no")]) == 2
        assert sentence in capsys.readouterr().err
    assert cli.main([*command, "--as-published"]) == 2


def test_an_augmentation_is_a_perturbation_with_the_images_of_the_augmentation_itself(store):
    from probes.perturb.augment import augmentations
    from probes.perturb.augmenting import drawn_factors
    from probes.run.cells import images_under

    data = lab_of(store).data("mnist5k")
    images = pixels(data, slice(0, 4))
    draw = Draw(0, data.name, 2)
    found = images_under(augmented("rolling"), images, data.ids[:4], 1.0, draw, data.mean, data.std)
    wanted = augmentations["rolling"].apply(
        images, drawn_factors("rolling", data.name, data.ids[:4], 0, 2)
    )

    assert torch.equal(found, wanted)
    assert not torch.equal(found, images)
    right = (
        lab_of(store)
        .sweep(accuracy, under=augmented("rolling", "hflip"), draws=2)
        .frame.groupby("level")["correct"]
        .mean()
    )
    assert right[1.0] < right[0.0]


def test_masks_have_arms_that_differ_and_the_guided_one_has_no_draws(store):
    lab = lab_of(store)
    index = {"layer3": np.arange(64 * 7 * 7, dtype=float).reshape(64, 7, 7)}
    sweep = lab.sweep(accuracy, under=masked(index, 0, 0.5), draws=2)
    loss = sweep.frame[sweep.frame["level"] == 0.5].groupby(["mask", "draw"])["loss"].mean()

    assert sweep.frame.attrs["keys"] == ["mask"]
    assert sweep.frame.attrs["draws"] == "common"
    assert loss["guided", 0] == loss["guided", 1]
    assert loss["random", 0] != loss["random", 1]


def test_a_composition_is_both_and_its_images_are_those_of_the_first(store):
    lab, index = lab_of(store), {"layer3": np.arange(64.0).reshape(64, 1, 1)}
    both = masked(index, 0, 0.5) & augmented("gaussian_blur")
    frame = lab.sweep(accuracy, under=both).frame

    assert both.name == "gaussian_blur and masked units"
    assert both.levels == (0.0, 1.0)
    assert set(frame["mask"]) == {"guided", "random"}
    alone = lab.sweep(accuracy, under=augmented("gaussian_blur")).frame
    top = frame[(frame["level"] == 1) & (frame["mask"] == "guided")]
    assert (
        top["sigma_realised"].to_numpy()
        == alone.loc[alone["level"] == 1, "sigma_realised"].to_numpy()
    ).all()
    assert (top["loss"].to_numpy() != alone.loc[alone["level"] == 1, "loss"].to_numpy()).any()
    clean = lab.sweep(accuracy, under=gaussian(0)).frame
    assert (
        frame.loc[(frame["level"] == 0) & (frame["mask"] == "guided"), "loss"].to_numpy()
        == clean["loss"].to_numpy()
    ).all()


@pytest.mark.parametrize("one", [weight_noise(0, 0.1, 0.2), layer_noise(0, 0.5, 1)])
def test_a_composition_with_clean_images_is_the_other_one(store, one):
    lab = lab_of(store)
    frame = lab.sweep(accuracy, under=one & gaussian(0, 1e-30)).frame
    alone = lab.sweep(accuracy, under=one).frame

    pd.testing.assert_series_equal(frame["loss"], alone["loss"])


def test_a_composition_at_other_levels_is_at_those(store):
    """The outer one once stayed at its highest level where levels came from an option."""
    both = gaussian(0, 0.1, 0.3) & weight_noise(0, 0.1)

    assert both.split(0.1) == (0.1, 0.1)
    assert both.at((0.0, 0.2)).split(0.2) == (0.2, 0.1)
    assert (gaussian(0, 0.3) & weight_noise(0, 0.1)).split(1.0) == (0.3, 0.1)


def test_verdicts_on_a_frame_without_its_design_are_refused_by_the_report(store):
    from probes import rises

    lab = lab_of(store)
    frame = lab.sweep(accuracy, under=gaussian(0, 0.1)).frame.copy()
    frame.attrs = {}
    with pytest.raises(BadInput, match="has lost its design"):
        lab.claim("It rises.", rises(frame, "loss", sesoi=0.01))
    with pytest.raises(BadInput, match="nothing to report"):
        lab.report("nowhere")


def test_compositions_that_can_not_be_one_sweep_are_refused():
    with pytest.raises(BadInput, match="both have several levels"):
        gaussian(0, 0.1, 0.2) & weight_noise(0, 0.1, 0.2)
    with pytest.raises(BadInput, match=r"both make arms \(layers, batch_norm\)"):
        weight_noise(0, 0.1) & layer_noise(0, 0.1)
    with pytest.raises(BadInput, match="share their draws"):
        gaussian(0, 0.1) & gaussian(0, 0.2)


def test_a_batch_by_hand_has_labels_and_images():
    batch = Batch.of([3, 4])

    assert len(batch) == 2
    assert batch.labels.tolist() == [0, 0]
    assert batch.images.numel() == 0
