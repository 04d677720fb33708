"""A report is a function of files; verification finds what was changed."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from probes import __version__, atomic, cli, seeds, table
from probes.errors import ProbesError
from probes.judge import both, falls, rises
from probes.judge.lazytable import summarise
from probes.judge.verdict import from_json as verdict_from_json
from probes.store import Store, sha256
from probes.studies import sections
from probes.tell import closing, composing, evidence, origins, pages, report, reportfolder
from probes.tell.verify import verify

ALL = sections()
RUN = origins.provenance(Path.cwd(), ["pytest", "-k", "h1"], {"images": 400})


def made():
    """A table as a sweep gives it, whose first block rises and whose second falls."""
    rows = []
    for site, gain in (("layer1.0", 0.05), ("layer2.0", -0.05)):
        z = seeds.normals(400, [("report", site, i) for i in range(4)]).astype(float)
        for k, level in enumerate((0.0, 0.1, 0.2)):
            rows.append(
                pd.DataFrame(
                    {
                        "net": "resnet20",
                        "weights": "shipped",
                        "dataset": "mnist5k",
                        "train_seed": 0,
                        "image": np.arange(400),
                        "draw": 0,
                        "level": level,
                        "site": site,
                        "l2_h": np.exp(z[0] / 3 + k * (gain + 0.02 * z[1])),
                        "sparsity": 0.4 - k * (gain / 5 + 0.002 * z[2]),
                        "sigma_realised": 0.8 * level,
                        "mean_shift": 0.2 * level,
                    }
                )
            )
    return table.join(rows)


def line(store, ident="H1", expect=None, verdicts=None, altered=()):
    t = made()
    found = verdicts or both(
        rises(t, "l2_h", by="site", sesoi="1 %"),
        falls(t, "sparsity", by="site", sesoi="0.5 points"),
    )
    return evidence.line(
        found,
        claim={
            "id": ident,
            "sentence": "Noise does it.",
            "family": "f",
            "test": "t.py::t",
            "expect": expect,
            "altered": list(altered),
        },
        subject="resnet20@mnist5k",
        designs=[
            {
                "dataset": "digits",
                "images": 400,
                "images_sha256": "ab",
                "levels": [0, 0.1, 0.2],
                "draws": 1,
                "seed": 0,
                "clamp": True,
                "runs": {"resnet20": 1},
                "perturbation": "gaussian",
            }
        ],
        inputs=[evidence.deposit(frame, store) for frame in found.inputs],
        extra={
            "weights": {
                "resnet20@mnist5k": {
                    "origin": "shipped",
                    "sha256": "cd",
                    "accuracy": "98.6% of 1,000",
                }
            },
            "where": {"device": "cpu", "threads": 1},
            "summary": evidence.deposit(summarise(t), store),
            "examples": evidence.deposit(np.zeros((3, 4, 1, 6, 6), np.uint8), store),
        },
    )


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    place = tmp_path_factory.mktemp("drawn")
    run = origins.provenance(place, ["pytest", "-k", "h1"], {"images": 400})
    made_here = report.assemble(
        [line(Store(place / "store"))], run, place / "reports" / "x", sections=ALL
    )
    shutil.rmtree(place / "store")  # a report is a function of its own files
    return made_here


@pytest.fixture
def folder(tmp_path, drawn):
    """A report of its own for each test."""
    return shutil.copytree(drawn, tmp_path / "reports" / "x")


def test_a_report_has_question_answer_table_figures_and_provenance(folder):
    text = (folder / "report.md").read_text()

    for part in (
        "Noise does it.",
        "**Answer: mixed**",
        "layer2.0",
        "pytest -k h1",
        "98.6% of 1,000",
        "Clamping is not neutral",
        "realised σ",
        "How to read a verdict",
        "SHA-256",
    ):
        assert part in text
    linked = [piece.split(")")[0] for piece in text.split("](")[1:] if not piece.startswith("#")]
    assert all((folder / name).exists() for name in linked)
    assert len([n for n in linked if n.endswith(".png")]) >= 5
    for name in ("l2_norm_hx_vs_noise.png", "sparsity_relu_out_vs_noise.png"):
        assert (folder / "figures" / "resnet20-mnist5k" / name).exists()


def test_a_report_holds_no_path_of_the_machine(folder, tmp_path):
    for path in folder.rglob("*"):
        if path.suffix in (".md", ".json", ".jsonl", ".csv"):
            assert str(tmp_path) not in path.read_text(), path


def test_a_fresh_report_verifies(folder):
    assert verify(folder) == []


def test_drawing_again_from_files_alone_gives_the_same_files(folder):
    before = {p.relative_to(folder): sha256(p) for p in folder.rglob("*") if p.is_file()}
    shutil.rmtree(folder / "figures")
    report.draw(folder, sections=ALL)

    assert {p.relative_to(folder): sha256(p) for p in folder.rglob("*") if p.is_file()} == before
    assert verify(folder) == []


def change_a_value(folder):
    entry = evidence.read(folder / "evidence.jsonl")[0]["inputs"][0]["file"]
    t = pd.read_parquet(folder / entry)
    t.loc[5, "l2_h"] *= 1.5
    t.to_parquet(folder / entry, index=False)


def test_a_changed_value_in_an_input_is_found_by_the_manifest(folder):
    change_a_value(folder)

    assert any("not what the manifest says" in p for p in verify(folder))


def test_a_changed_value_is_found_after_the_manifest_was_made_again_over_it(folder):
    change_a_value(folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != reportfolder.MANIFEST)
    (folder / reportfolder.MANIFEST).write_text(
        json.dumps({p.relative_to(folder).as_posix(): sha256(p) for p in files})
    )

    page, *problems = verify(folder)
    assert page.startswith("report.html was made of other files")
    assert problems
    assert all("SHA-256 differs" in p for p in problems)


def rewrite(folder, change):
    """Change the evidence line and make the manifest again, as a forger would."""
    lines = evidence.read(folder / "evidence.jsonl")
    change(lines[0])
    (folder / "evidence.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines))
    listed = json.loads((folder / reportfolder.MANIFEST).read_text())
    listed["evidence.jsonl"] = sha256(folder / "evidence.jsonl")
    (folder / reportfolder.MANIFEST).write_text(json.dumps(listed))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda r: r.update(overall="supported"),
            "the evidence says supported, its tables say mixed",
        ),
        (
            lambda r: r["verdicts"][0].update(outcome="refuted"),
            "layer1.0: the evidence says refuted",
        ),
        (lambda r: r["verdicts"][0]["parts"][0].update(estimate=9.0), "estimate"),
        (lambda r: r["verdicts"][0]["parts"][0].update(n=9), "n = 9"),
    ],
)
def test_a_changed_verdict_is_found_by_judging_again(folder, change, sentence):
    rewrite(folder, change)

    assert any(sentence in p for p in verify(folder))


def test_a_lost_and_a_new_file_are_found(folder):
    (folder / "verdicts.csv").unlink()
    (folder / "figures" / "more.png").write_text("x")
    (folder / "mine.txt").write_text("somebody's own, which the report does not tell of")
    problems = " ".join(verify(folder))

    assert "verdicts.csv is in the manifest and not in the folder" in problems
    assert "figures/more.png is in the folder and not in the manifest" in problems
    assert "mine.txt" not in problems


def test_results_without_claims_are_checked_against_their_manifest(tmp_path, capsys):
    """Also where a report lies inside, which has a manifest of its own."""
    out, inner = tmp_path / "results", tmp_path / "results" / "inner"
    inner.mkdir(parents=True)
    (out / "summary.csv").write_text("a\n1\n")
    reportfolder.manifest(out)
    (inner / "other.csv").write_text("b\n2\n")
    reportfolder.manifest(inner)

    assert verify(out) == verify(inner) == []
    (out / "summary.csv").write_text("a\n2\n")
    assert verify(out) == ["summary.csv is not what the manifest says (SHA-256 differs)"]
    assert cli.main(["verify", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert "results: summary.csv is not what the manifest says" in told
    assert "inner: verified" in told


@pytest.mark.parametrize(("expect", "wrong"), [("mixed", False), ("supported", True)])
def test_an_expectation_must_be_what_it_cites(tmp_path, store, expect, wrong):
    run = origins.provenance(tmp_path, ["pytest"], {})
    found = report.assemble(
        [line(store, expect=[expect, "2026-12-01", "reports/x"])], run, tmp_path / "reports" / "x"
    )

    assert any("expect says supported" in p for p in verify(found)) == wrong
    assert bool(verify(found)) == wrong


def test_an_expectation_that_cites_nothing_is_found(tmp_path, store):
    run = origins.provenance(tmp_path, ["pytest"], {})
    found = report.assemble(
        [line(store, expect=["mixed", "2026-12-01", "reports/no"])], run, tmp_path / "reports" / "x"
    )

    assert any("reports/no" in p for p in verify(found))


def test_a_folder_that_is_no_report_is_not_replaced(tmp_path, store):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(ProbesError, match="not a report to replace"):
        report.assemble([line(store)], origins.provenance(tmp_path, [], {}), tmp_path / "mine")

    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_a_report_that_fails_leaves_the_old_one(folder, store, monkeypatch):
    before = {p.relative_to(folder): sha256(p) for p in folder.rglob("*") if p.is_file()}
    monkeypatch.setattr(closing, "words", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.assemble([line(store)], origins.provenance(folder, [], {}), folder)

    assert {p.relative_to(folder): sha256(p) for p in folder.rglob("*") if p.is_file()} == before
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_an_altered_design_is_said(tmp_path, store):
    run = origins.provenance(tmp_path, ["pytest"], {})
    found = report.assemble(
        [line(store, altered=["images 400 instead of 1000"])], run, tmp_path / "r"
    )

    assert "Altered design:** images 400 instead of 1000" in (found / "report.md").read_text()


def test_a_partial_run_is_said(tmp_path, store):
    run = origins.provenance(tmp_path, ["pytest"], {}) | {"complete": False}

    assert (
        "Partial" in (report.assemble([line(store)], run, tmp_path / "r") / "report.md").read_text()
    )


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 99}', "nul\x00"])
def test_an_evidence_file_that_is_none_is_an_error_of_ours(tmp_path, text):
    (tmp_path / "evidence.jsonl").write_text(text + "\n")
    with pytest.raises(ProbesError, match="line 1"):
        evidence.read(tmp_path / "evidence.jsonl")


def test_noise_on_the_normalised_image_is_said(tmp_path, store):
    one = line(store)
    one["design"]["space"] = "normalised"
    text = (
        report.assemble([one], origins.provenance(tmp_path, [], {}), tmp_path / "r") / "report.md"
    ).read_text()

    assert "Gaussian noise **on the normalised image**" in text
    assert "in pixel space (range" not in text


def test_every_set_of_images_is_in_the_provenance(tmp_path, store):
    few = line(store)
    few["design"] |= {"images": 300, "images_sha256": "ef"}
    text = (
        report.assemble([line(store), few], origins.provenance(tmp_path, [], {}), tmp_path / "r")
        / "report.md"
    ).read_text()

    assert "`ab`" in text
    assert "`ef`" in text


def test_holm_over_the_claims_of_a_family_is_a_column(tmp_path, store):
    run = origins.provenance(tmp_path, [], {}) | {"families": {"f": 3}}
    text = (
        report.assemble([line(store, "A"), line(store, "B")], run, tmp_path / "r") / "report.md"
    ).read_text()

    assert "(f, 2 of 3 ran)" in text


@pytest.mark.parametrize(
    ("path", "turns"),
    [
        ((0.1, 0.02, 0.12), True),
        ((0.05, 0.1, 0.12), False),
        ((-0.1, 0.1), True),
        ((0.1, 0.095, 0.12), False),
        ((-0.05, -0.1), False),
    ],
)
def test_a_turn_inside_the_levels_is_seen(path, turns):
    import dataclasses as d

    leaf = rises(made(), "l2_h", by="site", sesoi="1 %")["layer1.0"]
    assert (
        pages._turns(
            d.replace(
                leaf, sesoi=0.01, curve=tuple((0.1 * i, v, v, v) for i, v in enumerate(path, 1))
            )
        )
        == turns
    )


def test_a_report_that_was_lost_between_two_renames_is_found_again(folder):
    old = folder.with_name(
        f".{folder.name}.999999.old"
    )  # as a process leaves it that is killed right there
    folder.rename(old)
    left, young = (
        folder.with_name(f".{folder.name}.{place}.new")
        for place in (f"4000000-{atomic._here()}", "4000000-00000000")
    )
    for place in (
        left,
        young,
    ):  # another machine that shares the folder may still write the younger one
        place.mkdir()
    with reportfolder.replacing_folder(folder) as scratch:
        assert (folder / "report.md").exists()
        scratch.joinpath("x").write_text("new")

    assert sorted(p.name for p in folder.parent.iterdir()) == sorted([folder.name, young.name])


def test_a_report_drawn_without_torch_is_the_same(folder):
    import subprocess
    import sys

    before = {p.relative_to(folder): sha256(p) for p in folder.rglob("*") if p.is_file()}
    subprocess.run(
        [sys.executable, "-m", "probes.cli", "report", str(folder)], check=True, capture_output=True
    )

    assert {p.relative_to(folder): sha256(p) for p in folder.rglob("*") if p.is_file()} == before


def test_when_the_new_report_can_not_take_its_place_the_old_one_comes_back(tmp_path, monkeypatch):
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    reportfolder.manifest(folder)
    rename = Path.rename

    def fails(self, target):
        if ".new" in self.name:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(KeyboardInterrupt), reportfolder.replacing_folder(folder) as scratch:
        (scratch / "new.txt").write_text("new")

    assert (folder / "old.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report"]


def test_trap_f17_what_somebody_laid_beside_a_report_stays_when_it_is_drawn_or_made_again(
    folder, tmp_path
):
    """Notes, a page and a folder of a user's own were once deleted without a word."""
    mine = {
        "mynotes.txt": "notes",
        "sub/deep/x.bin": "bytes",
        "figures/my.png": "picture",
        "tables/my.csv": "a,b",
    }
    for name, text in mine.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "empty").mkdir()
    report.draw(folder, sections=ALL)
    report.assemble([line(Store(tmp_path / "store"))], {**RUN, "command": "again"}, folder)

    assert {name: (folder / name).read_text() for name in mine} == mine
    assert (folder / "empty").is_dir()
    assert not set(json.loads((folder / "manifest.json").read_text())) & {
        "mynotes.txt",
        "sub/deep/x.bin",
        "figures/my.png",
    }


