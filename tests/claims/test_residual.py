"""Are residual networks more robust than serial ones to noise on the outputs of their layers?

The control that isolates the shortcut: ResNet-20 and its plain twin, the same parameters, batch norm, first weights and batches for
each of eight training seeds. Noise of half of a layer's clean standard deviation, after batch norm, on 1, 2 or 3 of the 19 layers
that each image draws for itself; the same draw in both networks.
"""

import pytest

from probes import pair, table
from probes.judge import both, decreases, exceeds
from probes.measure import accuracy
from probes.perturb import gaussian, layer_noise

TWINS = pair("resnet20@mnist5k#*", "plainnet20@mnist5k#*")
ARMS = {"between": ("resnet20", "plainnet20"), "unit": "train_seed"}


@pytest.mark.subjects(TWINS)
@pytest.mark.claim(
    "With shortcuts a network loses less accuracy when the outputs of random layers are perturbed: more than a point less at three"
    " layers, and not a point more at one or two.",
    id="RES",
    family="residual",
)
def test_residual_networks_lose_less_under_layer_noise(lab, claim):
    found = lab.sweep(accuracy, under=layer_noise(0, 0.5, layers=(1, 2, 3))).frame
    one, two, three = (found[found["layers"] == n] for n in ("1", "2", "3"))
    claim.holds(
        both(
            exceeds(three, "correct", **ARMS, sesoi="1 point"),
            exceeds(two, "correct", **ARMS, sesoi="-1 point"),
            exceeds(one, "correct", **ARMS, sesoi="-1 point"),
        )
    )


@pytest.mark.subjects("resnet20@mnist5k#*", "plainnet20@mnist5k#*")
@pytest.mark.claim(
    "The deeper the perturbed layer, the more accuracy is lost.",
    id="RES-DEPTH",
    family="residual",
)
def test_residual_depth_of_the_perturbed_layer_matters(lab, claim):
    found = lab.sweep(accuracy, under=layer_noise(0, 0.5, choice="each")).frame
    claim.holds(decreases(table.along(found, "layer"), "correct", unit="train_seed"))


@pytest.mark.subjects(TWINS)
@pytest.mark.claim(
    "With shortcuts a network loses at least a point less accuracy under noise on its images.",
    id="RES-PIXELS",
    family="residual",
)
def test_residual_networks_lose_less_under_pixel_noise(lab, claim):
    found = lab.sweep(accuracy, under=gaussian(0, 0.1))
    claim.holds(exceeds(found, "correct", **ARMS, sesoi="1 point"))
