"""Reports in short: the state, Markdown that fits, XML and JSON that parse, a badge."""

import copy
import json
import subprocess
from xml.etree import ElementTree as ET

import jsonschema
import numpy as np
import pytest
import torch
from torch import nn

import probes
from probes import Lab, accuracy, falls, gaussian
from probes.cli import main
from probes.errors import ProbesError
from probes.tell import origins, shared
from probes.tell.summary import SCHEMA_FILE, summary

SCHEMA = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report of two claims, and one of a comparison, of networks that say next to nothing."""
    folder = tmp_path_factory.mktemp("reports")
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(300, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 300)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("probes.tell.plots.save", lambda figure, path: None)
        lab = Lab(network(0), images, store=folder / "store", quiet=True)
        table = lab.sweep(accuracy, under=gaussian(0, 0.2))
        lab.claim("It falls.", falls(table, "correct", sesoi="5 points"), id="FALL")
        lab.claim("Its <loss> falls.", falls(table, "loss", sesoi=0.1), id="LOSS")
        lab.report(folder / "claims")
        probes.compare(
            *(network(0), network(1), images),
            under="noise:.2",
            margin="5 points",
            store=folder / "store",
            out=folder / "compared",
        )
    return folder


@pytest.fixture
def claims(made, tmp_path):
    """The report of claims, as pytest would have left it: ``claims(passed=[...], lost=[...])``."""

    def make(passed, lost=(), **run):
        lines = [
            json.loads(line) | {"passed": ok, "test": "t", "expect": None}
            for line, ok in zip(
                (made / "claims" / "evidence.jsonl").read_text().splitlines(), passed, strict=True
            )
        ]
        folder = tmp_path / "claims"
        folder.mkdir()
        (folder / "evidence.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
        told = json.loads((made / "claims" / "run.json").read_text())
        told |= {"not_judged": list(lost), **run}
        (folder / "run.json").write_text(json.dumps(told))
        return folder

    return make


def compared(made, tmp_path, **first):
    """The report of the comparison with other answers: ``compared(..., clean="worse")``."""
    found = summary([made / "compared"])
    found = copy.deepcopy(found)
    for row in found["reports"][0]["comparison"]["rows"]:
        row["answer"] = first.get(row["condition"], row["answer"])
    return found


def test_every_summary_keeps_to_its_schema(made, claims):
    lost = {"id": "X", "subject": "a@d", "outcome": "skipped", "why": "no data"}
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for folders in ([made / "claims"], [made / "compared"], [claims([True, False], [lost])]):
        jsonschema.validate(summary(folders), SCHEMA)

    broken = summary([made / "compared"])
    broken["reports"][0]["comparison"]["rows"][0]["answer"] = "good"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, SCHEMA)


@pytest.mark.parametrize(
    ("passed", "outcome", "run", "state"),
    [
        ([True, True], None, {}, "passed"),
        ([True, True], "skipped", {}, "passed"),
        ([True, True], "error", {}, "failed"),
        ([True, False], None, {}, "failed"),
        ([True, True], None, {"complete": False}, "failed"),
    ],
)
def test_a_report_has_failed_where_a_claim_is_not_as_expected(claims, passed, outcome, run, state):
    lost = [{"id": "X", "subject": "a@d", "outcome": outcome, "why": "so"}] if outcome else []
    found = summary([claims(passed, lost, **run)])

    assert found["state"] == state
    assert shared.WORDS[state] in shared.markdown(found).splitlines()[0]


def test_claims_of_a_study_are_told_and_decide_nothing(made):
    found = summary([made / "claims"])

    assert found["state"] == "passed"
    assert {c["passed"] for c in found["reports"][0]["claims"]} == {None}
    assert {c["expected"] for c in found["reports"][0]["claims"]} == {None}


def test_a_comparison_is_as_its_answer(made):
    found = summary([made / "compared"])
    answer = found["reports"][0]["comparison"]["answer"]

    assert found["state"] == {"worse": "failed", "open": "open"}.get(answer, "passed")
    assert found["words"] == found["reports"][0]["comparison"]["said"]
    assert f"Probes: {answer}" in shared.markdown(found)


def test_rows_that_matter_come_first_and_the_link_last(made, tmp_path):
    noise = "Gaussian noise, noise σ 0.2"
    found = compared(made, tmp_path, clean="not worse", **{noise: "worse"})
    text = shared.markdown(found, "https://example.org/run/1")

    assert text.index(noise) < text.index("| clean |")
    assert text.splitlines()[-1] == "[Report, figures and tables](https://example.org/run/1)"


def test_markdown_has_fewer_than_60_lines_whatever_there_is(made, claims, tmp_path):
    found = summary([made / "compared"])
    rows = found["reports"][0]["comparison"]["rows"]
    rows += [rows[0] | {"condition": f"fog {i}"} for i in range(200)]
    many = {**found, "reports": found["reports"] * 40}
    bad = summary([claims([False, False])])
    bad["reports"][0]["claims"] *= 50

    for one in (found, many, bad):
        text = shared.markdown(one, "https://example.org")
        assert len(text.splitlines()) < 60
        assert text.splitlines()[-1] == "[Report, figures and tables](https://example.org)"


def test_names_of_users_are_text(made, tmp_path):
    found = compared(made, tmp_path)
    row = found["reports"][0]["comparison"]["rows"][0]
    row |= {"condition": "<script>alert(1)</script> | [a](b)", "why": "a\nb"}
    text = shared.markdown(found)

    assert "&lt;script&gt;alert(1)&lt;/script&gt; \\| \\[a](b)" in text
    assert "<script>" not in shared.badge({**found, "reports": []})
    assert ET.fromstring(shared.junit(found)) is not None


def test_junit_has_a_case_for_each_claim_with_what_went_wrong(claims):
    lost = [
        {"id": "X", "subject": "a@d", "outcome": "error", "why": "no <data>\x00"},
        {"id": "Y", "subject": "a@d", "outcome": "skipped", "why": "not here"},
    ]
    suite = ET.fromstring(shared.junit(summary([claims([True, False], lost)])))[0]

    assert suite.attrib == {
        "name": suite.get("name"),
        **{"tests": "4", "failures": "1", "errors": "1", "skipped": "1"},
    }
    assert [case[0].tag for case in suite] == ["system-out", "failure", "error", "skipped"]
    assert suite[2][0].text == r"no <data>\x00"


def test_junit_of_a_comparison_has_a_case_for_each_condition(made, tmp_path):
    noise = "Gaussian noise, noise σ 0.2"
    found = compared(made, tmp_path, clean="open", **{noise: "worse"})
    suite = ET.fromstring(shared.junit(found))[0]

    assert [(case.get("name"), case[0].tag) for case in suite] == [
        ("correct, clean", "skipped"),
        (f"correct, {noise}", "failure"),
    ]


def contrast(colour):
    """Of white text on a colour, as WCAG defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)


