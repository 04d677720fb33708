"""Responses to masks: excess over size, masks that respond alike, classes that are named, by hand
and by construction.
"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.errors import BadInput
from probes.studies.masking import responses

INPUTS, SETTINGS = ("clean", "a", "b"), ((0.5, 0.0), (0.8, 0.0), (0.5, 0.5), (0.8, 0.5))


def table(effect, draws=40, seed=0, noise=0.01):
    """Responses of masks of three variables: size takes away most, ``effect(input, variable)`` is
    added to that.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    rows = []
    for name in INPUTS:
        for q, alpha in SETTINGS:
            size = 0.9 - (1 - q) * (1 - alpha)
            for v in ("a", "b", "order"):
                rows.append(
                    (
                        name,
                        "guided",
                        v,
                        "total",
                        q,
                        alpha,
                        0,
                        size + effect(name, v) + rng.normal(0, noise),
                    )
                )
            rows += [
                (name, "random", "", "total", q, alpha, d, size + rng.normal(0, noise))
                for d in range(draws)
            ]
        for v in ("a", "b", "order"):
            rows += [
                (name, kind, v, "total", 0.8, 0.0, 0, level)
                for kind, level in (("full", 0.3), ("inverse", 0.7))
            ]
        rows += [
            (name, "matched", name, "total", q, a, d, 0.2 + d / 100)
            for q, a in SETTINGS
            for d in range(3)
            if name != "clean"
        ]
    columns = ["input", "kind", "variable", "measure", "q", "alpha", "draw", "top1"]
    return pd.DataFrame(rows, columns=columns).assign(module="", top5=1.0)


def planted(name, variable):
    return -0.1 if name == variable else 0.0


def test_an_excess_is_what_a_guided_mask_costs_beyond_random_ones_of_its_size():
    found = responses.beside(table(planted)).set_index(["input", "variable", "q", "alpha"])

    assert found.loc[("a", "a", 0.5, 0.0), "excess"] == pytest.approx(-0.1, abs=0.03)
    assert found.loc[("a", "b", 0.5, 0.0), "excess"] == pytest.approx(0, abs=0.03)
    assert found.loc[("a", "a", 0.5, 0.0), "p"] == pytest.approx(1 / 41)
    assert found.loc[("a", "a", 0.5, 0.0), "matched"] == pytest.approx(0.21)
    assert found["matched"].notna().sum() == found["p_matched"].notna().sum() == 2 * len(SETTINGS)
    assert found.loc[("a", "a", 0.5, 0.5), "p_matched"] == 1  # all matched masks cost more
    assert len(found) == 3 * 3 * len(SETTINGS)


def test_the_p_of_a_guided_mask_that_is_a_random_one_is_uniform():
    found = responses.beside(table(lambda *_: 0, draws=99, seed=3))

    assert found["p"].mean() == pytest.approx(0.5, abs=0.12)
    assert found["p"].min() >= 0.01


def test_responses_are_alike_by_size_alone_as_published_and_not_with_controls():
    found = responses.response_similarity(table(lambda *_: 0, seed=1), permutations=99).set_index(
        "input"
    )

    assert (found["published"] > 0.95).all()
    assert (found["rho"].abs() < 0.7).all()
    assert (found["p"] > 0.05).all()


def test_masks_that_matter_wherever_they_are_seen_are_alike_with_controls():
    levels = {"a": -0.2, "b": 0.0, "order": 0.2}
    found = responses.response_similarity(table(lambda _, v: levels[v]), permutations=99)

    assert (found["rho"] > 0.7).all()
    assert list(found["variables"]) == [3, 3]
    assert (found["p"] <= 2 / 6).all()  # three variables have six orders


def test_masks_that_respond_alike_are_one_cluster_and_opposite_ones_are_not():
    def effect(name, variable):
        place = {"clean": 0.0, "a": 0.1, "b": -0.1}[name]
        return place if variable in ("a", "b") else -place

    found = responses.tree(table(effect))
    clusters = dict(zip((v for _, v in found.names), found.clusters, strict=True))

    assert clusters["a"] == clusters["b"] != clusters["order"]
    assert found.features == 12
    assert found.p[0, 1] == pytest.approx(1 / 21)  # half of the 40 random masks are compared
    assert found.rho[0, 2] < -0.5
    assert found.published > 0.5  # size makes all accuracies alike
    assert found.mean < found.published


@pytest.mark.parametrize("draws", [20, 100])
def test_masks_that_are_random_ones_are_nearer_than_the_cut_in_5_percent_of_pairs(draws):
    """With few random masks, too: those that say what size does are not those that are compared."""
    near = []
    for seed in range(60):
        found = responses.tree(table(lambda *_: 0, draws=draws, seed=100 + seed))
        near += list(1 - found.rho[np.triu_indices(3, 1)] <= found.cut)

    assert np.mean(near) == pytest.approx(0.05, abs=0.05)


def test_too_few_masks_can_not_be_told_apart():
    with pytest.raises(BadInput, match="19 random masks"):
        responses.tree(table(planted, draws=19))


def test_of_many_classes_five_are_compared_and_chance_is_that_of_random_ones():
    index = np.arange(1000.0)
    topk = np.tile([999, 998, 997, 3, 4], (50, 1))
    found = responses.top_class_overlap(topk, index, "test")

    assert found["what"] == "Jaccard of five"
    assert found["value"] == pytest.approx(3 / 7)
    assert found["chance"] == pytest.approx(
        25 / 1000 / 10 * 1.0, abs=0.003
    )  # about 5 * 5 / 1000 shared, of ten
    assert found["p"] == pytest.approx(0.001)


@given(st.integers(0, 9))
def test_of_few_classes_the_first_answer_counts_and_the_mean_over_all_classes_is_chance(top):
    rng = np.random.Generator(np.random.Philox(top))
    topk = rng.integers(0, 10, (200, 5))
    values = [
        responses.top_class_overlap(topk, np.eye(10)[c], "few", top, resamples=9)["value"]
        for c in range(10)
    ]

    assert sum(values) == pytest.approx(1)
    assert values[top] == (topk[:, 0] == top).mean()


def test_trap_s10_the_published_quantile_masks_all_where_half_is_zero():
    index = np.array([0.0] * 6 + [0.1, 0.2, 0.3, 0.4])

    assert responses.ties(index, 0.5) == 1
    assert responses.ties(np.arange(10) / 10, 0.5) == 0.5
    assert responses.ties(np.array([np.nan, -3.0, 0.0, 1.0]), 0.5) == 1