def test_trap_f17_a_file_that_a_report_would_write_over_is_asked_for(folder, tmp_path):
    listed = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(
        json.dumps({name: h for name, h in listed.items() if name != "verdicts.csv"})
    )
    (folder / "verdicts.csv").write_text("mine")
    with pytest.raises(
        ProbesError,
        match=r"verdicts\.csv is not in the manifest of the report, which would replace it",
    ):
        report.assemble([line(Store(tmp_path / "store"))], RUN, folder)

    assert (folder / "verdicts.csv").read_text() == "mine"


def test_a_report_of_an_earlier_version_is_judged_again_and_says_what_it_could_not(folder):
    """Fields that evidence lacked are filled; outcomes and numbers stay, and the report
    verifies."""
    lines = [json.loads(text) for text in (folder / "evidence.jsonl").read_text().splitlines()]
    for one in lines:
        for verdict in one["verdicts"]:
            for leaf in (verdict, *verdict["parts"]):
                for name in ("direction", "top", "between", "part"):
                    leaf.pop(name)
                leaf["question"] = leaf["question"].replace("1 point", "1 points")
    (folder / "evidence.jsonl").write_text(
        "".join(json.dumps(one, sort_keys=True) + "\n" for one in lines)
    )
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"probes": "0.1.0"}))
    page = (folder / "report.md").read_text()
    (folder / "report.md").write_text(page.replace(f"probes {__version__} -->", "probes 0.1.0 -->"))
    (folder / reportfolder.PAGE).unlink()  # of an earlier version there is none
    reportfolder.manifest(folder)
    assert verify(folder) == []
    assert cli.main(["report", str(folder), "--again"]) == 0
    now = [json.loads(text) for text in (folder / "evidence.jsonl").read_text().splitlines()]

    assert verify(folder) == []
    assert {leaf["top"] for one in now for v in one["verdicts"] for leaf in v["parts"]} == {0.2}
    assert [one["overall"] for one in now] == [one["overall"] for one in lines]


