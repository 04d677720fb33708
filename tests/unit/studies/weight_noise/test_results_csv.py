"""Rows that several runs share: nothing lost, nothing doubled, what is damaged is kept aside and
said.
"""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.studies.weight_noise import results_csv

COLUMNS = {"name": str, "seed": int, "value": results_csv.number}
HEAD = "name,seed,value\n"


def fine(row):
    return "" if row["name"] in "ab" else f"is of {row['name']}"


def read(path, said=None):
    return results_csv.read(
        path, COLUMNS, fine, (said if said is not None else []).append, ["name", "seed"]
    )


def test_a_file_that_is_not_there_has_no_rows(tmp_path):
    assert list(read(tmp_path / "x.csv").columns) == list(COLUMNS)
    assert read(tmp_path / "x.csv").empty


def test_what_is_written_is_read_again_and_said_to_nobody(tmp_path):
    frame = pd.DataFrame({"name": ["a", "b"], "seed": [0, 1], "value": [1 / 3, 1e-9]})
    (tmp_path / "x.csv").write_text(results_csv.csv_text(frame))
    said = []
    first = read(tmp_path / "x.csv", said)
    (tmp_path / "x.csv").write_text(results_csv.csv_text(first))

    assert read(tmp_path / "x.csv").equals(first)
    assert said == []
    assert not (tmp_path / "aside").exists()


@pytest.mark.parametrize(
    ("text", "kept", "sentence"),
    [
        (HEAD + "a,0,1\nb,1,0.98", ["a"], "line 3 is half-written"),
        (HEAD + "a,0,1\nb,1\n", ["a"], "line 3 has no value"),
        (HEAD + "a,0,1\nc,1,2\n", ["a"], "line 3 is of c"),
        (HEAD + "a,0,nan\nb,0,1\n", ["b"], "line 2 has 'nan' for value"),
        (HEAD + "a,x,1\n", [], "line 2 has 'x' for seed"),
        ("name,value\na,1\n", [], "lacks the columns seed"),
        ("", [], "lacks the columns name, seed, value"),
        ("\x00\xff", [], "lacks the columns"),
        (HEAD + f'a,0,"{"9" * 140_000}"\n', [], "lacks the columns"),
        (HEAD + "a,0,1\na,0,2\nb,0,1\n", ["a", "b"], "line 3 stands twice"),
    ],
)
def test_what_is_damaged_is_left_out_kept_aside_and_said(tmp_path, text, kept, sentence):
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode("latin-1"))
    said = []

    assert read(path, said)["name"].tolist() == kept
    (aside,) = (tmp_path / "aside").iterdir()
    assert sentence in said[0]
    assert aside.name in said[0]
    assert aside.read_bytes() == text.encode("latin-1")


@given(st.binary(max_size=120))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_rows_or_kept_aside(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("rows")
    (folder / "x.csv").write_bytes(HEAD.encode() + content)
    said = []
    found = read(folder / "x.csv", said)

    assert bool(said) == (folder / "aside").exists()
    assert len(found) <= content.count(b"\n") + content.count(b"\r") + 1
    assert (folder / "x.csv").read_bytes() == HEAD.encode() + content


row = st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.floats(-1, 1))


@given(st.lists(row, max_size=8), st.lists(row, max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_merge_holds_every_key_once_and_the_new_rows(old, new):
    key = ["name", "seed"]
    a, b = (
        pd.DataFrame(part, columns=list(COLUMNS)).drop_duplicates(key, keep="last")
        for part in (old, new)
    )
    both = results_csv.merge(a, b, key)
    found = {
        (r.name_, r.seed): r.value for r in both.rename(columns={"name": "name_"}).itertuples()
    }

    assert len(both) == len(found)
    assert found == {(n, s): v for n, s, v in old} | {(n, s): v for n, s, v in new}
    assert results_csv.merge(both, b, key).equals(both)
