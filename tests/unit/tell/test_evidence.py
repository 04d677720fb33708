"""Evidence lines: which design an expectation is bound to, and that bytes from outside are lines or
an error of ours.
"""

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from probes.errors import ProbesError
from probes.tell import asked, evidence
from probes.tell.verify import verify

design = {
    "images": 1000,
    "images_sha256": "x",
    "levels": [0, 0.1],
    "draws": 1,
    "seed": 0,
    "clamp": True,
    "runs": {"a": 1},
    "perturbation": "gaussian",
    "dataset": "D",
}


def test_an_expectation_holds_at_the_recorded_design_only():
    assert asked.differences(design, dict(design)) == []
    assert asked.differences(design, design | {"images": 300, "images_sha256": "y"}) == [
        "images 300 instead of 1000"
    ]
    assert asked.differences(design, design | {"images_sha256": "y"}) == [
        "images_sha256 y instead of x"
    ]
    assert asked.differences(design, design | {"seed": 1, "levels": [0]}) == [
        "levels [0] instead of [0, 0.1]",
        "seed 1 instead of 0",
    ]


def test_the_line_of_the_same_design_is_the_cited_one():
    many = {"design": design | {"images": 10000, "images_sha256": "y"}}
    few = {"design": design}

    assert asked.matching([many, few], [design]) is few
    assert asked.matching([many], [design]) is many
    assert asked.matching([], [design]) is None


def test_evidence_from_before_a_part_of_the_design_existed_means_its_default():
    assert (
        asked.differences(
            design, design | {"space": "pixels", "precision": "fp32", "split": "test"}
        )
        == []
    )
    assert asked.differences(design, design | {"precision": "bf16"}) == [
        "precision bf16 instead of fp32"
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
LINE = {
    "schema": 1,
    "id": "H1",
    "subject": "a@d",
    "overall": "mixed",
    "alpha": 0.05,
    "question": {},
    "verdicts": [],
    "inputs": [],
    "design": design,
    "expect": None,
}


def outside(tmp_path_factory, evidence_bytes, manifest_bytes):
    folder = tmp_path_factory.mktemp("report")
    (folder / "evidence.jsonl").write_bytes(evidence_bytes)
    (folder / "manifest.json").write_bytes(manifest_bytes)
    return folder


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80), st.binary(max_size=80))
def test_any_bytes_are_evidence_or_an_error_of_ours(tmp_path_factory, lines, manifest):
    folder = outside(tmp_path_factory, lines, manifest)
    with contextlib.suppress(ProbesError):
        evidence.read(folder / "evidence.jsonl")

    assert all(isinstance(problem, str) for problem in verify(folder))


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*LINE, "more"]), json_values, max_size=3), json_values)
def test_any_json_is_verified_or_found_wrong_in_words(tmp_path_factory, changes, manifest):
    folder = outside(
        tmp_path_factory, json.dumps(LINE | changes).encode(), json.dumps(manifest).encode()
    )
    problems = verify(folder)

    assert problems
    assert all(isinstance(problem, str) for problem in problems)
