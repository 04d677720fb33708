"""The plugin in other people's projects, and beside other people's plugins: it looks at what is its
own.
"""

import json

import pytest

HEAD = """
import pytest
from probes.judge import rises
from probes.measure import block_metrics
from probes.perturb import gaussian
"""
NOISE = """
@pytest.mark.subjects("resnet20@mnist5k")
@pytest.mark.claim("Noise is noise.", id="NOISE", family="f")
def test_noise(lab, claim):
    claim.holds(rises(lab.sweep(block_metrics, under=gaussian(0, .1)), "sigma_realised", sesoi=.03))
"""
OTHER = NOISE.replace("NOISE", "OTHER").replace("test_noise", "test_other")
IMAGES = "--probes-images=200"
QUIET = "--probes-report="  # no report, where none is read


@pytest.fixture(autouse=True)
def project(pytester, elsewhere):
    pytester.makeini("[pytest]\naddopts = -p no:benchmark -p no:cacheprovider -p no:randomly")
    return pytester


# --- F10: marks, fixtures and folders of others
# ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mark",
    [
        "claim('paid', year=2026)",
        "claim('paid')",
        "claim",
        "claims",
        "subject(7)",
        "subjects",
        "subject",
        "claim('A.', id='X')",
    ],
)
@pytest.mark.parametrize("strict", [(), ("--strict-markers",)])
def test_trap_f10_a_registered_mark_of_others_is_left_alone(pytester, mark, strict):
    name = mark.partition("(")[0]
    pytester.makeini(f"[pytest]\nmarkers =\n    {name}: of theirs\n")
    pytester.makepyfile(f"import pytest\n@pytest.mark.{mark}\ndef test_a(): pass\n")
    result = pytester.runpytest(*strict)

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*claims*judged*")


@pytest.mark.parametrize("name", ["claim", "model", "device", "images", "lab", "noisy_loader"])
def test_trap_f10_a_fixture_of_others_is_theirs(pytester, name):
    pytester.makepyfile(
        f"import pytest\n@pytest.fixture\ndef {name}(): return 7\ndef test_a({name}): assert {name}"
        " == 7\n"
    )

    pytester.runpytest().assert_outcomes(passed=1)


@pytest.mark.parametrize("name", ["model", "device", "images", "noisy_loader"])
def test_trap_f10_the_plain_fixtures_are_there_where_they_are_asked_for(pytester, name):
    pytester.makepyfile(f"def test_a({name}): assert {name} is not None\n")
    pytester.runpytest(IMAGES, QUIET).assert_outcomes(errors=1)
    pytester.makeconftest('pytest_plugins = ["probes.fixtures"]\n')

    pytester.runpytest(IMAGES, QUIET).assert_outcomes(passed=1)


def test_trap_f10_a_folder_called_claim_is_nothing_to_us(pytester):
    folder = pytester.mkdir("claim")
    (folder / "test_a.py").write_text("import pytest\ndef test_a(): pytest.skip('x')\n")
    result = pytester.runpytest()

    result.assert_outcomes(skipped=1)
    result.stdout.no_fnmatch_line("*= claims =*")


def test_an_error_of_ours_in_a_test_that_is_no_claim_is_what_it_is_anywhere(pytester):
    pytester.makepyfile(
        "from probes.errors import BadInput, Unavailable\n"
        "def test_a(): raise BadInput('x')\ndef test_b(): raise Unavailable('y')\n"
    )

    pytester.runpytest().assert_outcomes(failed=2)


def test_a_typo_in_a_claim_is_found_and_in_another_test_is_not(pytester):
    pytester.makepyfile(HEAD + NOISE.replace("mark.subjects", "mark.subject"))
    result = pytester.runpytest(IMAGES, QUIET)
    assert (
        "unknown marker 'subject': did you mean subjects?"
        in result.stderr.str() + result.stdout.str()
    )

    pytester.makepyfile("import pytest\n@pytest.mark.subject\ndef test_a(): pass\n")
    pytester.runpytest("-W", "ignore").assert_outcomes(passed=1)


# --- F9: everything but the verdict is an error
# ----------------------------------------------------------------------------


BROKEN = {
    "network": (
        "resnet20:untrained",
        "lab.sweep(Breaks(), under=gaussian(0, .1)).frame",
        "IndexError: a fault of the measure",
    ),
    "body": ("resnet20", "[][3]", "IndexError: list index out of range"),
    "assert": ("resnet20", "assert 1 == 2", "AssertionError"),
    "fail": ("resnet20", "pytest.fail('by hand')", "by hand"),
}
MEASURE = """
import contextlib
from probes import Measure
class Breaks(Measure):
    name = "breaks"
    def key(self): return {"kind": "breaks"}
    def count(self, model): return 1
    @contextlib.contextmanager
    def open(self, model):
        raise IndexError("a fault of the measure")
        yield
"""


