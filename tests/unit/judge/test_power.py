"""What a design can decide before compute is spent, and how many units more would."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from probes.judge import power
from probes.judge.power import Design

design = Design("digits", 1000, "", 1, 0, (0.0, 0.25), (("resnet20", 8), ("plainnet20", 8)))


@pytest.mark.parametrize(("k", "pairs"), [(1, 5), (8, 8), (16, 9), (33, 10)])
def test_a_family_of_k_needs_so_many_runs(k, pairs):
    assert power.runs_needed(0.05, k) == pairs


def test_needed_is_the_published_formula():
    # ((1.645 + 0.842) * 1 / 0.01)^2 for ternary effects with q = .05: about 3,100 images resolve
    # one point
    assert power.needed(np.sqrt(0.05), 0.01, 1000, 0.05) == pytest.approx(3100, rel=0.01)


def test_needed_uses_an_upper_limit_of_the_spread_below_50_units():
    assert power.needed(1.0, 0.4, 30, 0.05) > power.needed(1.0, 0.4, 50, 0.05)


def test_needed_runs_are_never_fewer_than_can_reach_alpha():
    assert power.needed(1e-6, 1.0, 6, 0.05, k=8, runs=True) == 8


def test_without_a_sesoi_no_number_is_promised():
    assert power.needed(1.0, 0.0, 100, 0.05) is None


def test_power_and_detectable_effect_agree():
    distance = power.detectable(2.0, 300, 0.05, k=4)

    assert power.power(distance, 2.0, 300, 0.05, k=4) == pytest.approx(0.8)


def test_with_common_draws_images_and_draws_limit_each_on_its_own():
    """The figures of 1,000 images and 3 of 20 layers: 89 or 90 draws with any number of images, or
    2,450 to 2,480 images.
    """
    measured = (0.20**2, 0.038**2, 0.28**2)
    images, draws = (
        power.needed_crossed(measured, 0.01, 10**9, 20, 0.05),
        power.needed_crossed(measured, 0.01, 1000, 10**9, 0.05),
    )

    assert (images[0], draws[1]) == (None, None)
    assert images[1] in (89, 90)
    assert 2450 <= draws[0] <= 2480
    assert power.needed_crossed(measured, 0.0, 1000, 20, 0.05) == (None, None)


def test_few_common_draws_are_foreseen():
    assert "needs 20 draws common to all images, the design has 1" in power.foresee(
        design, "two-way", 0.05
    )


def test_a_design_that_can_decide_is_not_held_up():
    assert power.foresee(design, "trimmed mean", 0.05) == ""
    assert power.foresee(design, "signed rank", 0.05) == ""


@pytest.mark.parametrize(("rule", "images"), [("trimmed mean", 99), ("mean", 199), ("score", 19)])
def test_too_few_images_are_foreseen(rule, images):
    few = dataclasses.replace(design, images=images)

    assert str(images) in power.foresee(few, rule, 0.05)


def test_trap_s01_three_runs_are_told_before_they_cost():
    few = dataclasses.replace(design, runs=(("resnet20", 3),))

    assert "p = 0.125 at best; 5 are needed" in power.foresee(few, "signed rank", 0.05)


@pytest.mark.parametrize("n", [2, 49, 50, 400])
@pytest.mark.parametrize("sesoi", [0.003, -0.2])
@pytest.mark.parametrize("k", [1, 9])
@pytest.mark.parametrize("how", ["", "runs", "ternary", "both_sides"])
def test_needed_is_the_formula_of_its_docstring(n, sesoi, k, how):
    s = 0.07 * (math.sqrt((n - 1) / stats.chi2.ppf(0.2, n - 1)) if n < 50 else 1)
    if how == "ternary":
        s = max(s, math.sqrt(abs(sesoi) * (1 - abs(sesoi))))
    z = stats.norm.isf(0.05 / k) + stats.norm.ppf(0.9 if how == "both_sides" else 0.8)
    want = math.ceil((z * s / abs(sesoi)) ** 2)
    least = max(5, math.ceil(math.log2(k / 0.05))) if how == "runs" else 1

    found = power.needed(0.07, sesoi, n, 0.05, k, **({how: True} if how else {}))
    assert found == max(want, least)


def test_needed_of_a_sesoi_beyond_one_and_of_one_unit():
    assert power.needed(1e-6, 3.0, 100, 0.05, ternary=True) == 1
    assert power.needed(1.0, 0.4, 1, 0.05) is None
    assert power.needed(math.nan, 0.4, 100, 0.05) is None


@pytest.mark.parametrize("k", [1, 4])
def test_what_is_needed_of_images_and_of_draws_is_the_variance_of_the_two_way_mean(k):
    image, draw, left, n, draws, sesoi = 0.04, 0.0015, 0.08, 2500, 60, 0.02
    se = sesoi / (stats.norm.isf(0.05 / k) + stats.norm.ppf(0.8))
    images, more = power.needed_crossed((image, draw, left), sesoi, n, draws, 0.05, k)

    def variance(n, draws):
        return image / n + draw / draws + left / (n * draws)

    assert variance(images, draws) <= se**2 < variance(images - 1, draws)
    assert variance(n, more) <= se**2 < variance(n, more - 1)
    assert power.needed_crossed((1e-9, 0.0, 0.0), sesoi, n, draws, 0.05) == (1, 1)


def test_the_power_is_that_of_the_z_test():
    chance = stats.norm.sf(stats.norm.isf(0.05 / 3) - 0.02 * math.sqrt(500) / 0.3)

    assert power.power(0.02, 0.3, 500, 0.05, 3) == pytest.approx(chance)
    assert power.power(-0.02, 0.3, 500, 0.05, 3) == pytest.approx(chance)
    assert power.detectable(0.3, 500, 0.05) == pytest.approx(
        (stats.norm.isf(0.05) + stats.norm.ppf(0.8)) * 0.3 / math.sqrt(500)
    )


@pytest.mark.parametrize(
    ("rule", "images"),
    [("trimmed mean", 100), ("mean", 200), ("score", 20)]
    + [(rule, 200) for rule in ("two-way", "typical draw", "typical group")],
)
def test_the_fewest_images_of_each_rule_are_those_at_which_it_decides(rule, images):
    enough = dataclasses.replace(design, images=images, draws=20)
    few = dataclasses.replace(enough, images=images - 1)

    assert power.foresee(enough, rule, 0.05) == ""
    assert f"needs {images} images" in power.foresee(few, rule, 0.05)


@pytest.mark.parametrize("rule", ["two-way", "typical draw"])
def test_nineteen_common_draws_are_too_few(rule):
    few = dataclasses.replace(design, draws=19)

    assert "20 draws" in power.foresee(few, rule, 0.05)
    assert power.foresee(dataclasses.replace(few, draws=20), rule, 0.05) == ""


def test_runs_of_the_fewest_network_are_foreseen_with_the_family():
    few = dataclasses.replace(design, runs=(("a", 9), ("b", 7)))
    told = power.foresee(few, "signed rank", 0.05, 8)

    assert "7 training runs reach p = 0.00781 at best; 8 are needed in a family of 8" in told
    assert told.endswith("train seeds 0 to 7")
    assert "family" not in power.foresee(
        dataclasses.replace(few, runs=(("a", 4),)), "signed rank", 0.05
    )
