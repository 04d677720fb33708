"""The claims section as a terminal shows it."""

import re

import pytest

TEST = """
import pytest
from probes import block_metrics, gaussian, rises

@pytest.mark.subjects("resnet20@mnist5k")
@pytest.mark.claim("Noise on the images of a network is noise, and it is so at the input of each of its blocks.", id="NOISE")
def test_noise(lab, claim):
    table = lab.sweep(block_metrics, under=gaussian(0, .1))
    claim.holds(rises(table, "sigma_realised", by="site", sesoi=.03))

@pytest.mark.subjects("resnet20@mnist5k#99")
@pytest.mark.claim("Nobody trained it.", id="GONE")
def test_gone(lab, claim):
    claim.holds(rises(lab.sweep(block_metrics, under=gaussian(0, .1)), "var_h", sesoi=.03))
"""  # noqa: E501
ASKED = ("--probes-images=210", "--probes-quiet", "--probes-ledger=off", "-p", "no:cacheprovider")


@pytest.fixture(autouse=True)
def project(pytester, elsewhere, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    pytester.makepyfile(test_it=TEST)


def section(result):
    """The lines from the head of the claims on, less pytest's own last one."""
    start = next(i for i, line in enumerate(result.outlines) if re.search("=+ claims =+", line))
    end = next(i for i, line in enumerate(result.outlines) if "claim judged" in line)
    return result.outlines[start : end + 1]


def test_the_section_fits_80_columns_leads_with_the_verdict_and_unfolds_with_v(pytester):
    short = section(pytester.runpytest(*ASKED))
    long = section(pytester.runpytest("-v", *ASKED))

    assert max(map(len, short + long)) <= 80
    assert short[1].startswith("supported: Noise on the images of a network is noise,")
    assert "  supported (9 of 9 blocks supported), expected supported" in short
    assert "  asked: sigma_realised rises by more than 0.03, from noise σ 0 to 0.1" in short
    assert not [line for line in short if "layer1.0" in line]
    assert [line for line in long if line.startswith("    layer1.0  supported")]
    assert [line for line in short if "GONE  resnet20@mnist5k#99: skipped: " in line]


@pytest.mark.parametrize(("option", "coloured"), [("yes", True), ("no", False)])
def test_colour_is_where_pytest_has_it(pytester, option, coloured):
    found = section(pytester.runpytest(f"--color={option}", *ASKED))

    assert ("\x1b[" in "".join(found)) == coloured
    bare = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in found]
    assert bare[1].startswith("supported: ")
    assert max(map(len, bare)) <= 80
