"""The study of robustness, without pytest: its claims, tables and page, and what it refuses."""

import json

import numpy as np
import pandas as pd
import pytest

from probes import cli
from probes.errors import BadInput
from probes.measure import certainty
from probes.perturb import corruption
from probes.run.bench import Bench
from probes.run.settings import Options
from probes.store import Store
from probes.studies.robustness import run as robustness
from probes.studies.robustness.answers import Answers
from probes.subjects.spec import parse
from probes.tell.verify import verify

pytestmark = [pytest.mark.drawn, pytest.mark.slow]
UNDER = "fog,gaussian_noise,noise:0,.1,pgd:0,.1,quantised:8,2"
PAIR = "resnet20@mnist5k#0 + plainnet20@mnist5k#0"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def folder(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    given = out / "published.csv"
    given.write_text("net,corruption,accuracy\nresnet20,fog,90\nalexnet,fog,18\n")
    asked = ["run", "robustness", "resnet20#0", "plainnet20#0", "--images", "40", "--quiet"]
    asked += ["--under", UNDER, "--severity", "3,5", "--relative-to", "plainnet20"]
    asked += ["--published", str(given), "--out", str(out / "robustness")]
    code = cli.main([*asked, "--store", str(store.folder)])
    assert code == 0
    return out / "robustness"


def table_of(folder, name):
    return pd.read_csv(folder / "tables" / f"{name}.csv")


def test_a_study_of_two_networks_is_a_report_that_verifies(folder):
    assert verify(folder) == []
    lines = [json.loads(t) for t in (folder / "evidence.jsonl").read_text().splitlines()]

    assert [(r["id"], r["subject"]) for r in lines] == [
        ("ROB", PAIR),
        ("ROB-ATTACK", "plainnet20@mnist5k#0"),
        ("ROB-ATTACK", "resnet20@mnist5k#0"),
        ("ROB-COST", "plainnet20@mnist5k#0"),
        ("ROB-COST", "resnet20@mnist5k#0"),
        ("ROB-INT8", "plainnet20@mnist5k#0"),
        ("ROB-INT8", "resnet20@mnist5k#0"),
    ]
    assert {len(r["verdicts"]) for r in lines if r["id"] in ("ROB", "ROB-COST")} == {2}


def test_tables_have_a_row_for_each_network_perturbation_and_level(folder):
    found = table_of(folder, "conditions")

    assert found.groupby("kind").size().to_dict() == {
        "corruptions": 2 * 2 * 3,
        "noise": 2 * 2,
        "pgd": 2 * 2 * 2,
        "quantised": 2 * 3,
    }
    clean = found[found["level"] == 0]
    assert clean.groupby("net")["accuracy"].nunique().tolist() == [1, 1]
    assert (clean["changed"] == 0).all()
    assert table_of(folder, "errors").groupby("net").size().to_dict() == {
        "resnet20": 3,
        "plainnet20": 3,
    }


def test_the_page_has_every_figure_and_a_table_that_can_be_pasted(folder):
    text = (folder / "report.md").read_text()

    for name in ("lost", "corruptions", "others", "reliability", "flips"):
        assert f"(figures/{name}.png)" in text
        assert (folder / "figures" / f"{name}.png").stat().st_size > 4000
    assert "\\begin{tabular}{lrrrr}" in text
    assert "relative to plainnet20 (%)" in text
    assert "| alexnet | fog | 18.0 | not run |" in text


def test_the_studys_numbers_are_those_of_the_public_measure(folder, store):
    lab = Bench([parse("resnet20@mnist5k#0")], store, Options(images=40))
    frame = lab.sweep(certainty, under=corruption("fog", severity=(3, 5))).frame
    mine = table_of(folder, "conditions").query("net == 'resnet20' and perturbation == 'fog'")

    assert mine["accuracy"].tolist() == pytest.approx(
        [100 * part["correct"].mean() for _, part in frame.groupby("level")]
    )
    assert mine["confidence"].tolist() == pytest.approx(
        [100 * part["confidence"].mean() for _, part in frame.groupby("level")], rel=1e-6
    )


def test_the_pictures_are_the_images_that_the_networks_saw(folder, store):
    flips = table_of(folder, "flips")
    row = flips.iloc[0]
    lab = Bench([parse(f"{row['net']}@mnist5k#0")], store, Options(images=40))
    data = next(iter(lab.subjects.values())).data
    table = lab.sweep(Answers(), under=corruption(row["corruption"], severity=int(row["severity"])))
    at = table.frame.query(f"image == {row['image']}").set_index("level")["answer"]

    assert at[0.0] != at[row["severity"]]
    assert data.classes[int(at[row["severity"]])] == str(row["answer"])
    pixels = np.frombuffer(bytes.fromhex(row["clean_pixels"]), np.uint8)
    assert (pixels == data.take(np.flatnonzero(data.ids == row["image"])).images.ravel()).all()


def test_one_network_has_a_row_for_each_severity(store, tmp_path):
    out = robustness.study(
        ["resnet20#0"],
        "mnist5k",
        store,
        tmp_path / "one",
        under="fog",
        severities=[3],
        options=Options(images=40, quiet=True),
    )
    lines = [json.loads(t) for t in (out / "evidence.jsonl").read_text().splitlines()]

    assert [r["id"] for r in lines] == ["ROB-COST"]
    assert "by severity" not in (out / "report.md").read_text().partition("![")[0]


@pytest.mark.parametrize(
    ("nets", "more", "says"),
    [
        (["resnet20@mnist5k"], {}, "the dataset is --dataset mnist5k"),
        (["resnet20#0", "resnet20#1"], {}, "resnet20 .* stands twice"),
        (["resnet20#*", "plainnet20#0"], {}, "write #\\* after all of them"),
        (["resnet20#0"], {"relative_to": "vgg"}, "relative to 'vgg'"),
        (["resnet20#0"], {"severities": [6]}, "whole numbers from 1 to 5"),
    ],
)
def test_what_can_not_be_is_refused_before_the_work(store, tmp_path, nets, more, says):
    with pytest.raises(BadInput, match=says):
        robustness.study(
            nets,
            "mnist5k",
            store,
            tmp_path / "out",
            **{"under": "fog", "options": Options(images=10, quiet=True)} | more,
        )

    assert not (tmp_path / "out").exists()


def test_published_numbers_without_corruptions_are_refused(store, tmp_path):
    given = tmp_path / "published.csv"
    given.write_text("net,corruption,accuracy\nresnet20,fog,90\n")
    with pytest.raises(BadInput, match="they are of corruptions, and 'noise' names none"):
        robustness.study(
            ["resnet20#0"],
            "mnist5k",
            store,
            tmp_path / "out",
            under="noise",
            published=given,
            options=Options(images=10, quiet=True),
        )