def test_a_badge_is_a_picture_that_can_be_read(made):
    found = summary([made / "compared"])
    picture = ET.fromstring(shared.badge(found))
    texts = [e.text for e in picture.iter("{http://www.w3.org/2000/svg}text")]
    answer = found["reports"][0]["comparison"]["answer"]

    assert texts == ["probes", answer]
    assert picture.get("aria-label") == f"probes: {answer}"
    assert all(contrast(colour) >= 4.5 for colour in (*shared.COLOURS.values(), "#444444"))


def test_evidence_that_is_older_than_the_code_is_told(tmp_path):
    def git(*words):
        done = ["git", "-C", str(tmp_path), "-c", "user.email=a@b.c", "-c", "user.name=a", *words]
        return subprocess.run(done, capture_output=True, text=True, check=True).stdout.strip()

    def commit(name, text):
        (tmp_path / name).write_text(text)
        git("add", "."), git("commit", "-qm", "more")
        return git("rev-parse", "HEAD")

    git("init", "-q")
    first = commit("net.py", "a = 1\n")
    run = {"commit": first, "dirty": False, "probes": probes.__version__}
    assert origins.older(run, tmp_path) == []

    (tmp_path / "net.py").write_text("a = 3\n")
    assert origins.older(run, tmp_path) == [
        f"Python files were changed since {first[:10]}, without a commit"
    ]
    git("checkout", "-q", "net.py")
    commit("notes.md", "words")
    assert origins.older(run, tmp_path) == []

    commit("net.py", "a = 2\n")
    assert origins.older(run, tmp_path) == [
        f"the evidence is older than the code that made it: 1 commit changes Python files since"
        f" {first[:10]}"
    ]
    other = {"commit": "0" * 40, "dirty": True, "probes": "0.0.9"}
    assert origins.older(other, tmp_path) == [
        "the evidence is of commit 0000000000, which is not in this checkout",
        f"made by probes 0.0.9, this is {probes.__version__}",
    ]


def test_the_command_prints_each_form(made, capsys, monkeypatch):
    folder = str(made / "compared")
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://example.org")
    monkeypatch.setenv("GITHUB_REPOSITORY", "me/net")
    monkeypatch.setenv("GITHUB_RUN_ID", "7")
    said = {}
    for form in ("--markdown", "--junit", "--json", "--badge"):
        assert main(["summary", folder, form]) == 0
        said[form] = capsys.readouterr().out

    assert "(https://example.org/me/net/actions/runs/7)" in said["--markdown"]
    jsonschema.validate(json.loads(said["--json"]), SCHEMA)
    assert ET.fromstring(said["--junit"].encode()).tag == "testsuites"
    assert said["--badge"].startswith("<svg")


def test_all_forms_are_written_at_once(made, tmp_path, capsys):
    assert main(["summary", str(made / "compared"), "--out", str(tmp_path / "s")]) == 0
    assert capsys.readouterr().out == ""
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == [
        *("badge.svg", "junit.xml", "summary.json", "summary.md")
    ]
    jsonschema.validate(json.loads((tmp_path / "s" / "summary.json").read_text()), SCHEMA)


def test_a_folder_of_reports_is_summed_up_and_one_that_is_none_is_refused(made, tmp_path, capsys):
    assert main(["summary", str(made)]) == 0
    assert "| report |  | found |" in capsys.readouterr().out
    assert main(["summary", str(tmp_path)]) == 2
    with pytest.raises(ProbesError, match="no such file"):
        summary([tmp_path])
