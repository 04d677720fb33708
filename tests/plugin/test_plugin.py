"""The plugin as a user meets it: in a project that is not ours."""

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

HEAD = """
import pytest
from probes import pair
from probes.errors import BadInput
from probes.judge import rises, falls, both
from probes.measure import block_metrics
from probes.perturb import gaussian
"""
NOISE = """
@pytest.mark.subjects("resnet20@mnist5k")
@pytest.mark.claim("Noise is noise.", id="NOISE", family="f"{expect})
def test_noise(lab, claim):
    table = lab.sweep(block_metrics, under=gaussian(0, .1))
    claim.holds(rises(table, "sigma_realised", sesoi=.03))
"""
NORM = """
@pytest.mark.subjects("resnet20@mnist5k")
@pytest.mark.claim("Noise lowers the norm of h.", id="NORM", family="f"{expect})
def test_norm(lab, claim):
    table = lab.sweep(block_metrics, under=gaussian(0, .1, .25))
    claim.holds(falls(table, "l2_h", by="site", sesoi="1 %"))
"""
IMAGES = "--probes-images=200"
QUIET = "--probes-report="  # no report, where none is read


@pytest.fixture(autouse=True)
def project(pytester, elsewhere):
    pytester.makeini("[pytest]\naddopts = --strict-markers -p no:benchmark -p no:cacheprovider")
    return pytester


def write(pytester, *parts, expect=""):
    pytester.makepyfile(test_it=HEAD + "".join(p.replace("{expect}", expect) for p in parts))


def lines(pytester, folder="reports/latest"):
    return [
        json.loads(t) for t in (pytester.path / folder / "evidence.jsonl").read_text().splitlines()
    ]


def story(pytester, folder="reports/latest"):
    """What a run tells: verdicts and n exactly, numbers to six digits."""
    found = {}
    for line in lines(pytester, folder):
        for v in line["verdicts"]:
            for leaf in v["parts"] or [v]:
                key = (line["id"], line["subject"], v["label"], leaf["metric"])
                found[key] = (
                    line["overall"],
                    v["outcome"],
                    leaf["n"],
                    pytest.approx(leaf["estimate"], rel=1e-6, abs=1e-6),
                )
    return found


def test_a_supported_claim_passes_and_leaves_a_report(pytester):
    write(pytester, NOISE)
    result = pytester.runpytest(IMAGES)

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "*claims*",
            "NOISE  resnet20@mnist5k",
            "*supported*",
            "1 claim judged, 1 decided (1 supported)",
            "report: reports/latest/report.md",
        ]
    )
    for name in ("report.md", "evidence.jsonl", "manifest.json", "run.json", "verdicts.csv"):
        assert (pytester.path / "reports" / "latest" / name).exists()


def test_without_an_expectation_only_supported_passes(pytester):
    write(pytester, NORM)
    result = pytester.runpytest(IMAGES, QUIET)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*expected supported, found*"])


def expecting(pytester, verdict=None):
    """Record evidence for NORM, then expect a verdict that cites it: what was found, or another."""
    write(pytester, NORM)
    pytester.runpytest(IMAGES, "--probes-report=reports/x")
    found = lines(pytester, "reports/x")[0]["overall"]
    cited = f'("{verdict or found}", "2026-12-01", "reports/x")'
    write(pytester, NORM, expect=f', expect={{"resnet20@mnist5k": {cited}}}')
    return found


def test_an_expected_verdict_passes_whatever_it_is(pytester):
    found = expecting(pytester)
    result = pytester.runpytest(IMAGES, QUIET)

    result.assert_outcomes(passed=1)
    assert found != "supported"
    result.stdout.fnmatch_lines([f"*{found}*expected {found}*"])


def test_the_policy_supported_asks_that_of_every_claim(pytester):
    expecting(pytester)
    result = pytester.runpytest(IMAGES, QUIET, "--probes-expect=supported")

    result.assert_outcomes(failed=1)


def test_an_expectation_that_the_cited_evidence_contradicts_is_an_error(pytester):
    expecting(pytester, "supported")
    result = pytester.runpytest(IMAGES)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*expect says 'supported', but reports/x found*"])


