"""Reports in the places where people keep things, read back by the tools themselves."""

import json
import math
import os
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from probes import Lab, accuracy, block_metrics, both, cli, falls, gaussian, load, rises
from probes.errors import BadInput, ProbesError, Unavailable, UnknownName
from probes.tell import exporting
from probes.tell.exporting import export, runs_of

pytestmark = pytest.mark.usefixtures("undrawn_module")


@pytest.fixture(scope="module")
def undrawn_module():
    """Figures are left blank for the whole module."""
    from probes.tell import plots

    def save(figure, path, *rest):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plots, "write_png", save)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, undrawn_module):
    out = tmp_path_factory.mktemp("export")
    lab = Lab("resnet20@mnist5k#0", out / "store", images=220, quiet=True)
    table = lab.sweep(block_metrics, under=gaussian(0, 0.1, 0.2))
    parts = (
        rises(table, "var_h", by="site", sesoi="1 %"),
        falls(table, "sparsity", by="site", sesoi="0.5 points"),
    )
    lab.claim("Noise moves blocks.", both(*parts), "BOTH", "blocks")
    found = falls(lab.sweep(accuracy, under=gaussian(0, 0.2)), "correct", sesoi="5 points")
    lab.claim("It costs.", found, "COST")
    lab.report(out / "report")
    return out / "report"


def test_a_report_is_read_again_as_frames(folder):
    found = load(folder)

    assert found.verdicts.groupby("claim").size().to_dict() == {"BOTH": 18, "COST": 1}
    assert "correct" in found.table("COST")
    assert len(found.table("BOTH")) == 220 * 3 * 9
    assert "COST" in found._repr_html_()
    assert found.tables == {}


@pytest.mark.parametrize(
    ("ask", "error", "says"),
    [
        (lambda r: r.table("CST"), UnknownName, "COST"),
        (lambda r: r.table("COST", "vgg@x"), UnknownName, "subject of COST"),
        (lambda r: r.table("COST", part=1), BadInput, "it has 1, from 0"),
    ],
)
def test_a_table_that_is_not_there_is_named(folder, ask, error, says):
    with pytest.raises(error, match=says):
        ask(load(folder))


def test_a_folder_that_is_no_report_is_refused(tmp_path):
    with pytest.raises(ProbesError, match="is it the folder of a report"):
        load(tmp_path)


def test_a_run_is_a_verdict_with_what_was_asked_and_found(folder):
    runs = list(runs_of(load(folder)))
    first, last = runs[0], runs[-1]

    assert len(runs) == 10
    assert first.name == "BOTH on resnet20@mnist5k#0 layer1.0"
    assert {"var_h_estimate", "sparsity_estimate", "var_h_n"} <= set(first.metrics)
    assert last.params["levels"] == "0 0.2"
    assert last.params["question"].startswith("correct falls")
    assert last.metrics["n"] == 220
    assert last.tags["verdict"] == "supported"
    assert [level for level, _ in first.curves["var_h"]] == [0.1, 0.2]
    assert first.curves["var_h"][-1][1] == first.metrics["var_h_estimate"]
    assert all(math.isfinite(v) for run in runs for v in run.metrics.values())


@pytest.mark.parametrize("to", ["csv", "parquet"])
def test_files_hold_the_verdicts_and_the_tables(folder, tmp_path, to):
    assert export(folder, to, tmp_path / "out") == 10
    read = pd.read_csv if to == "csv" else pd.read_parquet
    verdicts = read(tmp_path / "out" / f"verdicts.{to}")
    table = read(tmp_path / "out" / f"claim-COST-resnet20-mnist5k-0-220-0.{to}")
    mine = load(folder)

    assert verdicts["verdict"].tolist() == mine.verdicts["verdict"].tolist()
    np.testing.assert_allclose(verdicts["estimate"], mine.verdicts["estimate"], rtol=1e-8)
    assert table["correct"].tolist() == mine.table("COST")["correct"].tolist()


