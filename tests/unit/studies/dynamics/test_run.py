"""The study without pytest, and beside the way it was published."""

import ast
import json
from pathlib import Path

import pandas as pd
import pytest

from probes import cli
from probes.errors import BadInput
from probes.run.bench import Bench
from probes.run.settings import Options
from probes.store import Store
from probes.studies.dynamics import claims
from probes.studies.dynamics import run as dynamics
from probes.subjects.spec import parse
from probes.tell.verify import verify

pytestmark = pytest.mark.slow

CLAIMS = Path(__file__).parents[3] / "claims" / "test_dynamics.py"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def folder(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "dynamics"
    code = cli.main(
        [
            "run",
            "dynamics",
            "resnet20",
            "--levels",
            "0,.2",
            "--images",
            "200",
            "--as-published",
            "--variants",
            "--out",
            str(out),
            "--store",
            str(store.folder),
        ]
    )
    assert code == 0
    return out


def test_a_study_is_a_report_that_verifies(folder):
    assert verify(folder) == []
    lines = [json.loads(t) for t in (folder / "evidence.jsonl").read_text().splitlines()]

    assert [(r["id"], r["design"]["images"]) for r in lines] == [("H0", 200), ("H1", 200)]


def test_its_claims_are_those_of_the_tests():
    found = {}
    for node in ast.walk(ast.parse(CLAIMS.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "claim":
            named = {k.arg: k.value for k in node.keywords}
            found[named["id"].value] = node.args[0].value

    assert {i: sentence for i, (sentence, _) in claims.CLAIMS.items()} == {
        i: found[i] for i in claims.CLAIMS
    }


def test_it_judges_as_the_tests_do(folder, store):
    from probes.judge import falls
    from probes.measure import block_metrics
    from probes.perturb import gaussian

    sweep = Bench([parse("resnet20@mnist5k")], store, Options(images=200)).sweep(
        block_metrics, under=gaussian(0, 0.2)
    )
    mine = falls(sweep, "l2_h", by="site", sesoi="1 %")
    line = json.loads((folder / "evidence.jsonl").read_text().splitlines()[0])

    assert line["overall"] == mine.overall
    assert [v["outcome"] for v in line["verdicts"]] == [v.outcome for v in mine]


def test_the_steps_lead_from_the_published_way_to_ours(folder):
    table = pd.read_csv(folder / "tables" / "published.csv")

    assert list(dict.fromkeys(table["step"])) == [
        *(name for name, *_ in dynamics.STEPS),
        "mean over images",
        "per image (ours)",
    ]
    assert set(table["metric"]) == {"l2_h", "var_h", "mean_sum", "sparsity", "sigma_realised"}
    assert table["site"].nunique() == 9
    assert not table["change"].isna().any()
    assert "put right one step at a time" in (folder / "report.md").read_text()


def test_the_verdict_maps_have_a_row_per_condition_and_block(folder):
    table = pd.read_csv(folder / "tables" / "robustness.csv")

    assert len(table) == 7 * 2 * 9
    assert "`" in (folder / "report.md").read_text().split("Is the answer the same")[1]


def test_notes_are_kept_and_stand_on_the_page(folder, store):
    (folder / "notes.md").write_text("## What it means\n\nNothing yet.\n")
    assert cli.main(["report", str(folder)]) == 0

    assert "Nothing yet." in (folder / "report.md").read_text()
    assert verify(folder) == []


def test_a_net_with_a_dataset_of_its_own_is_an_error(store, tmp_path):
    with pytest.raises(BadInput, match="--dataset"):
        dynamics.study(["resnet20@mnist5k"], "mnist5k", store, tmp_path / "x")


def test_an_unknown_net_is_one_line(capsys, tmp_path):
    assert (
        cli.main(
            ["run", "dynamics", "resnet02", "--out", str(tmp_path / "x"), "--store", str(tmp_path)]
        )
        == 2
    )
    assert "resnet20" in capsys.readouterr().err


def test_claims_of_a_run_are_decided_as_soon_as_they_are(tmp_path, undrawn, capsys):
    out = tmp_path / "report"
    asked = ["run", "dynamics", "resnet20", "--levels", "0,.2", "--until", "1000"]
    assert cli.main([*asked, "--store", str(tmp_path / "store"), "--out", str(out)]) == 0
    lines = {
        (one := json.loads(text))["id"]: one
        for text in (out / "evidence.jsonl").read_text().splitlines()
    }

    assert "look 1 of 2, 500 images" in capsys.readouterr().out
    assert set(lines) == {"H0", "H1"}
    assert lines["H0"]["until"]["images"] == 1000
    assert "of at most 1,000 images" in lines["H0"]["scope"]
    assert verify(out) == []
