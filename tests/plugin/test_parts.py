"""Shards, estimates and limits of time under pytest, as a user meets them."""

import pytest

pytestmark = pytest.mark.slow
TEST = """
import pytest
from probes.judge import falls, rises
from probes.measure import block_metrics
from probes.perturb import gaussian

@pytest.mark.subjects("resnet20@mnist5k")
@pytest.mark.claim("Noise is noise.", id="NOISE")
def test_noise(lab, claim):
    table = lab.sweep(block_metrics, under=gaussian(0, .1, .2))
    claim.holds(rises(table, "sigma_realised", sesoi=.03))

@pytest.mark.subjects("resnet20@mnist5k")
@pytest.mark.claim("Noise lowers the norm of h.", id="NORM")
def test_norm(lab, claim):
    table = lab.sweep(block_metrics, under=gaussian(0, .1, .2))
    claim.holds(falls(table, "l2_h", by="site", sesoi="1 %"))
"""


@pytest.fixture(autouse=True)
def project(pytester, elsewhere):
    pytester.makeini(
        "[pytest]\naddopts = --strict-markers -p no:benchmark -p no:cacheprovider"
        "\nprobes_images = 30\nprobes_ledger = off\nprobes_threads = 1\nprobes_store = own"
    )
    pytester.makepyfile(test_it=TEST)
    return pytester


def test_shards_fill_and_the_same_command_without_them_judges(pytester):
    first = pytester.runpytest("--probes-shard", "1/2")
    first.assert_outcomes(skipped=2)
    first.stdout.fnmatch_lines(["*not judged*", "*shard 1/2: its 2 pieces of 3 are in the store*"])
    assert not (pytester.path / "reports").exists()
    second = pytester.runpytest("--probes-shard=2/2")  # all are there now: it judges
    second.stdout.fnmatch_lines(["*2 claims judged*"])


def test_an_estimate_judges_nothing_and_counts_what_claims_share_once(pytester):
    result = pytester.runpytest("--probes-estimate")

    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(
        [
            "*NOISE*estimate: 3 pieces of work, 0 of them in the store; the others: 90 images*",
            "all claims together: 3 pieces of work, 0 of them in the store; the others: 90 images*",
        ]
    )
    assert not (pytester.path / "reports").exists()
    pytester.runpytest()
    result = pytester.runpytest("--probes-estimate")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*estimate: all of its results are in the store*"])


def test_a_total_comes_from_all_workers(pytester):
    result = pytester.runpytest("--probes-estimate", "-n", "2")

    result.stdout.fnmatch_lines(["all claims together: 3 pieces of work, 0 of them in the store*"])


def test_what_is_done_when_the_time_is_over_is_judged(pytester):
    pytester.runpytest("-k", "noise").stdout.fnmatch_lines(["*1 claim judged*"])
    pytester.makepyfile(
        test_it=TEST.replace(".1, .2))\n    claim.holds(falls", ".3))\n    claim.holds(falls")
    )
    result = pytester.runpytest("--probes-max-seconds", "1e-9")

    result.stdout.fnmatch_lines(
        ["*NORM*the 1e-09 seconds are over: 1 of 2 pieces are in the store, 1 are missing*"]
    )
    result.stdout.fnmatch_lines(["*1 claim judged*1 not judged (1 skipped)*"])


def test_work_that_takes_longer_than_allowed_is_an_error_that_names_the_way_out(pytester):
    result = pytester.runpytest("--probes-max-hours", "1e-9", "-k", "norm")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*more than 1e-09 hours: 3 pieces*--shard 1/8*"])


@pytest.mark.parametrize(
    ("option", "sentence"),
    [("--probes-shard=3/2", "shard '3/2'"), ("--probes-max-seconds=-1", "max-seconds -1")],
)
def test_what_can_not_be_is_refused(pytester, option, sentence):
    pytester.runpytest(option).stdout.fnmatch_lines([f"*{sentence}*"])
