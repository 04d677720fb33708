"""What a claim declares and may expect."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.claims import declaring
from probes.errors import BadInput, ProbesError, UnknownName
from probes.subjects.spec import pair, parse


def test_a_claim_is_read():
    found = declaring.declared(
        ["A sentence."],
        {"id": "H1", "family": "f", "expect": {"a@d": ("mixed", "2026-12-01", "reports/x")}},
    )

    assert (found.sentence, found.id, found.family) == ("A sentence.", "H1", "f")
    assert found.expect["a@d"] == declaring.Expectation("mixed", "2026-12-01", "reports/x")


@pytest.mark.parametrize(
    ("args", "kwargs", "sentence"),
    [
        ([], {"id": "x"}, "needs a sentence"),
        (["s"], {}, "needs an id"),
        (["s", "t"], {"id": "x"}, "one sentence"),
        (["s"], {"id": "x", "expects": {}}, "did you mean expect"),
        (["s"], {"id": "x", "looks": 0}, "looks=0"),
        (["s"], {"id": "x", "looks": "two"}, "whole number from 1 up"),
        (["s"], {"id": "x", "until": 0}, "until=0"),
        (["s"], {"id": "x", "until": 1000, "looks": 2}, "leave looks out"),
        (["s"], {"id": "x", "exploratory": 1}, "True or False"),
        (
            ["s"],
            {"id": "x", "exploratory": True, "expect": {"a@d": ("mixed", "2026-12-01", "r")}},
            "what explores has no expectation",
        ),
        (["s"], {"id": "x", "expect": "mixed"}, "dictionary"),
        (["s"], {"id": "x", "expect": {"a@d": "mixed"}}, "write \\(verdict"),
        (["s"], {"id": "x", "expect": {"a@d": ("mixed", "yesterday", "r")}}, "write \\(verdict"),
        (["s"], {"id": "x", "expect": {"a@d": ("mixd", "2026-12-01", "r")}}, "did you mean mixed"),
    ],
)
def test_a_marker_that_is_wrong_says_what_is_allowed(args, kwargs, sentence):
    with pytest.raises((BadInput, UnknownName), match=sentence):
        declaring.declared(args, kwargs)


@given(
    st.lists(st.one_of(st.none(), st.integers(), st.text()), max_size=2),
    st.dictionaries(st.text(max_size=8), st.none()),
)
def test_any_marker_is_a_claim_or_an_error_of_ours(args, kwargs):
    with contextlib.suppress(ProbesError):
        declaring.declared(args, kwargs)


def test_subjects_are_strings_and_pairs():
    found = declaring.subjects(["a@d", pair("a@d#*", "b@d#*")])

    assert [str(f) for f in found] == ["a@d", "a@d#* + b@d#*"]


@pytest.mark.parametrize("args", [[], ["a@d", "a@d"], [3]])
def test_subjects_that_are_none(args):
    with pytest.raises(BadInput):
        declaring.subjects(args)


def test_options_replace_what_a_subject_says_and_several_become_one():
    declared = declaring.subjects(["a@d", "b@d#1", pair("a@d#*", "b@d#*")])

    assert [str(s) for s in declaring.chosen(declared, "c:w", "e")] == ["c:w@e", "a@e#* + b@e#*"]
    assert [str(s) for s in declaring.chosen(declared, None, None)] == [
        "a@d",
        "b@d#1",
        "a@d#* + b@d#*",
    ]
    assert [str(s) for s in declaring.chosen([parse("a")], None, "e")] == ["a@e"]
