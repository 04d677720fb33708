"""What ``probes verify`` finds after the manifest was made anew over a change."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

import probes
from probes.store import sha256
from probes.tell import plots, report, reportfolder, verify
from tests.unit.tell.test_report import ALL, RUN, drawn, folder, line, store  # noqa: F401

REPORTS = Path(__file__).parents[3] / "reports"
COMMITTED = [one for one in reportfolder.reports_in(REPORTS) if one != REPORTS / "latest"]


@pytest.fixture(autouse=True)
def blank(monkeypatch):
    """Figures are no matter here."""
    monkeypatch.setattr(plots, "write_png", without_a_picture)


def without_a_picture(figure, path, *rest):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def forged(place, name, change):
    """Change a text of a report and make everything anew that names its SHA-256."""
    path = place / name
    text = change(path.read_text())
    assert text != path.read_text()
    path.write_text(text)
    reportfolder.manifest(place)
    page = place / reportfolder.PAGE
    named = re.sub(
        '(probes-manifest" content=")[0-9a-f]{64}',
        rf"\g<1>{sha256(place / reportfolder.MANIFEST)}",
        page.read_text(),
        count=1,
    )
    page.write_text(sealed_anew(named))
    return verify.verify(place)


def sealed_anew(page):
    """A page that is sealed anew."""
    from probes.tell.sealing import SEAL, sealed

    return sealed(re.sub('<meta name="probes-page"[^>]*>', SEAL.format(""), page, count=1))


def field(name, value, part=None):
    def change(text):
        record = json.loads(text)
        holder = record if part is None else record["verdicts"][0]["parts"][part]
        holder[name] = value
        return json.dumps(record, sort_keys=True) + "\n"

    return change


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sesoi", 0.5),
        ("unit", "pixel"),
        ("rule", "another rule"),
        ("question", "l2_h falls"),
        ("wide", [-1.0, 1.0]),
        ("spread", 9.0),
        ("metric", "l2_x"),
        ("n", 4000),
        ("notes", {"rho": 1.0, "page_up": 0.0, "page_down": 1.0}),
        ("curve", [[0.1, 9.0, 8.0, 10.0]]),
        ("direction", -1),
        ("obstacle", "too few"),
        ("top", 0.4),
    ],
)
def test_any_field_of_a_verdict_that_its_tables_do_not_give_is_found(folder, name, value):  # noqa: F811
    found = forged(folder, "evidence.jsonl", field(name, value, part=0))

    assert any(f"layer1.0: the evidence says parts[0] {name}" in problem for problem in found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("counts", "2 supported, 0 refuted, 0 open"),
        ("scope", "over all networks"),
        ("judged", False),
    ],
)
def test_what_a_line_says_of_all_blocks_is_found(folder, name, value):  # noqa: F811
    found = forged(folder, "evidence.jsonl", field(name, value))

    assert any(f"the evidence says {name} = {value!r}" in problem for problem in found)


def test_a_number_of_the_table_or_of_the_page_that_the_evidence_does_not_tell_is_found(folder):  # noqa: F811
    n = re.search(r"400 images \|", (folder / "report.md").read_text())
    assert n

    assert forged(folder, "verdicts.csv", lambda text: text.replace(",400,", ",4000,", 1)) == [
        f"verdicts.csv is not the table of its evidence from line 2 on: probes report {folder}"
        " makes it anew"
    ]
    report.draw(folder, sections=ALL)
    assert forged(
        folder, "report.md", lambda text: text.replace("400 images |", "4000 images |", 1)
    ) == [
        "report.md does not tell what its evidence tells (<a"
        f' id="h1-on-resnet20-mnist5k-400"></a> ...): probes report {folder} makes it anew'
    ]


def test_the_page_of_another_version_of_the_package_is_not_compared(folder, monkeypatch):  # noqa: F811
    monkeypatch.setattr(verify, "__version__", "9.0.0")

    assert probes.__version__ != "9.0.0"
    assert (
        forged(folder, "report.md", lambda text: text.replace("Noise does it.", "It does.")) == []
    )


def test_a_claim_that_goes_from_the_evidence_or_comes_to_the_page_is_found(store, tmp_path):  # noqa: F811
    place = tmp_path / "two"
    both = [line(store, "H1"), line(store, "H2")]
    report.assemble(both, RUN, place)
    assert verify.verify(place) == []

    found = forged(place, "evidence.jsonl", lambda text: text.splitlines(keepends=True)[0])
    assert any("verdicts.csv is not the table of its evidence" in p for p in found)
    assert any("report.md does not tell what its evidence tells (# What was" in p for p in found)

    report.assemble(both, RUN, place)
    found = forged(
        place, "report.md", lambda text: text.replace("## How to read", '<a id="h9"></a>\n## H9', 1)
    )
    assert any("report.md" in p for p in found)


@pytest.mark.parametrize("name", ["evidence.jsonl", "verdicts.csv", "report.md", "run.json"])
def test_a_file_that_goes_is_missed_though_no_manifest_names_it(folder, name):  # noqa: F811
    (folder / name).unlink()
    reportfolder.manifest(folder)

    assert any(name in problem for problem in verify.verify(folder))


def test_the_numbers_behind_the_figures_are_those_that_the_evidence_names(folder):  # noqa: F811
    summary = next((folder / "tables").glob("summary-*.csv"))
    table = pd.read_csv(summary)
    table.loc[0, "mean"] += 1
    table.to_csv(summary, index=False)
    reportfolder.manifest(folder)

    assert any(f"{summary.name} was changed" in problem for problem in verify.verify(folder))


def test_one_changed_letter_of_the_page_as_a_file_is_found(folder):  # noqa: F811
    page = folder / reportfolder.PAGE
    page.write_bytes(page.read_bytes().replace(b"400 images", b"4000 images", 1))

    assert verify.verify(folder) == [
        f"report.html was changed after it was made: probes report {folder} makes it anew"
    ]
    report.draw(folder, sections=ALL)
    assert verify.verify(folder) == []


def test_a_needed_number_may_differ_by_one_from_machine_to_machine():
    assert verify._same(400, 400.0000001)
    assert not verify._same(400, 401)
    assert not verify._same(True, 1)
    assert not verify._same(0.5, 0.50001)
    assert verify._same(None, None)
    assert not verify._same(None, 0.0)


@pytest.mark.parametrize("one", COMMITTED, ids=lambda p: p.relative_to(REPORTS).as_posix())
def test_a_committed_report_is_judged_again_as_it_stands(one):
    assert verify.verify(one, REPORTS.parent) == []