def test_an_outcome_that_its_tables_do_not_give_is_not_drawn_again(folder, capsys):
    text = (folder / "evidence.jsonl").read_text()
    (folder / "evidence.jsonl").write_text(
        text.replace('"overall": "mixed"', '"overall": "supported"')
    )

    assert cli.main(["report", str(folder), "--again"]) == 2
    assert "make its evidence anew" in capsys.readouterr().err


def test_the_page_has_a_line_for_the_block_and_each_part_with_its_own_outcome(folder):
    rows = [
        row.split(" | ")
        for row in (folder / "report.md").read_text().splitlines()
        if row.startswith(("| layer", "|  | "))
    ]
    found = evidence.members(json.loads((folder / "evidence.jsonl").read_text().splitlines()[0]))

    for i, member in enumerate(found):
        block, *parts = rows[3 * i : 3 * i + 3]
        assert block[:3] == [f"| {member.label}", f"**{member.outcome}**", "all parts"]
        assert [part[1] for part in parts] == [leaf.outcome for leaf in member.leaves]
        for part, leaf in zip(parts, member.leaves, strict=True):
            assert leaf.effect() in part


def test_evidence_of_an_earlier_version_has_its_side_from_its_words():
    said = {
        "x falls by more than 1 %": -1,
        "x is below minus 1": -1,
        "x decreases with the level: runs": -1,
        "x, a minus b, exceeds minus 1 points": 1,
        "x rises by more than 1 %": 1,
        "x stays within plus or minus 1": 0,
    }
    for text, side in said.items():
        record = rises(made(), "l2_h", by="site", sesoi="1 %")["layer1.0"].json() | {
            "question": text
        }
        for name in ("direction", "top", "between", "part"):
            record.pop(name)

        assert verdict_from_json(record).direction == side


