"""Contrast over a network: planted units, draws within images, resumption, NaN, and what the
command writes.
"""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from probes import cli
from probes.errors import BadInput
from probes.perturb.augment import augmentation
from probes.store import Store
from probes.studies.sensitivity import contrasts as room
from probes.studies.sensitivity.contrasts import Contrasts, contrasts_of, factors
from probes.studies.sensitivity.source import Source
from probes.subjects.dataset import Dataset
from probes.subjects.spec import parse
from probes.subjects.subject import Subject

pytestmark = pytest.mark.slow


class Planted(nn.Module):
    """The mean of the image, the pixel in its middle, a constant; NaN for bright images where asked
    for.
    """

    def __init__(self, nan=False):
        super().__init__()
        self.probe, self.nan = nn.Identity(), nan

    def forward(self, x):
        one = torch.ones(len(x), device=x.device)
        out = torch.stack([x.mean((1, 2, 3)), x[:, 0, 5, 5], one], 1)
        return self.probe(torch.where(out[:, :1] > 0.9, torch.nan, out) if self.nan else out)


def subject(nan=False, n=30):
    images = np.random.Generator(np.random.Philox(1)).integers(
        60, 180, (n, 3, 12, 12), dtype=np.uint8
    )
    data = Dataset(
        "made",
        "made",
        "test",
        images,
        np.arange(n) % 10,
        np.arange(n),
        tuple("0123456789"),
        (0.5,) * 3,
        (0.5,) * 3,
    )
    return Subject(parse("planted@made"), Planted(nan).eval(), data, "weights", "random")


@pytest.fixture
def found_of(bench_of):
    def found(names, store, nan=False, **plan):
        lab, name_of = bench_of(subject(nan), store)
        asked = Contrasts(**{"images": 30, "draws": 2} | plan)
        parts = {"probe": slice(0, 3)}
        return {
            name: (moved["probe"], lost["probe"])
            for name, moved, lost in contrasts_of(lab, Source(name_of), names, parts, asked)
        }

    return found


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_planted_units_are_found_under_what_moves_them(store, found_of):
    """Erasing lowers a mean on every image; flips and rolls by whole pixels leave it where it
    is."""
    found = found_of(("erasing", "rolling", "hflip"), store)

    assert found["erasing"][0].share[0] == 0
    assert found["erasing"][0].adjusted[0] < 1e-4
    assert found["hflip"][0].p[0] > 0.01
    assert found["hflip"][0].dead.tolist() == [False, False, True]
    assert found["rolling"][0].images == 30


def test_factors_are_nested_in_images():
    data = subject().data
    plan = Contrasts(draws=2)
    both = factors("erasing", data, slice(0, 10), plan, 0)

    torch.testing.assert_close(both[4:6], factors("erasing", data, slice(4, 6), plan, 0))
    assert (both - factors("erasing", data, slice(0, 10), plan, 1)).abs().min() > 0
    assert factors("hflip", data, slice(0, 3), plan, 0).tolist() == [[0.0]] * 3


def test_images_whose_activations_are_nan_are_left_out_and_counted(store, found_of):
    found = found_of(("brightness", "hflip"), store, nan=True)

    assert 0 < found["brightness"][1] == 30 - found["brightness"][0].images
    assert found["hflip"][1] == 0


def test_what_changes_nothing_moves_no_unit_whatever_the_draws(store, found_of):
    """Rounding of the mean over ten draws is no difference: a share of .5 and p = 1 for every
    unit."""

    @augmentation("contrasts_test_nothing", "amount")
    def nothing(images, u):
        return images.clone()

    found = found_of(("contrasts_test_nothing",), store, draws=10)["contrasts_test_nothing"][0]

    assert found.share[:2].tolist() == [0.5, 0.5]
    assert found.p[:2].tolist() == [1, 1]


def test_a_module_that_is_mostly_nan_is_left_out_and_counted(store, bench_of):
    dark = subject(nan=True)
    light = dataclasses.replace(dark.data, images=np.full_like(dark.data.images, 250))
    lab, name_of = bench_of(dataclasses.replace(dark, data=light), store)
    parts = {"probe": slice(0, 3)}
    ((name, moved, lost),) = contrasts_of(
        lab, Source(name_of), ["rolling"], parts, Contrasts(30, 1)
    )

    assert (name, moved, lost) == ("rolling", {}, {"probe": 30})


@pytest.mark.parametrize(("images", "draws"), [(5, 1), (6, 0)])
def test_too_few_images_or_draws_are_refused(images, draws):
    with pytest.raises(BadInput, match=f"a contrast on {images} images with {draws} draws"):
        Contrasts(images, draws)