def test_an_expectation_that_cites_nothing_is_an_error(pytester):
    write(
        pytester,
        NORM,
        expect=', expect={"resnet20@mnist5k": ("mixed", "2026-12-01", "reports/none")}',
    )

    pytester.runpytest(IMAGES).assert_outcomes(errors=1)


@pytest.mark.parametrize(
    "option",
    ["--probes-images=150", "--probes-levels=0,.25", "--probes-seed=3", "--probes-draws=2"],
)
def test_an_altered_design_has_no_expectation_and_is_reported(pytester, option):
    expecting(pytester)
    result = pytester.runpytest(IMAGES, option)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*altered design: *"])
    assert lines(pytester)[0]["altered"]


def noise_expecting(pytester, looks, images=IMAGES, first=""):
    """Record evidence for NOISE, then expect its verdict, with a number of declared looks; of the
    first one with what ``first`` declares.
    """
    write(pytester, NOISE, expect=first)
    pytester.runpytest(images, "--probes-report=reports/x")
    write(
        pytester,
        NOISE,
        expect=(
            f', looks={looks}, expect={{"resnet20@mnist5k": ("supported", "2026-12-01",'
            ' "reports/x")}'
        ),
    )


def test_an_undeclared_second_look_does_not_pass_whatever_it_finds(pytester):
    noise_expecting(pytester, 1)
    result = pytester.runpytest("--probes-images=400")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*look 2 of 1 declared: the ledger has looks with images 200*Ask as before*"]
    )


def test_a_declared_second_look_is_judged_at_half_alpha(pytester):
    noise_expecting(pytester, 2, first=", looks=2")
    pytester.runpytest("--probes-images=400", QUIET).assert_outcomes(failed=1)
    result = pytester.runpytest("--probes-images=400", "--probes-expect=supported")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*one of 2 declared looks, each at alpha 0.025*"])
    assert lines(pytester)[0]["alpha"] == 0.025


def test_trap_a17_a_look_that_is_declared_afterwards_is_one_too_many(pytester):
    noise_expecting(pytester, 2)
    result = pytester.runpytest("--probes-images=400", "--probes-expect=supported", QUIET)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*together they spend alpha 0.075 of 0.05*"])


def test_fewer_images_are_another_look_and_the_first_one_stays_the_first(pytester):
    noise_expecting(pytester, 1, "--probes-images=300")

    pytester.runpytest(IMAGES, QUIET).assert_outcomes(failed=1)
    pytester.runpytest("--probes-images=300", QUIET).assert_outcomes(passed=1)


def test_without_store_and_report_the_ledger_still_knows(pytester):
    noise_expecting(pytester, 1)
    shutil.rmtree(pytester.path / "reports" / "x")
    write(pytester, NOISE)
    result = pytester.runpytest("--probes-images=400", QUIET)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*look 2 of 1 declared*"])


def test_what_explores_is_no_look_and_is_told_apart(pytester):
    write(pytester, NOISE, expect=", exploratory=True")
    result = pytester.runpytest(IMAGES)

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*exploratory: nothing may rest on it*"])
    assert not (pytester.path / "probes-looks.jsonl").exists()
    page = (pytester.path / "reports/latest/report.md").read_text()
    assert page.index("## Exploratory") < page.index("NOISE on")
    write(
        pytester,
        NOISE,
        expect=', expect={"resnet20@mnist5k": ("supported", "2026-12-01", "reports/latest")}',
    )
    result = pytester.runpytest(IMAGES, QUIET)
    result.stdout.fnmatch_lines(["*expect cites an exploratory verdict*"])


def test_a_ledger_that_is_off_is_told_on_the_page(pytester):
    write(pytester, NOISE)
    pytester.runpytest(IMAGES, "--probes-ledger=off").assert_outcomes(passed=1)

    assert not (pytester.path / "probes-looks.jsonl").exists()
    page = (pytester.path / "reports/latest/report.md").read_text()
    assert "No ledger of looks was kept" in page


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('"1 %"', '"2 %"'), "another question: sesoi 2 % instead of 1 %"),
        (("Noise lowers", "All noise lowers"), "another sentence"),
    ],
)
def test_trap_a16_an_expectation_is_bound_to_question_and_sentence(pytester, change, told):
    expecting(pytester)
    test = pytester.path / "test_it.py"
    text = test.read_text()
    assert change[0] in text
    test.write_text(text.replace(*change))
    result = pytester.runpytest(IMAGES, QUIET)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*what was asked is altered*{told}*"])


