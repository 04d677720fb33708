"""Controls of the claims on robustness: what can't cost anything is not found to cost, and what
must cost is.
"""

import pytest

from probes.judge import below, exceeds
from probes.measure import accuracy
from probes.perturb import attacked, fgsm, quantised


@pytest.mark.subjects("resnet20@mnist5k")
def test_control_robustness_an_attack_of_no_size_costs_no_more_than_noise(lab):
    table = lab.sweep(accuracy, under=attacked(fgsm(), levels=(0, 1e-5), noise=True))
    arms = {"between": ("attack", "noise"), "arm": "attack"}

    assert below(table, "correct", **arms, sesoi="5 points").overall == "refuted"


@pytest.mark.subjects("resnet20@mnist5k#*")
def test_control_robustness_weights_of_2_bits_cost_more_than_half_a_point(lab):
    table = lab.sweep(accuracy, under=quantised(2))

    assert exceeds(table, "correct", unit="train_seed", sesoi="-0.5 points").overall == "refuted"
