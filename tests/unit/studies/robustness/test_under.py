"""What networks are put under, from the text of an option."""

import argparse

import pytest

from probes.errors import BadInput, UnknownName
from probes.perturb import attacked, corruptions, fgsm, pgd
from probes.studies.robustness import under
from probes.studies.robustness.command import severities
from probes.studies.robustness.under import perturbations


@pytest.fixture
def frost(monkeypatch):
    """Whether the photographs of frost are here."""
    return lambda here: monkeypatch.setattr(under, "frost_is_here", lambda: here)


def test_without_a_text_there_are_corruptions_noise_an_attack_and_few_bits(frost):
    frost(True)
    found = perturbations(None, None, 3)

    assert list(found) == ["corruptions", "noise", "pgd", "quantised"]
    assert found["corruptions"] == corruptions()
    assert found["pgd"] == attacked(pgd(steps=5), (0, 2 / 255, 8 / 255), noise=True)
    assert perturbations(None, None, 1)["pgd"].levels == (0, 0.05, 0.1)


def test_corruptions_named_alone_are_arms_of_one_table():
    found = perturbations("fog,contrast", [3], 1)["corruptions"]

    assert found.names == ("fog", "contrast")
    assert found.column == "corruption"
    assert perturbations("fog:2", None, 1)["corruptions"].levels == (0, 2)


def test_frost_is_left_out_with_a_word_where_its_photographs_are_not_here(frost):
    frost(False)
    told = []
    found = perturbations("corruptions", None, 1, told.append)["corruptions"]

    assert "frost" not in found.names
    assert len(found.names) == 14
    assert "frost is left out" in told[0]
    assert "frost" in perturbations("frost", None, 1)["corruptions"].names


def test_attacks_have_an_arm_of_noise():
    found = perturbations("attacks:0,.1", None, 3)

    assert found == {
        "fgsm": attacked(fgsm(), (0, 0.1), noise=True),
        "pgd": attacked(pgd(steps=5), (0, 0.1), noise=True),
    }


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("fog:1,contrast:3", BadInput, "at the same severities"),
        ("corruptions,fog", BadInput, "'corruptions,fog': fog is one of the fifteen"),
        ("", BadInput, "no perturbation is named"),
        ("fogg", UnknownName, "fogg"),
    ],
)
def test_what_can_not_be_is_refused(text, error, says, frost):
    frost(True)
    with pytest.raises(error, match=says):
        perturbations(text, None, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [("noise", "names no corruption"), ("fog:1", "a corruption with severities of its own")],
)
def test_severities_that_would_change_nothing_are_refused(text, says):
    with pytest.raises(BadInput, match=f"severity 3,1, but '{text}' .*{says}"):
        perturbations(text, [3, 1], 1)

    assert perturbations("fog:1,3", [3, 1], 1)["corruptions"].levels == (0, 1, 3)


@pytest.mark.parametrize("text", ["a", "0", "1.5", "6", "", "1,1", "1,,3"])
def test_severities_that_are_none_are_refused_as_typed(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"{text!r}: different whole numbers"):
        severities(text)