def test_trap_a16_an_expectation_is_bound_to_alpha(pytester):
    expecting(pytester)
    result = pytester.runpytest(IMAGES, QUIET, "--probes-alpha=0.45")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*alpha 0.45 instead of 0.05*"])


def test_the_outcome_does_not_depend_on_k(pytester):
    write(pytester, NOISE, NORM)
    pytester.runpytest(IMAGES)
    together = story(pytester)
    pytester.runpytest(IMAGES, "-k", "norm")

    assert story(pytester) == {k: v for k, v in together.items() if k[0] == "NORM"}


def test_trap_p01_serial_xdist_and_junit_tell_the_same_story(pytester, run_pytest):
    write(pytester, NOISE, NORM)
    pytester.runpytest(IMAGES)
    serial = story(pytester)
    junit = pytester.runpytest(IMAGES, "--junitxml=out.xml", "--probes-report=reports/junit")
    parallel = run_pytest(IMAGES, "-n", "2", "--junitxml=two.xml", "--probes-report=reports/two")

    parallel.assert_outcomes(passed=1, failed=1)
    parallel.stdout.fnmatch_lines(["FAILED *test_norm* - NotHeld: NORM*"])
    junit.assert_outcomes(passed=1, failed=1)
    assert story(pytester, "reports/junit") == serial
    assert story(pytester, "reports/two") == serial
    assert len(lines(pytester, "reports/two")) == 2
    for name in ("out.xml", "two.xml"):
        suite = ET.parse(pytester.path / name).getroot().find("testsuite")
        assert (suite.get("failures"), suite.get("errors"), suite.get("tests")) == ("1", "0", "2")
        told = [
            {p.get("name"): p.get("value") for p in case.iter("property")}
            for case in suite.iter("testcase")
        ]
        assert {(t["probes-claim"], t["probes-subject"], t["probes-verdict"]) for t in told} == {
            (*of[:2], v[0]) for of, v in serial.items()
        }
        assert not {"probes"} & set().union(*told)  # the whole evidence stands in the report


BROKEN = """
@pytest.mark.subjects("resnet20@mnist5k")
@pytest.mark.claim("Broken.", id="BROKEN")
def test_broken(lab, claim):
    raise BadInput("typed this, allowed is that")
"""


@pytest.mark.parametrize("how", [[], ["-n", "1"], ["--junitxml=out.xml"]])
def test_trouble_in_preparing_is_an_error_in_a_claims_body_too(pytester, how, run_pytest):
    write(pytester, BROKEN)
    result = run_pytest(*how)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*BadInput: typed this, allowed is that*"])
    if "--junitxml=out.xml" in how:
        suite = ET.parse(pytester.path / "out.xml").getroot().find("testsuite")
        assert (suite.get("errors"), suite.get("failures")) == ("1", "0")


GONE = """
@pytest.mark.subjects("resnet20@mnist5k#77")
@pytest.mark.claim("Gone.", id="GONE")
def test_gone(lab, claim):
    claim.holds(rises(lab.sweep(block_metrics, under=gaussian(0, .1)), "l2_h", sesoi="1 %"))
"""


def test_what_is_not_here_is_skipped_with_the_command_that_brings_it(pytester):
    write(pytester, GONE)
    result = pytester.runpytest("-rs")

    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*probes train resnet20 mnist5k --seeds 77*"])


def test_strict_makes_a_skip_an_error(pytester):
    write(pytester, GONE)

    pytester.runpytest("--probes-strict").assert_outcomes(errors=1)


def test_trap_p04_a_skipped_claim_counts_as_neither_judged_nor_decided(pytester):
    write(pytester, GONE, NOISE)
    result = pytester.runpytest(IMAGES, QUIET)

    result.stdout.fnmatch_lines(
        ["1 claim judged, 1 decided (1 supported); 1 not judged (1 skipped)"]
    )


