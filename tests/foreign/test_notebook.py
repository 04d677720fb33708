"""Verdicts and tables in a notebook, which is run by Jupyter's own client."""

import re

import pandas as pd
import pytest

from probes import Lab, accuracy, falls, gaussian
from probes.judge import rich

CELLS = (
    "from probes import Lab, accuracy, falls, gaussian\n"
    "lab = Lab('resnet20@mnist5k', images=220, quiet=True)\n"
    "table = lab.sweep(accuracy, under=gaussian(0, 0.2))",
    "table",
    "found = falls(table, 'correct', sesoi='5 points')\nfound",
    "table",
)


def test_a_notebook_shows_verdicts_and_tables(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="pip install '.[notebook]'")
    pytest.importorskip("ipykernel", reason="pip install '.[notebook]'")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("PROBES_STORE", str(tmp_path / "store"))
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
    shown = [
        next((o["data"]["text/html"] for o in cell.outputs if "data" in o), "")
        for cell in book.cells
    ]

    assert "Not measured yet" in shown[1]
    assert "supported" in shown[2]
    assert "correct falls" in shown[2]
    assert "Not measured yet" not in shown[3]
    assert "<td>correct</td>" in shown[3]


@pytest.fixture
def table(tmp_path):
    lab = Lab("resnet20@mnist5k#0", tmp_path, images=220, quiet=True)
    return lab.sweep(accuracy, under=gaussian(0, 0.2))


def test_looking_at_a_table_measures_nothing(table):
    text = table._repr_html_()

    assert "Not measured yet" in text
    assert "frame" not in vars(table)
    assert "220 of mnist5k (MNIST digits)" in text


def test_numbers_are_those_of_the_verdict_and_of_the_summary(table):
    found = falls(table, "correct", sesoi="5 points")
    words, means = found._repr_html_(), table._repr_html_()
    summary = table.summary().query("metric == 'correct'")

    assert found[""].effect().split(" [")[0] in words
    assert all(f"<td>{mean:.4g}</td>" in means for mean in summary["mean"])


def test_names_are_text(table):
    found = falls(table, "correct", sesoi="5 points")
    import dataclasses

    evil = dataclasses.replace(found, scope="over <script>alert(1)</script>")

    assert "<script>" not in evil._repr_html_()
    assert "&lt;script&gt;" in evil._repr_html_()


def test_long_tables_say_how_many_rows_are_left_out():
    text = rich.grid(["a"], [[i] for i in range(35)])

    assert len(re.findall("<tr>", text)) == 31
    assert "5 further rows" in text
    assert pd.notna(text)
