"""The claims table of the terminal."""

import pytest

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


def text(*lines, **how):
    return "\n".join(t for t, _ in terminal.table(lines, **how))


def blocks(**outcomes):
    """A verdict for each block, with an outcome."""
    one = line()["verdicts"][0]
    return [one | {"label": label, "outcome": outcome} for label, outcome in outcomes.items()]


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


def test_the_sentence_and_the_verdict_lead_whose_they_are_follows():
    first, second, third, *_ = text(line(sentence="Noise is noise.")).splitlines()

    assert (first, second) == ("supported: Noise is noise.", "H0  a@d")
    assert third.startswith("  supported, expected supported")


def test_blocks_are_counted_and_unfold_where_they_are_asked_for():
    found = line(verdicts=blocks(a="supported", b="supported", c="refuted"), overall="mixed")
    found["expect"] = ["mixed", "2026-12-01", "r"]
    short, long = text(found), text(found, every=True)

    assert "mixed (2 of 3 parts supported, 1 refuted), expected mixed" in short
    assert "  refuted: c" in short.splitlines()
    assert "n = 1,000 images" not in short
    assert "pytest -v" in short
    assert long.count("n = 1,000 images") == 3
    assert "pytest -v" not in long


def test_the_blocks_are_called_what_the_question_calls_them():
    found = line(verdicts=blocks(a="supported", b="supported"), question={"by": "site"})
    assert "(2 of 2 blocks supported)" in text(found)

    joint = {"parts": [{"by": None}, {"by": "corruption"}]}
    assert "(2 of 2 corruptions supported)" in text(found | {"question": joint})


def test_what_is_open_or_not_as_expected_stays_visible_and_of_many_there_is_a_number():
    many = {f"b{i}": "inconclusive" for i in range(7)}
    found = text(line(verdicts=blocks(a="supported", **many)))
    assert [row.split()[0] for row in found.splitlines() if "n = 1,000" in row] == [
        "b0",
        "b1",
        "b2",
        "b3",
        "b4",
    ]
    assert "and 2 more open" in found

    wrong = text(line(verdicts=blocks(a="supported", b="refuted"), overall="mixed", passed=False))
    assert [row.split()[0] for row in wrong.splitlines() if "n = 1,000" in row] == ["b"]


def test_the_same_said_of_several_verdicts_stands_once_with_their_names():
    few = [one | {"n": 300} for one in line()["verdicts"]]
    found = text(
        line(verdicts=few),
        line(subject="b@d"),
        line(id="H1", verdicts=few),
        line(id="H1", subject="b@d", verdicts=few),
    )

    assert found.count("error rate:") == 1
    assert "[H0 on a@d, H1]" in found


LONG = {
    "sentence": "Noise on images raises the variance of what a block gives, " * 3,
    "subject": "resnet20@mnist5k#* + plainnet20@mnist5k#* + another_network_of_mine@mnist5k#*",
    "scope": "over 1,000 images of mnist5k (MNIST digits), taken as independent, " * 2,
    "altered": ["what was asked is altered: " + "a word " * 20],
    "look": "look 2 of 1 declared: " + "a word " * 20,
    "weights": {"a@d": {"origin": "untrained", "notes": ["a note " * 15]}},
}


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("every", [False, True])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(width, every):
    verdict = line()["verdicts"][0] | {
        "between": ["resnet20", "plainnet20"],
        "part": "layers = 3",
        "outcome": "inconclusive",
        "obstacle": "the mean decides from 100 nonzero effects, there are 43",
        "question": "change of correct, resnet20 minus plainnet20, exceeds minus 1 point" * 2,
    }
    wide = line(**LONG, verdicts=[verdict, verdict | {"label": "layer1.1"}])
    lost = [
        {
            "id": "X",
            "subject": "a@d",
            "outcome": "error",
            "why": "run `probes list` " + "word " * 30,
        }
    ]
    found = list(terminal.table([wide], lost, width, every))

    assert max(len(row) for row, _ in found) <= width
    told = " ".join(" ".join(row for row, _ in found).split())
    for part in (LONG["sentence"], LONG["altered"][0], verdict["obstacle"], verdict["question"]):
        assert " ".join(part.split()) in told


def test_a_command_stays_on_one_line_where_it_fits_on_one():
    why = "its weights are not on this machine; bring them with `probes train resnet20 d --seeds 0`"
    lost = [{"id": "X", "subject": "a@d", "outcome": "skipped", "why": why}]
    rows = [row for row, _ in terminal.table([], lost)]

    assert [row for row in rows if "`probes train resnet20 d --seeds 0`" in row]


def test_the_verdict_stands_in_words_beside_its_colour():
    for outcome, colour in terminal.COLOUR.items():
        first, how = next(iter(terminal.table([line(overall=outcome)])))

        assert first.startswith(f"{outcome}: ")
        assert colour.items() <= how.items()
