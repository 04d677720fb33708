"""What a design can decide before compute is spent, and how many units more would."""

import numpy as np
import pytest

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
    import dataclasses

    few = dataclasses.replace(design, images=images)

    assert str(images) in power.foresee(few, rule, 0.05)


def test_trap_s01_three_runs_are_told_before_they_cost():
    import dataclasses

    few = dataclasses.replace(design, runs=(("resnet20", 3),))

    assert "p = 0.125 at best; 5 are needed" in power.foresee(few, "signed rank", 0.05)
