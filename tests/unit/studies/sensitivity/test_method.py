"""The study's method beside ours: the page, its tables, and what min-max does to darker images."""

import pandas as pd
import pytest

from probes import cli
from probes.studies.sensitivity import method as sensmethod
from probes.studies.sensitivity.plan import Plan
from probes.subjects.data import load


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("method") / "out"
    code = cli.main(
        [
            "run",
            "sensitivity",
            "resnet20",
            "--as-published",
            "--set",
            "hflip,brightness",
            "--rows",
            "64",
            "--scramblings",
            "2",
            "--images",
            "100",
            "--modules",
            "layer3,fc",
            "--out",
            str(out),
            "--store",
            str(out.parent / "store"),
        ]
    )
    assert code == 0
    return out


def test_the_steps_are_taken_one_by_one():
    steps = sensmethod.variants(Plan("1"))
    ways = [(p.image, p.minmax, p.absolute) for p in steps.values()]

    assert ways == [
        ("factor", False, False),
        ("factor", False, False),
        ("fresh", False, False),
        ("fresh", True, False),
        ("fresh", True, True),
    ]
    assert {p.factors for p in steps.values()} == {("class", "partition")}
    assert [p.seed for p in steps.values()] == [0, 1, 0, 0, 0]


def test_a_fresh_image_raises_what_hardly_matters(folder):
    table = pd.read_csv(folder / "totals.csv").set_index(["variant", "module", "group"])["total"]

    assert table["fresh image"]["fc"]["order"] > table["ours"]["fc"]["order"] + 0.05


def test_the_tables_and_the_page(folder):
    top, floor = pd.read_csv(folder / "top.csv"), pd.read_csv(folder / "floor.csv")
    text = (folder / "method.md").read_text()

    assert set(top["variant"]) == {"ours, drawn again", *sensmethod.STEPS}
    assert top["another"].between(0, 1).all()
    assert floor.groupby("variant", sort=False)["dead"].sum()["published floor, not cut"] == 0
    for name in ("totals", "minmax", "floor"):
        assert f"({name}.png)" in text
        assert (folder / f"{name}.png").stat().st_size > 5000
    assert "hflip, brightness" in text


def test_min_max_leaves_darker_images_where_they_are():
    moved = sensmethod.stretched(load("mnist5k"), [0.0, 0.1, 0.9], images=10)

    assert max(moved["brightness"]["min-max"][:2]) < 1e-5
    assert min(moved["brightness"]["constants"]) > 0.1
    assert moved["brightness"]["min-max"][2] > 0.1


def test_options_that_it_has_of_its_own_are_refused(capsys, tmp_path):
    assert (
        cli.main(
            [
                "run",
                "sensitivity",
                "--as-published",
                "--image",
                "fixed",
                "--out",
                str(tmp_path / "x"),
            ]
        )
        == 2
    )
    assert (
        "--as-published has measures, law, image and factors of its own" in capsys.readouterr().err
    )