def test_a_run_goes_on_from_the_augmentations_that_are_there(store, monkeypatch, found_of):
    first = found_of(("erasing", "rolling"), store)
    made = []
    real = room._write
    monkeypatch.setattr(room, "_write", lambda *a: made.append(1) or real(*a))
    again = found_of(("erasing", "rolling", "hflip"), store)

    assert made == [1]
    np.testing.assert_array_equal(again["erasing"][0].p, first["erasing"][0].p)


def test_batches_change_nothing(store, tmp_path, monkeypatch, found_of):
    whole = found_of(("erasing",), store)
    monkeypatch.setattr(room, "BATCH", 7)
    other = found_of(("erasing",), Store(tmp_path / "other"))

    np.testing.assert_allclose(
        whole["erasing"][0].point_biserial, other["erasing"][0].point_biserial, atol=1e-6
    )


@pytest.mark.drawn
def test_the_command_writes_contrasts_and_panels(tmp_path):
    out = tmp_path / "out"
    code = cli.main(
        [
            "run",
            "sensitivity",
            "resnet20",
            "--set",
            "hflip,erasing",
            "--rows",
            "8",
            "--scramblings",
            "2",
            "--measures",
            "sobol,contrast",
            "--contrast-images",
            "8",
            "--contrast-draws",
            "1",
            "--images",
            "20",
            "--modules",
            "layer3,fc",
            "--channels",
            "layer3:3",
            "--out",
            str(out),
            "--store",
            str(tmp_path / "store"),
        ]
    )

    assert code == 0
    table = pd.read_csv(out / "contrast.csv")
    assert table[["module", "augmentation"]].values.tolist() == [
        ["layer3", "hflip"],
        ["layer3", "erasing"],
        ["fc", "hflip"],
        ["fc", "erasing"],
    ]
    assert table["rank_biserial"].between(0, 1).all()
    with np.load(out / "contrasts" / "layer3.npz") as file:
        assert file["rank_biserial"].shape == file["adjusted"].shape == (2, 64, 7, 7)
        assert file["augmentations"].tolist() == ["hflip", "erasing"]
    text = (out / "sensitivity.md").read_text()
    for name in (
        "contrast",
        "contrast_maps/layer3",
        "channels/layer3-3",
        "augmentations/erasing",
        "augmentations/hflip",
    ):
        assert f"({name}.png)" in text
        assert (out / f"{name}.png").stat().st_size > 1500
    assert "Shapley effect** (" not in text
    assert set(json.loads((out / "manifest.json").read_text())) >= {
        "contrast.csv",
        "sensitivity.md",
    }
    with np.load(out / "indices" / "fc.npz") as file:
        assert "shapley" not in file


@pytest.mark.drawn
def test_the_analysis_of_maps(tmp_path):
    out = tmp_path / "out"
    code = cli.main(
        [
            "run",
            "sensitivity",
            "resnet20",
            "--set",
            "hflip,erasing",
            "--rows",
            "16",
            "--scramblings",
            "2",
            "--analyse",
            "--images",
            "20",
            "--modules",
            "layer3,fc",
            "--out",
            str(out),
            "--store",
            str(tmp_path / "s"),
        ]
    )

    assert code == 0
    identified, agreement = pd.read_csv(out / "identify.csv"), pd.read_csv(out / "agreement.csv")
    assert identified[["module", "measure"]].values.tolist() == [
        ["layer3", "total"],
        ["layer3", "shapley"],
    ]
    assert (identified["channels"] + identified["left_out"] == 64).all()
    same = agreement[
        (agreement["first"] == agreement["second"]) & (agreement["group"] == agreement["other"])
    ]
    np.testing.assert_allclose(same["rho"], 1, atol=1e-5)
    assert set(agreement["second"]) == {"first", "total", "shapley", "spread / |mean|"}
    text = (out / "sensitivity.md").read_text()
    assert "Do maps identify their augmentation?" in text
    for name in ("identify/layer3.png", "agreement/layer3.png"):
        assert f"({name})" in text
        assert (out / name).stat().st_size > 5000


def test_the_contrast_alone(tmp_path):
    out = tmp_path / "out"
    code = cli.main(
        [
            "run",
            "sensitivity",
            "resnet20",
            "--set",
            "hflip",
            "--measures",
            "contrast",
            "--contrast-images",
            "8",
            "--images",
            "20",
            "--modules",
            "fc",
            "--out",
            str(out),
            "--store",
            str(tmp_path / "store"),
        ]
    )

    assert code == 0
    assert "hflip, each alone" in (out / "sensitivity.md").read_text()
    assert not (out / "indices").exists()
