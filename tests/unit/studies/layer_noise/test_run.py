"""The study of noise on the outputs of layers, without pytest: its claims, tables and report, and
what it refuses.
"""

import ast
import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from probes import cli
from probes.errors import BadInput, UnknownName
from probes.measure.features import stages_of
from probes.run.settings import Options
from probes.store import Store
from probes.studies.layer_noise import run as layernoise
from probes.studies.layer_noise import tables as layertables
from probes.studies.layer_noise.claims import SENTENCES
from probes.subjects.nets import nets
from probes.tell.verify import verify

pytestmark = pytest.mark.slow

CLAIMS = Path(__file__).parents[3] / "claims" / "test_residual.py"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def folder(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "layers"
    code = cli.main(
        [
            "run",
            "layer-noise",
            "resnet20#0",
            "plainnet20#0",
            "--images",
            "40",
            "--strengths",
            "0,.5",
            "--out",
            str(out),
            "--store",
            str(store.folder),
        ]
    )
    assert code == 0
    return out


def table_of(folder, name):
    return pd.read_csv(folder / "tables" / f"{name}.csv")


def test_a_study_of_two_networks_is_a_report_that_verifies(folder):
    assert verify(folder) == []
    lines = [json.loads(t) for t in (folder / "evidence.jsonl").read_text().splitlines()]

    assert [(r["id"], r["subject"]) for r in lines] == [
        ("RES", "resnet20@mnist5k#0 + plainnet20@mnist5k#0"),
        ("RES-DEPTH", "plainnet20@mnist5k#0"),
        ("RES-DEPTH", "resnet20@mnist5k#0"),
        ("RES-PIXELS", "resnet20@mnist5k#0 + plainnet20@mnist5k#0"),
    ]
    assert {r["design"]["images"] for r in lines} == {40}
    assert "BatchNorm2d: 1 2 3 layers, drawn by each image" in lines[0]["design"]["perturbation"]


def test_its_claims_are_those_of_the_tests():
    found = {}
    for node in ast.walk(ast.parse(CLAIMS.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "claim":
            found[{k.arg: k.value for k in node.keywords}["id"].value] = ast.literal_eval(
                node.args[0]
            )
    for end, pair in (
        ("", ("resnet20", "plainnet20")),
        ("-PUBLISHED", ("resnet34", "vgg19_bn_small")),
    ):
        words = {n: t.format(first=pair[0], second=pair[1]) for n, t in SENTENCES.items()}
        assert found[f"RES{end}"] == words["RES"]
        assert found[f"RES{end}-PIXELS"] == words["RES-PIXELS"]


def test_tables_have_a_row_per_run_and_condition(folder):
    drops, depth, moved = (table_of(folder, name) for name in ("drops", "depth", "activations"))

    assert drops.groupby("kind").size().to_dict() == {"fractions": 6, "layers": 6, "pixels": 6}
    assert (drops["low"] <= drops["drop"]).all()
    assert (drops["drop"] <= drops["high"]).all()
    assert list(depth[depth["net"] == "resnet20"]["layer"][:3]) == [
        "bn1",
        "layer1.0.bn1",
        "layer1.0.bn2",
    ]
    assert depth.groupby("net").size().to_dict() == {"resnet20": 19, "plainnet20": 19}
    assert list(moved["stage"].unique()) == ["layer1", "layer2", "layer3"]
    assert table_of(folder, "clean").groupby("split").size().to_dict() == {"train": 2, "test": 2}
    assert table_of(folder, "layers").groupby("net").size().to_dict() == {
        "resnet20": 19,
        "plainnet20": 19,
    }


def test_maps_of_an_image_are_drawn_clean_and_perturbed(folder):
    maps = table_of(folder, "maps")
    wide = maps.pivot_table(
        index=["net", "stage", "channel", "y", "x"], columns="state", values="value"
    )
    first = wide.xs(("resnet20", "layer1"), level=("net", "stage"))

    assert len(first) == layertables.DRAWN * 28 * 28
    assert (wide["clean"] != wide["perturbed"]).any()


def test_the_page_has_every_figure_and_the_studys_table(folder):
    text = (folder / "report.md").read_text()

    for name in ("drops", "strengths", "depth", "activations", "maps"):
        assert f"(figures/{name}.png)" in text
        assert (folder / "figures" / f"{name}.png").stat().st_size > 5000
    assert "| noise on 3 layers |" in text
    assert "published" not in text.partition("## RES")[0]


def test_one_network_is_measured_without_a_comparison(store, tmp_path):
    out = layernoise.study(
        ["resnet20#1"],
        "mnist5k",
        store,
        tmp_path / "one",
        strengths=(0.0, 0.5),
        on="*.bn2",
        options=Options(images=20, threads=1),
    )
    lines = [json.loads(t) for t in (out / "evidence.jsonl").read_text().splitlines()]

    assert [(r["id"], r["subject"]) for r in lines] == [("RES-DEPTH", "resnet20@mnist5k#1")]
    assert table_of(out, "depth").shape[0] == 9


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"nets": ["resnet20@mnist5k"]}, BadInput, "the dataset is --dataset mnist5k"),
        ({"nets": ["resnet20#0", "resnet20#1"]}, BadInput, "resnet20 stands twice"),
        ({"strengths": (0.0, 1.0)}, BadInput, "0.5 is the one that is judged"),
        ({"on": "layer9.*"}, UnknownName, "unknown layer 'layer9.\\*'"),
        ({"on": "layer1.0.bn1"}, BadInput, "noise on 2 of the 1 layers"),
    ],
)
def test_what_can_not_be_is_refused_before_the_work(store, tmp_path, change, error, says):
    asked = {"nets": ["resnet20#0"], "on": "BatchNorm2d", "strengths": (0.0, 0.5)} | change
    with pytest.raises(error, match=says):
        layernoise.study(
            asked.pop("nets"),
            "mnist5k",
            store,
            tmp_path / "out",
            options=Options(images=10),
            **asked,
        )

    assert not (tmp_path / "out").exists()


def test_stages_end_where_the_maps_become_smaller_whatever_their_names():
    with torch.device("cpu"):
        vgg = nets["vgg19_bn_small"](3, 10).eval()
    found = stages_of(vgg, torch.zeros(1, 3, 32, 32))

    assert [type(vgg.get_submodule(name)) for name in found[:-1]] == [nn.ReLU] * 5
    assert found[-1] == "features"
    assert not any(module._forward_hooks for module in vgg.modules())