@pytest.mark.parametrize("what", BROKEN)
def test_trap_f09_trouble_in_a_claim_is_an_error_with_the_users_own_lines(pytester, what):
    net, line, says = BROKEN[what]
    pytester.makepyfile(
        HEAD
        + MEASURE
        + f"""
@pytest.mark.subjects("{net}@mnist5k")
@pytest.mark.claim("Noise is noise.", id="X")
def test_x(lab, claim):
    {line}
    claim.holds(None)
"""
    )
    result = pytester.runpytest(IMAGES)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            f"*{says}*",
            "*test_trap_f09*.py:*: in test_x*",
            "*not judged*",
            f"*X  {net}@mnist5k: error: *{says}*",
        ]
    )
    assert "site-packages" not in "\n".join(
        line for line in result.outlines if "site-packages/torch" in line
    )


def test_what_was_not_judged_stands_on_page_and_terminal_and_the_sum_is_what_was_collected(
    pytester,
):
    pytester.makepyfile(
        HEAD
        + NOISE
        + OTHER
        + """
@pytest.mark.subjects("resnet20@cifar10")
@pytest.mark.claim("A.", id="NODATA")
def test_nodata(lab, claim):
    claim.holds(rises(lab.sweep(block_metrics, under=gaussian(0, .1)), "sigma_realised", sesoi=.03))

@pytest.mark.subjects("resnet20@mnist5k")
@pytest.mark.claim("B.", id="FORGOT")
def test_forgot(lab, claim): pass

@pytest.mark.subjects("resnet20@mnist5k")
@pytest.mark.claim("C.", id="BROKEN")
def test_broken(lab, claim): 1 / 0

@pytest.mark.xfail
@pytest.mark.subjects("resnet20@mnist5k")
@pytest.mark.claim("D.", id="XFAIL")
def test_xfail(lab, claim):
    claim.holds(rises(lab.sweep(block_metrics, under=gaussian(0, .1)), "sigma_realised", sesoi=.3))
"""
    )
    result = pytester.runpytest(IMAGES, "-k", "not other")
    text = (pytester.path / "reports/latest/report.md").read_text()

    result.stdout.fnmatch_lines(
        [
            "*not judged*",
            "*OTHER  resnet20@mnist5k: deselected: a member of the family 'f'",
            "*NODATA  resnet20@cifar10: skipped: cifar10: no folder with datasets*",
            (
                "*FORGOT  resnet20@mnist5k: failed: claim.holds() is called exactly once per claim:"
                " it was never called"
            ),
            "*BROKEN  resnet20@mnist5k: error: ZeroDivisionError: division by zero",
            (
                "*2 claims judged, 2 decided (1 supported, 1 refuted);"
                " 4 not judged (1 skipped, 1 with errors, 1 without a verdict, 1 deselected)"
            ),
        ]
    )
    assert "6 claims collected. 2 claims judged" in text
    for ident in ("OTHER", "NODATA", "FORGOT", "BROKEN"):
        assert f"| {ident} | `resnet20@" in text


def test_a_run_in_which_nothing_was_judged_says_so_and_exits_as_pytest_does(pytester):
    pytester.makepyfile(HEAD + NOISE.replace("@mnist5k", "@cifar10"))
    result = pytester.runpytest(IMAGES)

    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "*NOISE  resnet20@cifar10: skipped: *`PROBES_DATA=data probes fetch cifar10`*",
            "0 claims judged, 0 decided; 1 not judged (1 skipped)",
            "nothing was judged: no report was written",
        ]
    )
    assert not (pytester.path / "reports").exists()


# --- parameters beside the subjects
# ----------------------------------------------------------------------------------------


def test_parameters_of_a_claim_stand_in_its_id_its_anchor_its_figures_and_holm(pytester):
    pytester.makepyfile(
        HEAD
        + """
@pytest.mark.parametrize("sigma", [.1, .2])
@pytest.mark.parametrize("sesoi", [".03", ".3"])
@pytest.mark.subjects("resnet20@mnist5k")
@pytest.mark.claim("Noise is noise.", id="P", family="f")
def test_p(lab, claim, sigma, sesoi):
    claim.holds(rises(lab.sweep(block_metrics, under=gaussian(0, sigma)), "sigma_realised", sesoi=sesoi))
"""  # noqa: E501
    )
    pytester.runpytest(IMAGES)
    folder = pytester.path / "reports/latest"
    lines = [json.loads(text) for text in (folder / "evidence.jsonl").read_text().splitlines()]
    text = (folder / "report.md").read_text()

    assert {line["id"] for line in lines} == {
        f"P[sesoi={b}, sigma={a}]" for a in ("0.1", "0.2") for b in (".03", ".3")
    }
    assert len(list(folder.rglob("verdicts.png"))) == 4
    assert len({row for row in text.splitlines() if row.startswith("<a id=")}) == 4
    assert text.count("(f, 4 of 4 ran)") == 4


