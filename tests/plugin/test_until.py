"""Claims that are decided as soon as they are, as a user meets them."""

import json
import re

import pytest

from probes.tell import verify

TEST = """
import pytest
from probes.judge import falls, rises
from probes.measure import block_metrics
from probes.perturb import gaussian

@pytest.mark.subjects("resnet20@mnist5k")
@pytest.mark.claim("Noise is noise.", id="NOISE"{more})
def test_noise(lab, claim):
    table = lab.sweep(block_metrics, under=gaussian(0, .1))
    claim.holds(rises(table, "sigma_realised", sesoi=.03))

@pytest.mark.subjects("resnet20@mnist5k")
@pytest.mark.claim("Noise lowers the norm of h.", id="NORM"{more})
def test_norm(lab, claim):
    table = lab.sweep(block_metrics, under=gaussian(0, .1, .25))
    claim.holds(falls(table, "l2_h", by="site", sesoi="1 %"))
"""


@pytest.fixture(autouse=True)
def project(pytester, elsewhere):
    pytester.makeini("[pytest]\naddopts = --strict-markers -p no:benchmark -p no:cacheprovider")
    pytester.makepyfile(test_it=TEST.replace("{more}", ", until=1000"))
    return pytester


def lines(pytester, folder="reports/latest"):
    text = (pytester.path / folder / "evidence.jsonl").read_text().splitlines()
    return {(one := json.loads(t))["id"]: one for t in text}


def told(one):
    return one["overall"], one["until"], [v["outcome"] for v in one["verdicts"]]


def test_looks_are_printed_kept_drawn_and_verified(pytester):
    result = pytester.runpytest()

    result.stdout.fnmatch_lines(["*look 1 of 2, 500 images: 1 of 1 block decided*"])
    noise = lines(pytester)["NOISE"]
    assert (noise["overall"], noise["design"]["images"]) == ("supported", 500)
    assert noise["until"]["images"] == 1000
    assert "after 500 of at most 1,000 images (look 1 of 2" in noise["scope"]
    assert noise["verdicts"][0]["n"] == 500
    folder = pytester.path / "reports/latest"
    assert verify.verify(folder) == []
    page = (folder / "report.md").read_text()
    (figure,) = re.findall(r"\((figures/NOISE\S*looks.png)\)", page)
    assert (folder / figure).exists()
    assert "effect [95 %]" in page
    book = (pytester.path / "probes-looks.jsonl").read_text()
    assert {json.loads(one)["until"] for one in book.splitlines()} == {1000}


@pytest.mark.slow
def test_verdicts_are_the_same_with_two_workers_and_from_a_half_full_store(
    pytester, run_pytest, monkeypatch, tmp_path
):
    monkeypatch.setenv("PROBES_STORE", str(tmp_path / "store"))
    pytester.runpytest("--probes-report=reports/one", "--probes-ledger=off")
    for cell in sorted((tmp_path / "store" / "cells").glob("*"))[::3]:
        cell.unlink()  # what a kill leaves: some pieces
    run_pytest("-n", "2", "--probes-report=reports/two", "--probes-ledger=off")
    one, two = lines(pytester, "reports/one"), lines(pytester, "reports/two")

    assert {name: told(v) for name, v in one.items()} == {name: told(v) for name, v in two.items()}


def test_a_later_look_measures_only_what_is_new(pytester, monkeypatch, tmp_path):
    monkeypatch.setenv("PROBES_STORE", str(tmp_path / "store"))
    test = pytester.path / "test_it.py"
    test.write_text(test.read_text().replace('falls(table, "l2_h"', 'rises(table, "l2_h"', 1))
    test.write_text(test.read_text().replace('sesoi="1 %"', 'sesoi="0.5 %"'))
    result = pytester.runpytest("-k", "norm", "--probes-report=", "--probes-ledger=off")
    result.stdout.fnmatch_lines(["*look 1 of 2*8 of 9*", "*look 2 of 2*"])
    rows = [
        json.loads(path.read_text())["key"]
        for path in (tmp_path / "store" / "cells").glob("*.json")
    ]
    rows = [key for key in rows if key["measure"].get("kind") == "block_metrics"]
    assert sorted({tuple(key["range"]) for key in rows}) == [(0, 500), (500, 1000)]
    assert len(rows) == 2 * 3


def test_the_option_goes_before_the_marker_and_both_numbers_are_too_many(pytester):
    result = pytester.runpytest("--probes-until=600", "-k", "noise", "--probes-report=")
    result.stdout.fnmatch_lines(["*look 1 of 2, 300 images*"])

    result = pytester.runpytest("--probes-until=600", "--probes-images=200")
    result.stderr.fnmatch_lines(["*--probes-images 200 with --probes-until 600*"])


def test_more_images_than_there_are_is_an_error_that_says_so(pytester):
    result = pytester.runpytest("--probes-until=6000", "-k", "noise", "--probes-report=")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*6000 images of mnist5k*there are 1000*"])