def test_an_untrained_network_stands_at_the_head_of_the_page(tmp_path):
    store = Store(tmp_path / "store")
    one = line(store) | {
        "weights": {
            "a@d": {
                "origin": "untrained",
                "sha256": "x",
                "accuracy": "9.1% of 400, at chance (10.0%)",
            }
        }
    }
    report.assemble([one], RUN, tmp_path / "r")
    text = (tmp_path / "r" / "report.md").read_text()

    assert text.index("**Untrained: `a@d` have random weights, as asked for.**") < text.index(
        "| claim | subject |"
    )
    assert "** (untrained) |" in text
    assert "of an **untrained** network" in text
    assert "9.1% of 400, at chance (10.0%)" in text


def test_what_was_not_judged_is_a_table_with_reasons(tmp_path):
    lost = [
        {
            "id": "X",
            "subject": "a@d",
            "outcome": "skipped",
            "why": "bring it with `probes train a d --seeds 0`",
        }
    ]
    report.assemble([line(Store(tmp_path / "store"))], {**RUN, "not_judged": lost}, tmp_path / "r")
    text = (tmp_path / "r" / "report.md").read_text()

    assert (
        "2 claims collected. 1 claim judged, 1 decided (1 mixed); 1 not judged (1 skipped)." in text
    )
    assert "| X | `a@d` | skipped | bring it with `probes train a d --seeds 0` |" in text