def test_parameters_that_print_alike_are_told_apart_as_pytest_tells_them(pytester):
    pytester.makepyfile(
        HEAD
        + """
class Thing: pass
CASES = [.12345678, .12345679, 1, 1.0, lambda: .1, lambda: .2, Thing(), Thing(), None, pytest.param(3, id="mine")]
@pytest.mark.parametrize("s", CASES)
@pytest.mark.subjects("resnet20@mnist5k")
@pytest.mark.claim("Noise is noise.", id="P", family="f")
def test_p(lab, claim, s):
    claim.holds(rises(lab.sweep(block_metrics, under=gaussian(0, .1)), "sigma_realised", sesoi=.03))
"""  # noqa: E501
    )
    pytester.runpytest(IMAGES)
    folder = pytester.path / "reports/latest"
    ids = [json.loads(text)["id"] for text in (folder / "evidence.jsonl").read_text().splitlines()]

    assert len(set(ids)) == 10
    assert not [ident for ident in ids if "0x" in ident]
    assert {"P[s=0.12345678]", "P[s=0.12345679]", "P[s=None]", "P[mine]"} <= set(ids)
    assert (folder / "report.md").read_text().count("(f, 10 of 10 ran)") == 10


def test_collecting_only_tells_nothing_of_claims(pytester):
    pytester.makepyfile(HEAD + NOISE)
    pytester.runpytest("--collect-only").stdout.no_fnmatch_line("*not judged*")


@pytest.mark.parametrize("mark", ["claim", "claim('insurance', number=3)"])
def test_trap_f10_an_unregistered_mark_without_our_signature_is_left_alone(pytester, mark):
    pytester.makepyfile(f"import pytest\n@pytest.mark.{mark}\ndef test_a(): pass\n")

    pytester.runpytest("-W", "ignore").assert_outcomes(passed=1)


def test_the_command_for_what_is_missing_names_the_store_that_is_used(pytester):
    pytester.makepyfile(HEAD + NOISE.replace("resnet20@mnist5k", "resnet20@mnist5k#99"))
    result = pytester.runpytest(IMAGES, QUIET, "--probes-store=kept")

    result.stdout.fnmatch_lines(["*`probes train resnet20 mnist5k --seeds 99 --store *kept`*"])


# --- beside other plugins
# --------------------------------------------------------------------------------------------------


BESIDE = {
    "pytest_randomly": (),
    "pytest_timeout": ("--timeout=120",),
    "pytest_cov": ("--cov=.",),
    "pytest_html": ("--html=r.html",),
}


@pytest.mark.parametrize("plugin", BESIDE)
def test_claims_are_judged_beside_other_plugins(pytester, plugin, run_pytest):
    pytest.importorskip(plugin)
    pytester.makeini("[pytest]\naddopts = -p no:benchmark -p no:cacheprovider")
    pytester.makepyfile(HEAD + NOISE + OTHER)
    result = run_pytest(IMAGES, *BESIDE[plugin])

    result.assert_outcomes(passed=2)
    assert "(f, 2 of 2 ran)" in (pytester.path / "reports/latest/report.md").read_text()


@pytest.mark.parametrize(
    ("module", "options"),
    [("pytest_repeat", ("--count=2",)), ("pytest_rerunfailures", ("--reruns=2",))],
)
def test_trap_p02_repeats_and_reruns_of_a_claim_are_refused(pytester, module, options, run_pytest):
    pytest.importorskip(module)
    pytester.makepyfile(HEAD + NOISE)
    result = run_pytest(IMAGES, QUIET, *options)

    assert "extra looks at the data" in result.stderr.str() + result.stdout.str()
    assert result.ret != 0


def test_trap_f14_under_xdist_nothing_of_the_report_is_lost(pytester, run_pytest):
    """``m of M ran`` was empty, since the controller collects nothing itself."""
    pytest.importorskip("xdist")
    pytester.makepyfile(HEAD + NOISE + OTHER.replace("resnet20@mnist5k", "resnet20@cifar10"))
    pages = {}
    for how in ((), ("-n", "2", "--dist", "loadscope")):
        run_it = run_pytest if how else pytester.runpytest
        run_it(IMAGES, *how).assert_outcomes(passed=1, skipped=1)
        run = json.loads((pytester.path / "reports/latest/run.json").read_text())
        pages[how] = (run["families"], run["not_judged"])

    assert pages[()] == pages["-n", "2", "--dist", "loadscope"]
    assert pages[()][0] == {"f": 2}
    assert pages[()][1][0]["id"] == "OTHER"
