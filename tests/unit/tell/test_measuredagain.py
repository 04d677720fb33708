import json

import pandas as pd
import pytest

from probes.errors import ProbesError
from probes.store import sha256
from probes.tell import report
from probes.tell.measuredagain import beside
from tests.unit.tell.test_report import RUN, drawn, folder, line, store  # noqa: F401 - fixtures
from tests.unit.tell.test_verify import blank  # noqa: F401 - a fixture


def with_table(place, change):
    """The same report whose first table holds something else."""
    record = json.loads((place / "evidence.jsonl").read_text())
    entry = record["inputs"][0]
    frame = change(pd.read_parquet(place / entry["file"]))
    frame.to_parquet(place / entry["file"], index=False)
    entry["sha256"] = sha256(place / entry["file"])
    (place / "evidence.jsonl").write_text(json.dumps(record) + "\n")
    return place


def test_the_same_report_is_all_equal(drawn, folder):  # noqa: F811
    (one,) = beside(drawn, folder)

    assert one.problems == ()
    assert one.furthest == 0
    assert str(one) == "H1 on resnet20@mnist5k: 24,000 numbers measured again, all equal"


def test_last_digits_of_another_processor_are_none_of_its_problems(drawn, folder):  # noqa: F811
    (one,) = beside(drawn, with_table(folder, lambda t: t.assign(l2_h=t["l2_h"] * (1 + 1e-6))))

    assert one.problems == ()
    assert 0 < one.furthest < 1e-4
    assert "of their spread away" in str(one)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.assign(l2_h=t["l2_h"] * 1.01), "l2_h differs in 2,400 of 2,400 rows"),
        (lambda t: t.assign(image=t["image"] + 1), "image differs in 2,400 of"),
        (lambda t: t.iloc[1:], "its table has 2,400 rows"),
        (lambda t: t.rename(columns={"l2_h": "var_h"}), "measured again 2,400 of"),
    ],
)
def test_what_differs_is_told_with_its_first_row(drawn, folder, change, told):  # noqa: F811
    (one,) = beside(drawn, with_table(folder, change))

    assert told in one.problems[0]


def test_a_claim_that_nobody_measured_again_is_said(store, tmp_path):  # noqa: F811
    report.assemble([line(store, "H1"), line(store, "H2")], RUN, tmp_path / "a")
    report.assemble([line(store, "H1")], RUN, tmp_path / "b")
    one, other = beside(tmp_path / "a", tmp_path / "b")

    assert one.problems == ()
    assert other.problems == ("H2 on resnet20@mnist5k: it was not measured again so",)


def test_other_weights_and_another_verdict_are_said(drawn, folder):  # noqa: F811
    record = json.loads((folder / "evidence.jsonl").read_text())
    record["weights"]["resnet20@mnist5k"]["sha256"] = "other"
    record["overall"] = "supported"
    record["design"]["images_sha256"] = "ef"
    (folder / "evidence.jsonl").write_text(json.dumps(record) + "\n")
    (one,) = beside(drawn, folder)

    assert "SHA-256 of resnet20@mnist5k: it says 'cd', measured again 'other'" in one.problems[0]
    assert "SHA-256 of the images: it says 'ab', measured again 'ef'" in one.problems[1]
    assert "it says mixed" in one.problems[2]
    assert "measured again supported" in one.problems[2]


def test_designs_of_one_claim_are_told_apart(store, tmp_path):  # noqa: F811
    one, other = line(store), line(store)
    other["design"]["levels"] = [0, 0.1, 0.3]
    report.assemble([one, other], RUN, tmp_path / "a")
    report.assemble([other], RUN, tmp_path / "b")

    assert [bool(found.problems) for found in beside(tmp_path / "a", tmp_path / "b")] == [
        True,
        False,
    ]


def test_a_folder_without_evidence_is_an_error(drawn, tmp_path):  # noqa: F811
    with pytest.raises(ProbesError, match="no such file"):
        list(beside(drawn, tmp_path))