def test_mlflow_finds_a_run_for_each_verdict(folder, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="pip install '.[mlflow]'")
    before = mlflow.get_tracking_uri()
    export(folder, "mlflow", tmp_path / "out")

    assert mlflow.get_tracking_uri() == before
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    try:
        client = mlflow.MlflowClient(tracking_uri=(tmp_path / "out").as_uri())
        (experiment,) = client.search_experiments(filter_string="name = 'probes report'")
        runs = client.search_runs([experiment.experiment_id], max_results=100)
        by_name = {run.info.run_name: run for run in runs}
        cost = by_name["COST on resnet20@mnist5k#0"]
        curve = client.get_metric_history(cost.info.run_id, "effect_correct")
    finally:
        del os.environ["MLFLOW_ALLOW_FILE_STORE"]

    assert len(runs) == 11
    assert cost.data.tags["verdict"] == "supported"
    assert cost.data.params["images"] == "220"
    assert cost.data.metrics["estimate"] == pytest.approx(
        load(folder).verdicts.query("claim == 'COST'")["estimate"].iloc[0]
    )
    assert [point.step for point in curve] == [0]
    assert curve[0].value == cost.data.metrics["estimate"]


def test_tensorboard_reads_the_events(folder, tmp_path):
    pytest.importorskip("tensorboard", reason="pip install '.[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    export(folder, "tensorboard", tmp_path / "out")
    places = sorted(p for p in (tmp_path / "out").iterdir())
    last = EventAccumulator(str(places[-1])).Reload()

    assert len(places) == 10
    assert last.Scalars("estimate")[0].value == pytest.approx(
        load(folder).verdicts["estimate"].iloc[-1], rel=1e-6
    )
    assert "effect/correct" in last.Tags()["scalars"]


def test_wandb_keeps_offline_runs(folder, tmp_path):
    pytest.importorskip("wandb", reason="pip install '.[wandb]'")
    export(folder, "wandb-offline", tmp_path / "out")
    runs = sorted((tmp_path / "out" / "wandb").glob("offline-run-*"))

    assert len(runs) == 10
    assert all(list(run.glob("run-*.wandb")) for run in runs)
    end = time.monotonic() + 20  # its service writes the last one a moment later
    while not any(b"COST on" in next(run.glob("run-*.wandb")).read_bytes() for run in runs):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_package_that_is_not_here_is_named_with_the_command(folder, tmp_path, monkeypatch):
    def lacking(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(exporting.importlib, "import_module", lacking)
    for to in ("mlflow", "tensorboard", "wandb-offline"):
        extra = exporting.EXTRAS[to]
        with pytest.raises(Unavailable, match=rf"pip install 'neural-probes\[{extra}\]'"):
            export(folder, to, tmp_path / to)


def test_files_of_somebody_are_not_written_over(folder, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")

    with pytest.raises(BadInput, match="it holds files; name an empty folder"):
        export(folder, "csv", tmp_path / "mine")
    with pytest.raises(UnknownName, match="excel"):
        export(folder, "excel", tmp_path / "other")


def test_an_export_takes_the_place_of_an_earlier_one_and_never_of_a_report(
    folder, tmp_path, monkeypatch
):
    place = tmp_path / "tables"
    export(folder, "csv", place)
    before = {p.name: p.read_bytes() for p in place.iterdir()}
    assert set(json.loads(before["manifest.json"])) == set(before) - {"manifest.json"}
    (place / "mine.txt").write_text("x")
    (place / "verdicts.csv").write_text("half of")
    export(folder, "csv", place)
    assert {p.name: p.read_bytes() for p in place.iterdir()} == before | {"mine.txt": b"x"}

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(exporting.PLACES, "csv", full)
    with pytest.raises(ProbesError, match="No space left on device"):
        export(folder, "csv", place)
    assert {p.name: p.read_bytes() for p in place.iterdir()} == before | {"mine.txt": b"x"}

    with pytest.raises(BadInput, match="it holds files"):
        export(folder, "csv", folder)


def test_the_command_says_how_many_and_where(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert cli.main(["export", str(folder), "--to", "csv"]) == 0
    assert capsys.readouterr().out == "10 verdicts: exports/csv\n"
    assert (tmp_path / "exports" / "csv" / "verdicts.csv").exists()


def test_the_page_shows_what_works(tmp_path, monkeypatch, capsys):
    root = Path(__file__).parents[2]
    text = (root / "docs" / "export.md").read_text(encoding="utf-8")
    monkeypatch.chdir(root)
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(compile(block, "export.md", "exec"), {})
    assert "estimate" in capsys.readouterr().out
    commands = re.findall(r"^probes export (\S+) --to (\S+) --out (\S+)", text, re.M)
    assert [to for _, to, _ in commands] == ["csv", "mlflow", "tensorboard", "wandb-offline"]
    for report, to, out in commands[:1]:
        assert cli.main(["export", report, "--to", to, "--out", str(tmp_path / out)]) == 0