@pytest.mark.slow
def test_many_claims_have_one_figure_and_their_own_where_they_are_asked_for(
    store, tmp_path, monkeypatch
):
    monkeypatch.setattr(composing, "MANY", 2)
    lines = [line(store, f"H{i}") for i in range(3)]
    folder = tmp_path / "many"
    report.assemble(lines, origins.provenance(tmp_path, [], {}), folder)

    def figures():
        shown = re.findall(r"\((figures/\S+\.png)\)", (folder / "report.md").read_text())
        assert all((folder / name).is_file() for name in shown)
        return {name for name in shown if "noise" not in name and "examples" not in name}

    assert "figures/overview.png" in figures()
    assert not any(name.startswith("figures/H") for name in figures())
    assert "`probes report FOLDER --figures` draws them" in (folder / "report.md").read_text()
    assert cli.main(["report", str(folder), "--figures"]) == 0
    assert sum("verdicts.png" in name for name in figures()) == 3
    assert cli.main(["report", str(folder)]) == 0  # and they stay
    assert sum("verdicts.png" in name for name in figures()) == 3
    assert verify(folder) == []
    monkeypatch.setattr(composing, "MANY", 3)
    report.assemble(lines, origins.provenance(tmp_path, [], {}), folder)
    assert "figures/overview.png" not in figures()
    assert sum("verdicts.png" in name for name in figures()) == 3


def test_a_page_that_is_left_of_a_report_is_no_file_of_somebody(folder, tmp_path):
    left = tmp_path / "left"
    left.mkdir()
    (left / reportfolder.PAGE).write_text("an older page, which git ignores")
    with reportfolder.replacing_folder(left) as scratch:
        (scratch / "new").write_text("x")
        (scratch / reportfolder.PAGE).write_text("a new page")

    assert (left / reportfolder.PAGE).read_text() == "a new page"
