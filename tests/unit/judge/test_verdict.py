"""Verdicts print themselves, survive JSON, and refuse to be a boolean."""

import dataclasses
import json
import math

import pytest

from probes.judge import verdict
from probes.judge.verdict import Verdict, Verdicts
from probes.judge.wording import shown

one = Verdict(
    label="layer1.0",
    question="var_h rises by more than 1 %",
    outcome="supported",
    kind="ratio",
    metric="var_h",
    estimate=0.03,
    low=0.02,
    high=0.04,
    wide=(0.015, 0.045),
    sesoi=0.00995,
    p_supported=0.001,
    p_refuted=0.999,
    n=1000,
    unit="image",
    rule="trimmed mean",
    spread=0.2,
    needed=900,
    curve=((0.1, 0.01, 0.0, 0.02),),
    notes={"rho": 0.5},
)


def test_a_verdict_is_no_boolean():
    with pytest.raises(TypeError, match="no boolean"):
        bool(one)
    with pytest.raises(TypeError, match="no boolean"):
        bool(Verdicts((one,), 0.05, "", {}))


def test_a_verdict_prints_outcome_effect_interval_n_and_p():
    assert str(one) == "layer1.0: supported: +3.05 % [+2.02, +4.08], n = 1,000 images, p = 0.001"


def test_an_open_verdict_says_how_many_units_would_decide():
    open_one = dataclasses.replace(one, outcome="inconclusive", n=500)

    assert "900 images would decide" in str(open_one)
    assert (
        dataclasses.replace(open_one, n=1000, low=0.001)
        .advice()
        .startswith("open: its interval holds the SESOI of ")
    )


def test_an_open_block_whose_own_interval_lies_short_of_the_sesoi_is_open_after_holm():
    """It was told that "its interval holds the SESOI" beside an interval that does not."""
    found = dataclasses.replace(
        one, outcome="inconclusive", kind="plain", sesoi=1.0, low=0.1, high=0.9, wide=(-0.1, 1.2)
    )

    assert found.advice() == "open after Holm over the blocks; simultaneous interval [-0.1, +1.2]"
    own = dataclasses.replace(found, high=1.1)
    assert own.advice() == "open: its interval holds the SESOI of +1"


def test_json_holds_no_infinity_and_reads_back():
    wild = dataclasses.replace(
        one, low=-math.inf, high=math.inf, wide=(-math.inf, math.inf), parts=(one,)
    )
    text = json.dumps(wild.json(), allow_nan=False)

    assert verdict.from_json(json.loads(text)) == wild


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (math.log(1.01), "ratio", "+1 %"),
        (-math.log(2), "ratio", "-50 %"),
        (0.005, "share", "+0.5 points"),
        (0.25, "plain", "+0.25"),
        (-math.inf, "ratio", "-∞"),
        (math.nan, "ratio", "?"),
        (None, "ratio", "?"),
        (4.0, "ratio", "+5,360 %"),
    ],
)
def test_effects_are_shown_in_the_unit_that_people_read(value, kind, text):
    assert shown(value, kind) == text
