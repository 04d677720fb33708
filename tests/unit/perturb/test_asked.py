"""Perturbations as they are typed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.errors import BadInput, UnknownName
from probes.perturb import bit_flips, corruption, corruptions, gaussian, pruned, quantised
from probes.perturb.asked import MADE, NAMES, asked


def test_each_name_is_a_perturbation_with_levels_from_0():
    for name in NAMES:
        for one in asked(name).values():
            assert one.levels[0] == 0
            assert len(one.levels) > 1


def test_what_is_typed_is_what_a_script_would_make():
    found = asked(["noise:0,.1", "corruptions", "quantised:8,4", "pruned:.5", "bit_flips:1e-6"])

    assert found == {
        "noise": gaussian(0, 0.1),
        "corruptions": corruptions(),
        "quantised": quantised((8, 4)),
        "pruned": pruned(0.5),
        "bit_flips": bit_flips(0, 1e-6),
    }


def test_severities_are_those_typed_else_those_given():
    found = asked("fog:1,3,5 contrast corruptions", severity=(2, 4))

    assert found["fog"] == corruption("fog", severity=(1, 3, 5))
    assert found["contrast"] == corruption("contrast", severity=(2, 4))
    assert found["corruptions"] == corruptions((2, 4))


@given(
    st.lists(st.sampled_from([*MADE]), min_size=1, max_size=4, unique=True),
    st.sampled_from([" ", ",", " , "]),
)
def test_blanks_and_commas_are_alike(names, between):
    assert list(asked(between.join(names))) == names
    assert asked(between.join(names)) == asked(names)


def test_a_number_behind_a_comma_belongs_to_the_name_before_it():
    assert asked("noise:.2,.1,fgsm:.1")["noise"].levels == (0, 0.1, 0.2)
    assert asked("noise:.2,.1,fgsm:.1")["fgsm"].levels == (0, 0.1)


def test_one_of_ones_own_is_imported(monkeypatch, tmp_path):
    (tmp_path / "own_noise.py").write_text(
        "from probes.perturb import gaussian\nmine = gaussian(0, 0.3)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    assert asked("own_noise:mine") == {"own_noise:mine": gaussian(0, 0.3)}
    assert asked("own_noise:mine:.1,.2") == {"own_noise:mine": gaussian(0, 0.1, 0.2)}
    with pytest.raises(UnknownName, match="has no 'other'"):
        asked("own_noise:other")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nose:.1", "unknown perturbation 'nose': did you mean noise"),
        ("nose", "unknown perturbation 'nose': did you mean noise"),
        ("noise:a", r"'noise:a': levels are numbers"),
        (".1", "a level stands behind a name"),
        ("noise fog noise", "'noise' stands twice"),
        ("fgsm attacks", "'fgsm' stands twice"),
        ("noise:.1,.1", "one stands twice"),
        ("fog:1.5", "fog:1.5: a whole number"),
        ("quantised:8.5", "quantised:8.5: a whole number"),
        ("fog:7", "whole numbers from 1 to 5"),
        ("", "no perturbation is named"),
    ],
)
def test_an_error_names_what_was_typed_and_what_is_allowed(text, says):
    with pytest.raises((BadInput, UnknownName), match=says):
        asked(text)
