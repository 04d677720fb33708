import json
import shutil
import sys

import pandas as pd
import pytest

from probes import cli
from probes.commands.rerun import command_of, rerun
from probes.errors import BadInput, ProbesError
from probes.store import sha256
from probes.studies import sections
from probes.table import KEYS
from probes.tell import plots, report, reportfolder
from tests.unit.tell.test_verify import without_a_picture

MADE = ["run", "dynamics", "resnet20", "--images", "100", "--levels", "0,.1", "--out"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as blank:
        blank.setattr(plots, "write_png", without_a_picture)
        assert cli.main([*MADE, str(place / "x"), "--store", str(place / "store")]) == 0
    run = json.loads((place / "x" / "run.json").read_text())
    run["command"] = "probes " + " ".join(MADE) + " x"
    (place / "x" / "run.json").write_text(json.dumps(run))
    with pytest.MonkeyPatch.context() as blank:
        blank.setattr(plots, "write_png", without_a_picture)
        report.draw(place / "x", sections=sections())
    return place / "x"


def test_a_report_is_measured_again_cell_by_cell(made, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PROBES_STORE", str(tmp_path / "store"))
    before = sorted(p.name for p in tmp_path.iterdir())

    assert cli.main(["verify", str(made), "--rerun"]) == 0
    told = capsys.readouterr().out
    assert "H0 on resnet20@mnist5k: 9,000 numbers measured again, all equal" in told
    assert sorted(p.name for p in tmp_path.iterdir()) == before  # it leaves nothing


@pytest.mark.slow
def test_a_forged_table_is_found(made, tmp_path, monkeypatch, capsys):
    """A number of a table, its SHA-256, the verdict and the pages are made up together: verify
    alone finds nothing.
    """
    folder = tmp_path / "x"
    shutil.copytree(made, folder)
    lines = [json.loads(text) for text in (folder / "evidence.jsonl").read_text().splitlines()]
    name = lines[0]["inputs"][0]["file"]
    frame = pd.read_parquet(folder / name)
    (metric,) = set(frame.columns) - set(KEYS)
    frame.loc[7, metric] *= 1.5
    frame.to_parquet(folder / name, index=False)
    for line in lines:
        for entry in line["inputs"]:
            entry["sha256"] = sha256(folder / name) if entry["file"] == name else entry["sha256"]
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
    (folder / "evidence.jsonl").write_text(text)
    report.draw(folder, again=True, changed=True, sections=sections())
    monkeypatch.setenv("PROBES_STORE", str(tmp_path / "store"))

    assert cli.main(["verify", str(folder)]) == 0
    assert cli.main(["verify", str(folder), "--rerun"]) == 1
    assert f"{metric} differs in 1 of 1,800 rows; row 7 says" in capsys.readouterr().out


def test_what_can_not_be_measured_again_is_said(made, tmp_path):
    run = json.loads((made / "run.json").read_text())
    folder = tmp_path / "x"
    folder.mkdir()
    run["command"] = "probes run dynamics nosuchnet --out x"
    (folder / "run.json").write_text(json.dumps(run))

    with pytest.raises(ProbesError, match=r"the command ended with 2\n.*nosuchnet"):
        rerun(folder)


@pytest.mark.parametrize(
    "text",
    [
        "rm -rf /",
        "",
        "pytest -p evil",
        "pytest --rootdir=/tmp/x",
        "pytest -c /tmp/evil.ini",
        "pytest /tmp/evil.py",
        "pytest ../evil.py::test",
        "pytest --confcutdir /tmp",
        "pytest -o addopts=x",
        "python -c 'import os'",
        "probes compare a b",
        "probes run dynamics 'unclosed",
    ],
)
def test_no_command_of_a_stranger_is_run(text, tmp_path):
    with pytest.raises(BadInput, match="its command"):
        command_of(text, tmp_path)


def test_tests_are_chosen_as_they_were_and_the_report_goes_elsewhere(tmp_path):
    text = "pytest tests/a.py -k 'a or b' -m slow -q --probes-report reports/x -p no:cacheprovider"
    found = command_of(text, tmp_path)

    assert found[:3] == [sys.executable, "-m", "pytest"]
    assert found[3:8] == ["tests/a.py", "-k", "a or b", "-m", "slow"]
    assert "reports/x" not in found
    assert f"--probes-report={tmp_path}" in found


def test_the_manifest_names_what_is_there(made):
    assert set(json.loads((made / reportfolder.MANIFEST).read_text())) >= {"evidence.jsonl"}
