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

    assert terminal.count([line(), undecided, never]) == "2 claims judged, 1 decided (1 supported, 2 inconclusive)"


def test_an_altered_design_is_said():
    assert "altered design: images 3 instead of 4" in text(line(altered=["images 3 instead of 4"]))


def test_trap_p04_claims_that_came_to_no_verdict_are_counted_apart():
    assert terminal.count([line()], ["skipped", "skipped", "failed"]).endswith("(1 supported); 2 skipped; 1 with errors")
    assert terminal.count([], ["skipped"]) == "0 claims judged, 0 decided; 1 skipped"
