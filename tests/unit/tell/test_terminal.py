"""The claims table of the terminal."""

from probes.tell import terminal


def line(**changes):
    verdict = {
        "label": "layer1.0",
        "question": "q",
        "outcome": "supported",
        "kind": "ratio",
        "metric": "l2_h",
        "estimate": 0.03,
        "low": 0.02,
        "high": 0.04,
        "wide": [0.01, 0.05],
        "sesoi": 0.01,
        "p_supported": 1e-9,
        "p_refuted": 1.0,
        "n": 1000,
        "unit": "image",
        "rule": "trimmed mean",
        "spread": 0.1,
        "needed": None,
        "obstacle": "",
        "notes": {},
        "curve": [],
        "parts": [],
    }
    return {
        "id": "H0",
        "subject": "a@d",
        "sentence": "S.",
        "overall": "supported",
        "judged": True,
        "counts": "1 supported",
        "altered": [],
        "expect": ["supported", "2026-12-01", "r"],
        "scope": "over 1,000 images",
        "alpha": 0.05,
        "passed": True,
        "verdicts": [verdict],
    } | changes


def text(*lines):
    return "\n".join(t for t, _ in terminal.table(lines))


def test_a_line_has_verdict_effect_interval_n_unit_and_p():
    assert "layer1.0  supported    l2_h +3.05 % [+2.02, +4.08]" in text(line())
    assert "n = 1,000 images, p < 1e-4" in text(line())


def test_what_is_not_as_expected_is_marked():
    assert "not as expected" in text(line(passed=False))
    assert "not as expected" not in text(line())


def test_trap_p04_the_summary_counts_what_was_judged_and_decided_not_what_was_green():
    undecided = line(id="B", overall="inconclusive", expect=["inconclusive", "2026-12-01", "r"])
    never = line(id="C", overall="inconclusive", judged=False)

    found = terminal.count([line(), undecided, never])

    assert found == "3 claims judged, 1 decided (1 supported, 1 inconclusive, 1 open by design)"


def test_an_altered_design_is_said():
    assert "altered design: images 3 instead of 4" in text(line(altered=["images 3 instead of 4"]))


def test_trap_p04_claims_that_came_to_no_verdict_are_counted_apart():
    lost = [
        {"outcome": outcome} for outcome in ("skipped", "skipped", "error", "failed", "deselected")
    ]

    assert terminal.count([line()], lost).endswith(
        "(1 supported); 5 not judged (2 skipped, 1 with errors, 1 without a verdict, 1 deselected)"
    )
    assert terminal.count([], lost[:1]) == "0 claims judged, 0 decided; 1 not judged (1 skipped)"


def test_each_part_of_a_joint_verdict_has_an_outcome_of_its_own_and_the_block_has_one_line():
    """A row once said "+25.3 % [24.4, 26.2], rises by more than 1 %: refuted", since another part
    of the block was.
    """
    one = line()["verdicts"][0]
    other = one | {
        "metric": "sparsity",
        "kind": "share",
        "outcome": "refuted",
        "question": "sparsity falls by more than 0.5 points",
    }
    joint = one | {"outcome": "refuted", "parts": [one, other]}
    rows = [
        row.split()
        for row in text(line(overall="refuted", verdicts=[joint])).splitlines()
        if "refuted" in row or "l2_h" in row
    ]

    assert ["layer1.0", "refuted"] in rows
    assert [
        row[:2]
        for row in rows
        if row[0] in ("supported", "refuted") and row[1] in ("l2_h", "sparsity")
    ] == [
        ["supported", "l2_h"],
        ["refuted", "sparsity"],
    ]


def test_what_is_compared_with_what_is_said():
    verdict = line()["verdicts"][0] | {
        "question": "l2_h rises by more than 1 %",
        "direction": 1,
        "top": 0.25,
    }

    assert "asked: l2_h rises by more than 1 %, from alpha 0 to 0.25" in text(
        line(verdicts=[verdict], design={"varied": "alpha"})
    )


def test_an_untrained_network_stands_in_the_line_of_the_verdict():
    random = line(weights={"a@d": {"origin": "untrained"}})

    assert "supported of an untrained network (a@d), expected" in text(random)


def test_why_a_claim_was_not_judged_is_told():
    lost = [
        {
            "id": "X",
            "subject": "a@d",
            "outcome": "skipped",
            "why": "bring it with `probes train a d --seeds 0`",
        }
    ] * 7
    found = "\n".join(t for t, _ in terminal.table([line()], lost))

    assert "X  a@d: skipped: bring it with `probes train a d --seeds 0`" in found
    assert "and 2 more: bring it with" in found
