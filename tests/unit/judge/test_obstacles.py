"""What is in the way of a verdict, at its edges."""

import numpy as np
import pytest

from probes.judge.obstacles import in_the_way


def told(x, rule="mean", sesoi=-1.0, k=1, top=0.1, share=0.0, inside=False):
    values = np.asarray(x, float)
    return in_the_way(values, rule, sesoi, 0.05, k, reached_at=top, share=share, inside=inside)


@pytest.mark.parametrize("sesoi", [1.0, -1.0])
def test_effects_below_a_thousandth_of_the_sesoi_were_not_reached(sesoi):
    assert "did not reach" in told([0, 0, -0.00099999], sesoi=sesoi)
    assert told([0, 0, -0.001], sesoi=sesoi) == ""


def test_only_a_perturbation_can_fail_to_reach_and_exact_zeros_are_the_rules_own():
    tiny = [1e-9, 0.0]

    assert told(tiny, top=None) == told(tiny, rule="score") == told(tiny, sesoi=0.0) == ""
    assert told([0.0, 0.0]) == ""


def test_more_than_a_fifth_of_images_of_zero_by_zero_is_in_the_way():
    assert told([1.0, 2.0], share=0.2) == ""
    assert told([1.0, 2.0], share=0.21).startswith("21% of the images are 0/0")
    assert "of a training run" in told([1.0, 2.0], share=0.21, inside=True)


def test_a_family_of_training_runs_needs_enough_of_them():
    assert told(np.ones(8), "signed rank", k=8) == ""
    assert told(np.ones(7), "signed rank", k=8) == (
        "a family of 8 needs 8 training runs, there are 7"
    )
    assert told(np.ones(7), "mean", k=8) == ""
