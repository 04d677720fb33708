"""The study of sensitivity: planted units, the image as a factor, resumption, and what it refuses."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from probes import cli
from probes.errors import BadInput, ProbesError, UnknownName
from probes.run import sensitivity
from probes.run.lab import Options
from probes.run.sensitivity import Passes, Plan
from probes.store import Store
from probes.subjects.data import Dataset
from probes.subjects.pretrained import Subject
from probes.subjects.spec import parse


class Planted(nn.Module):
    """Units that are what they are by construction: the mean of the image, its left half, a constant, NaN on dark images."""

    def __init__(self, nan=False):
        super().__init__()
        self.probe, self.nan = nn.Identity(), nan

    def forward(self, x):
        half = x.shape[3] // 2
        units = [x.mean((1, 2, 3)), x[..., :half].mean((1, 2, 3)), torch.ones(len(x))]
        out = torch.stack(units, 1)
        return self.probe(torch.where(out[:, :1] < 0.1, torch.nan, out) if self.nan else out)


def made(n=40, side=16):
    images = np.random.Generator(np.random.Philox(1)).integers(0, 256, (n, 3, side, side), dtype=np.uint8)
    return Dataset("made", "made", "test", images, np.arange(n) % 10, np.arange(n), tuple("0123456789"), (0.5,) * 3, (0.5,) * 3)


def found_of(which, names=("probe",), rows=256, nan=False, data=None):
    data = data or made()
    subject = Subject(parse("planted@made"), Planted(nan).eval(), data, "weights", "random")
    plan = Plan(which, rows=rows)
    augmented, design, _ = plan.design(3)
    passes = Passes(subject, names, augmented, design, Options(threads=1).where)
    one = sensitivity.scrambling(passes, plan, 0, data, lambda: None, "test")["probe"]
    return dict(zip(one.groups, range(9), strict=False)), one, passes


def test_a_planted_unit_is_moved_by_what_moves_it():
    """Brightness moves a mean; a flip moves the mean of the left half only; rolling by whole pixels moves no mean at all."""
    group, one, _ = found_of(("brightness", "hflip", "rolling"))

    assert one.total[group["brightness"], 0] > 0.9
    assert one.total[group["hflip"], 0] == pytest.approx(0, abs=1e-6)
    assert one.total[group["rolling"], 0] == pytest.approx(0, abs=1e-6)
    assert one.total[group["hflip"], 1] > 1e-4
    assert one.dead.tolist() == [False, False, True]


def test_trap_s09_inert_factors_have_nothing_although_images_change():
    """Images differ wildly; what does nothing gets exactly 0 of the total index, and the image gets its own share."""
    data = made()
    bright = np.repeat(np.linspace(20, 230, 40).astype(np.uint8), 3 * 16 * 16).reshape(40, 3, 16, 16)
    group, one, _ = found_of(("hflip", "rolling"), data=Dataset(**{**vars(data), "images": bright}))

    assert one.total[group["hflip"], 0] == pytest.approx(0, abs=1e-9)
    assert one.shapley[group["rolling"], 0] == pytest.approx(0, abs=1e-9)
    assert one.first[group["image"], 0] == pytest.approx(1, abs=0.1)
    assert one.total[group["order"], 0] == pytest.approx(0, abs=1e-9)


def test_nan_activations_are_counted_and_their_base_points_left_out():
    group, one, passes = found_of(("brightness", "hflip"), nan=True)

    assert 0 < passes.lost["probe"] == 256 - one.base
    assert one.first[group["brightness"], 0].isfinite()


def test_a_module_that_is_always_nan_is_named():
    dark = made()
    dark = Dataset(**{**vars(dark), "images": dark.images // 50})
    with pytest.raises(ProbesError, match="module 'probe' of planted@made gave NaN or infinity in every base point"):
        found_of(("hflip", "rolling"), nan=True, rows=16, data=dark)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def folder(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "sensitivity"
    code = cli.main(["run", "sensitivity", "resnet20", "--rows", "8", "--scramblings", "2", "--second", "--images", "30",
                     "--modules", "layer2,fc", "--out", str(out), "--store", str(store.folder)])  # fmt: skip
    assert code == 0
    return out


def test_the_command_writes_indices_of_every_unit(folder):
    with np.load(folder / "indices" / "layer2.npz") as file:
        assert list(file["groups"]) == ["erasing", "sharpness", "rolling", "gaussian_blur", "order", "image"]
        assert file["total"].shape == file["shapley_half"].shape == (6, 32, 14, 14)
        assert file["second"].shape == (15, 32, 14, 14)
        assert file["variance"].shape == file["dead"].shape == (32, 14, 14)
    table = pd.read_csv(folder / "summary.csv")

    assert len(table) == 2 * 3 * 6
    shares = table[table["measure"] == "shapley"].groupby("module")["mean"].sum()
    assert (shares > 0.3).all()
    design = json.loads((folder / "run.json").read_text())["design"]
    assert design["left_out"] == ["grayscaling"]
    text = (folder / "sensitivity.md").read_text()
    assert "Left out, since the images are grey: grayscaling." in text
    for name in ("shares", "maps/layer2", "maps/fc", "histograms/fc", "second/layer2"):
        assert (folder / f"{name}.png").stat().st_size > 2000
        assert f"({name}.png)" in text


def test_a_run_goes_on_from_the_scramblings_that_are_there(store, folder, tmp_path, capsys, monkeypatch):
    before = {p.name: p.read_bytes() for p in (folder / "indices").glob("*.npz")}
    made_again = []
    real = sensitivity.scrambling
    monkeypatch.setattr(sensitivity, "scrambling", lambda *a, **k: made_again.append(a[2]) or real(*a, **k))
    sensitivity.study("resnet20", "mnist5k", store, folder, Plan(rows=8, scramblings=3, names=("layer2", "fc"), second=True),
                      options=Options(images=30))  # fmt: skip

    assert made_again == [2]
    assert {p.name for p in (folder / "indices").glob("*.npz")} == set(before)


@pytest.mark.parametrize(
    ("plan", "error", "says"),
    [
        ({"names": ("layer7",)}, UnknownName, "did you mean layer"),
        ({"which": ("flip",)}, UnknownName, "unknown augmentation 'flip'"),
        ({"rows": 1}, BadInput, "two of each at least"),
        ({"scramblings": 1}, BadInput, "two of each at least"),
    ],
)
def test_what_can_not_be_is_refused_before_the_work(store, tmp_path, plan, error, says):
    with pytest.raises(error, match=says):
        sensitivity.study("resnet20", "mnist5k", store, tmp_path / "out", Plan(**({"rows": 8} | plan)), options=Options(images=10))


def test_rows_that_are_no_power_of_two_are_allowed_and_told(store, tmp_path):
    said = []
    with pytest.warns(UserWarning, match="power of 2"):
        sensitivity.study("resnet20", "mnist5k", store, tmp_path / "out", Plan(("rolling", "hflip"), 6, 2, ("fc",)),
                          options=Options(images=10, threads=1), say=said.append)  # fmt: skip

    assert any("no power of two" in text for text in said)


def test_the_studys_networks_are_read_at_its_checkpoints():
    data = made(side=32)
    for net, names in sensitivity.CHECKPOINTS.items():
        with torch.device("meta"):
            from probes.subjects.nets import nets

            model = nets[net](3, 10)
        assert sensitivity.default_modules(Subject(parse(f"{net}@made"), model, data, "w", "r")) == names
        known = dict(model.named_modules())
        assert set(names) <= set(known)
