"""Evidence lines: which design an expectation is bound to."""

from probes.tell import evidence

design = {"images": 1000, "images_sha256": "x", "levels": [0, 0.1], "draws": 1, "seed": 0, "clamp": True, "runs": {"a": 1},
          "perturbation": "gaussian", "dataset": "D"}  # fmt: skip


def test_an_expectation_holds_at_the_recorded_design_only():
    assert evidence.differences(design, dict(design)) == []
    assert evidence.differences(design, design | {"images": 300, "images_sha256": "y"}) == ["images 300 instead of 1000"]
    assert evidence.differences(design, design | {"images_sha256": "y"}) == ["images_sha256 y instead of x"]
    assert evidence.differences(design, design | {"seed": 1, "levels": [0]}) == [
        "levels [0] instead of [0, 0.1]",
        "seed 1 instead of 0",
    ]


def test_the_line_of_the_same_design_is_the_cited_one():
    many = {"design": design | {"images": 10000, "images_sha256": "y"}}
    few = {"design": design}

    assert evidence.matching([many, few], design) is few
    assert evidence.matching([many], design) is many
    assert evidence.matching([], design) is None


def test_evidence_from_before_a_part_of_the_design_existed_means_its_default():
    assert evidence.differences(design, design | {"space": "pixels", "precision": "fp32", "split": "test"}) == []
    assert evidence.differences(design, design | {"precision": "bf16"}) == ["precision bf16 instead of fp32"]