@pytest.mark.parametrize("given", ["True", "'supported'", "None"])
def test_what_is_no_verdict_is_refused_by_the_claim(pytester, given):
    write(pytester, NOISE.replace("    claim.holds(", f"    claim.holds({given}) or ("))
    result = pytester.runpytest(IMAGES, QUIET)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*it takes verdicts, as rises(...) gives*"])


@pytest.mark.parametrize(("calls", "sentence"), [(0, "never called"), (2, "second call")])
def test_holds_is_called_exactly_once(pytester, calls, sentence):
    body = (
        NOISE.replace("    claim.holds(", "    v = (").rstrip()
        + "\n"
        + "    claim.holds(v)\n" * calls
    )
    write(pytester, body or "    pass")
    result = pytester.runpytest(IMAGES, QUIET)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*exactly once*{sentence}*"])


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (
            '@pytest.mark.claim("S.", id="A", expects=1)\ndef test_x(claim): pass',
            "unknown argument of claim*did you mean expect",
        ),
        ('@pytest.mark.claim("S.")\ndef test_x(claim): pass', "needs an id"),
        ('@pytest.mark.claim(id="A")\ndef test_x(claim): pass', "needs a sentence"),
        (
            (
                '@pytest.mark.claim("S.", id="A")\n@pytest.mark.claim("T.", id="B")\ndef'
                " test_x(claim): pass"
            ),
            "two claim markers",
        ),
        ('@pytest.mark.claim("S.", id="A")\ndef test_x(lab): pass', "takes the fixture `claim`"),
        ("def test_x(claim): pass", "needs @pytest.mark.claim"),
        (
            (
                '@pytest.mark.subjects("resnet20@mnist5k")\n@pytest.mark.claim("S.", id="A",'
                ' expect={"resnet20@mnist": ("mixed", "2026-12-01", "r")})\ndef test_x(claim): pass'
            ),
            "unknown subject in expect 'resnet20@mnist': did you mean resnet20@mnist5k",
        ),
        ('@pytest.mark.subjects("resnet20@")\ndef test_x(lab): pass', "not of the form"),
        ("@pytest.mark.subjects()\ndef test_x(lab): pass", "at least one subject"),
        ('@pytest.mark.subjects("a@d", "a@d")\ndef test_x(lab): pass', "stands twice"),
        (
            (
                '@pytest.mark.claim("S.", id="A")\ndef test_x(claim):'
                ' pass\n@pytest.mark.claim("S.", id="A")\ndef test_y(claim): pass'
            ),
            "claim id 'A' is taken by",
        ),
    ],
)
def test_a_marker_that_is_wrong_is_a_usage_error_naming_the_test(pytester, code, sentence):
    write(pytester, code)
    result = pytester.runpytest()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*test_it.py::test_*{sentence}*"])


def test_a_marker_that_is_wrong_is_an_error_of_its_test_on_xdist_workers(pytester, run_pytest):
    write(pytester, '@pytest.mark.subjects("resnet20@")\ndef test_x(lab): pass\ndef test_y(): pass')
    result = run_pytest("-n", "1")

    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*BadInput: subject 'resnet20@' is not of the form*"])


def test_a_misspelt_marker_is_a_usage_error_without_strict_markers_too(pytester):
    pytester.makeini("[pytest]\nfilterwarnings = ignore")
    write(pytester, '@pytest.mark.subject("resnet20@mnist5k")\ndef test_x(lab): pass')
    result = pytester.runpytest()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*unknown marker 'subject': did you mean subjects?*"])


def test_trap_p02_reruns_of_a_claim_are_refused(pytester):
    write(pytester, "@pytest.mark.flaky(reruns=2)\n" + NOISE.lstrip())
    pytester.makeini("[pytest]\nmarkers = flaky: from a rerun plugin")
    result = pytester.runpytest()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*reruns and repeats are extra looks at the data*"])


def test_two_subjects_are_two_tests_and_a_pair_is_one(pytester):
    write(
        pytester,
        '@pytest.mark.subjects("resnet20@mnist5k#0", "plainnet20@mnist5k#0",'
        ' pair("resnet20@mnist5k#*", "plainnet20@mnist5k#*"))\n'
        "def test_x(lab): assert len(lab.specs) in (1, 2)\n",
    )
    result = pytester.runpytest("-v")

    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*test_x?resnet20@mnist5k#[*] + plainnet20@mnist5k#[*]?*"])


def test_the_closest_subjects_marker_wins(pytester):
    write(
        pytester,
        'pytestmark = pytest.mark.subjects("plainnet20@mnist5k")\n'
        '@pytest.mark.subjects("resnet20@mnist5k#1")\n'
        'def test_x(lab): assert [str(s) for s in lab.specs] == ["resnet20@mnist5k#1"]\n'
        'def test_y(lab): assert [str(s) for s in lab.specs] == ["plainnet20@mnist5k"]\n',
    )

    pytester.runpytest().assert_outcomes(passed=2)


def test_an_option_replaces_the_subject(pytester):
    write(pytester, NOISE)
    result = pytester.runpytest(IMAGES, "--probes-model=plainnet20#2")

    result.assert_outcomes(passed=1)
    assert lines(pytester)[0]["subject"] == "plainnet20@mnist5k#2"


def test_options_have_ini_twins(pytester):
    pytester.makeini(
        "[pytest]\nprobes_images = 210\nprobes_report = reports/ini\nprobes_alpha = .025"
    )
    write(pytester, NOISE)
    pytester.runpytest().assert_outcomes(passed=1)

    assert lines(pytester, "reports/ini")[0]["design"]["images"] == 210
    assert lines(pytester, "reports/ini")[0]["alpha"] == 0.025


@pytest.mark.parametrize("how", ["typed", "ini"])
def test_an_empty_ledger_is_none_as_an_empty_report_is(pytester, how):
    """``--probes-ledger=`` once made every claim an error: it named the folder of the project."""
    typed = ["--probes-ledger=", "--probes-report="] if how == "typed" else []
    if how == "ini":
        pytester.makeini("[pytest]\nprobes_ledger =\nprobes_report =")
    write(pytester, NOISE)
    result = pytester.runpytest(IMAGES, QUIET, *typed)

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["not counted: the ledger of looks is off"])
    assert not (pytester.path / "probes-looks.jsonl").exists()
    assert not (pytester.path / "reports").exists()


@pytest.mark.parametrize("name", ["store", "data"])
def test_an_empty_path_is_the_default_and_not_the_folder_one_is_in(pytester, name):
    write(pytester, NOISE)
    result = pytester.runpytest(IMAGES, QUIET, "--probes-ledger=", f"--probes-{name}=")

    result.assert_outcomes(passed=1)
    assert not (pytester.path / "cells").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("images", "many"), ("expect", "green"), ("levels", "a,b")]
)
def test_an_ini_value_that_is_none_is_a_usage_error(pytester, name, value):
    pytester.makeini(f"[pytest]\nprobes_{name} = {value}")
    write(pytester, NOISE)

    assert pytester.runpytest().ret != 0


def test_a_users_own_model_and_device_do_not_reach_into_the_lab(pytester):
    write(
        pytester,
        "@pytest.fixture\ndef model(): return 'mine'\n@pytest.fixture\ndef device(): return"
        " 'mine'\n@pytest.fixture\ndef images(): return 'mine'\n"
        + NOISE.replace(
            "def test_noise(lab, claim):",
            "def test_noise(lab, claim, model, device):\n    assert model == device == 'mine'",
        ),
    )

    pytester.runpytest(IMAGES, QUIET).assert_outcomes(passed=1)


def test_the_plain_fixtures_serve_a_loop_of_ones_own(pytester):
    pytester.makeconftest('pytest_plugins = ["probes.fixtures"]')
    write(
        pytester,
        "import torch\ndef test_x(model, images, noisy_loader, device):\n    assert not"
        " model.training\n    assert images.shape == (200, 1, 28, 28) and images.device.type =="
        " device.type\n    with torch.no_grad():\n        right = sum((model(x).argmax(1) =="
        " y).sum().item() for x, y in noisy_loader(0.0))\n    assert right > 190\n    noisy ="
        " torch.cat([x for x, _ in noisy_loader(.1)])\n    assert not torch.equal(noisy, images)"
        " and 0 <= noisy.min() and noisy.max() <= 1\n",
    )

    pytester.runpytest(IMAGES, QUIET).assert_outcomes(passed=1)


def test_a_design_that_can_not_decide_is_told_before_and_is_open_by_design(pytester):
    write(pytester, NOISE)
    result = pytester.runpytest("--probes-images=40")

    result.stdout.fnmatch_lines(
        [
            "*can not decide: the mean rule needs 200 images, the design has 40*",
            "1 claim judged, 0 decided (1 open by design)",
        ]
    )


def test_a_claim_that_is_over_keeps_no_laboratory_and_no_table(pytester, run_pytest):
    """pytest keeps every test to the end of its session, and other plugins what failed."""
    write(pytester, NOISE, NORM)
    pytester.makeconftest(
        "import gc\n"
        "failed = []\n"
        "def pytest_runtest_makereport(call):\n"
        "    failed.append(call.excinfo)\n"
        "def pytest_sessionfinish(session):\n"
        "    gc.collect()\n"
        "    kept = [type(o).__name__ for o in gc.get_objects()]\n"
        "    print('kept:', kept.count('Lab'), 'of', len(session.items))\n"
    )
    result = run_pytest(IMAGES, "-s")

    result.stdout.fnmatch_lines(["*kept: 0 of 2"])


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
def test_an_interrupted_run_leaves_a_partial_report_that_says_so(pytester, run_pytest, how):
    write(pytester, NOISE)
    pytester.makeconftest(  # a shell lets a job in its background ignore Ctrl-C
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def pytest_runtest_logfinish():\n"
        f"    os.kill(os.getpid(), signal.{how})\n"
    )
    result = run_pytest(IMAGES)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["interrupted: *the same command goes on from here"])
    assert "Partial" in (pytester.path / "reports" / "latest" / "report.md").read_text()


def test_a_project_without_claims_leaves_no_report_and_loads_no_torch(pytester):
    """What other plugins of this environment load is theirs: compared is with and without ours."""
    pytester.makepyfile(
        "import sys\ndef test_x():\n    heavy = {'torch', 'pandas', 'matplotlib', 'numpy'}\n"
        "    print('loaded', sorted(heavy & set(sys.modules)))\n"
    )
    told = []
    for without in ((), ("-p", "no:probes.plugin")):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:benchmark", *without],
            capture_output=True,
            text=True,
            cwd=pytester.path,
        )
        assert "1 passed" in done.stdout, done.stdout
        told += [line for line in done.stdout.splitlines() if line.startswith("loaded")]

    assert told[0] == told[1]
    assert not (pytester.path / "reports").exists()


def test_the_report_is_written_where_the_option_says_and_a_foreign_folder_is_kept(pytester):
    (pytester.path / "mine").mkdir()
    (pytester.path / "mine" / "thesis.txt").write_text("precious")
    write(pytester, NOISE)
    result = pytester.runpytest(IMAGES, "--probes-report=mine")

    result.stdout.fnmatch_lines(["no report: *not a report to replace*"])
    assert (pytester.path / "mine" / "thesis.txt").read_text() == "precious"


def test_help_names_every_option_and_markers_are_listed(pytester):
    text = pytester.runpytest("--help").stdout.str()
    names = set(re.findall(r"--probes-[a-z-]+", text))

    assert {
        "--probes-model",
        "--probes-images",
        "--probes-levels",
        "--probes-strict",
        "--probes-expect",
        "--probes-report",
    } <= names
    assert "claim(sentence" in pytester.runpytest("--markers").stdout.str()


def test_a_network_beside_the_tests_is_found_whatever_the_import_mode(pytester):
    folder = pytester.mkdir("tests")
    (folder / "nets_of_mine.py").write_text(
        "from torch import nn\n"
        "def small(channels, classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, classes))\n"
    )
    (folder / "test_it.py").write_text(
        HEAD
        + """
from probes.measure import Predictions
@pytest.mark.subjects("nets_of_mine:small:untrained@mnist5k")
@pytest.mark.claim("Noise costs.", id="COST")
def test_cost(lab, claim):
    table = lab.sweep(Predictions(floor=None), under=gaussian(0, .1))
    claim.holds(falls(table, "correct", sesoi="5 points"))
"""
    )
    done = pytester.runpytest("--import-mode=importlib", IMAGES, QUIET, "--probes-ledger=off")
    done.stdout.fnmatch_lines(["*1 claim judged*"])
