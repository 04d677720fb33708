"""Are residual networks more robust than serial ones to noise on the outputs of their layers?

The control that isolates the shortcut: ResNet-20 and its plain twin, with the same parameters,
batch norm, first weights and batches for each of eight training seeds. As it was published:
ResNet-34 beside VGG-19 (here with batch norm), one network each. The noise has half of a layer's
clean standard deviation, after batch norm, on 1, 2 or 3 layers that each image draws for itself,
the same draw in both networks.
"""

import pytest

from probes import pair
from probes.judge import both, decreases, exceeds
from probes.measure import accuracy
from probes.perturb import gaussian, layer_noise

TWINS = pair("resnet20@mnist5k#*", "plainnet20@mnist5k#*")
DEEP = pair("resnet34@cifar10", "vgg19_bn_small@cifar10")
SEEDS = {"between": ("resnet20", "plainnet20"), "unit": "train_seed"}
IMAGES = {"between": ("resnet34", "vgg19_bn_small"), "unit": "image"}


def three_layers(sweep, arms):
    """More than a point less is lost at three perturbed layers, and not a point more at two or
    one."""
    one, two, three = (sweep.where(layers=n) for n in ("1", "2", "3"))
    return both(
        exceeds(three, "correct", **arms, sesoi="1 point"),
        exceeds(two, "correct", **arms, sesoi="-1 point"),
        exceeds(one, "correct", **arms, sesoi="-1 point"),
    )


@pytest.mark.subjects(TWINS)
@pytest.mark.claim(
    "resnet20 loses less accuracy than plainnet20 when the outputs of random layers are perturbed:"
    " more than a point less at three layers, and not a point more at one or two.",
    id="RES",
    family="residual",
    expect={str(TWINS): ("refuted", "2026-11-22", "reports/residual/claims")},
)
def test_residual_networks_lose_less_under_layer_noise(lab, claim):
    claim.holds(
        three_layers(lab.sweep(accuracy, under=layer_noise(0, 0.5, layers=(1, 2, 3))), SEEDS)
    )


@pytest.mark.slow
@pytest.mark.subjects("resnet20@mnist5k#*")
@pytest.mark.claim(
    "The deeper the perturbed block, the more accuracy is lost.",
    id="RES-BLOCK",
    family="residual",
    expect={"resnet20@mnist5k#*": ("refuted", "2026-11-22", "reports/residual/claims")},
)
def test_residual_depth_of_the_perturbed_block_matters(lab, claim):
    found = lab.sweep(accuracy, under=layer_noise(0, 0.5, on="*.bn2", choice="each"))
    claim.holds(decreases(found.along("layer"), "correct", unit="train_seed"))


@pytest.mark.subjects(TWINS)
@pytest.mark.claim(
    "resnet20 loses at least a point less accuracy than plainnet20 under noise on its images.",
    id="RES-PIXELS",
    family="residual",
    expect={str(TWINS): ("refuted", "2026-11-22", "reports/residual/claims")},
)
def test_residual_networks_lose_less_under_pixel_noise(lab, claim):
    claim.holds(
        exceeds(lab.sweep(accuracy, under=gaussian(0, 0.1)), "correct", **SEEDS, sesoi="1 point")
    )


@pytest.mark.subjects(DEEP)
@pytest.mark.claim(
    "resnet34 loses less accuracy than vgg19_bn_small when the outputs of random layers are"
    " perturbed: more than a point less at three layers, and not a point more at one or two.",
    id="RES-PUBLISHED",
    family="residual",
    expect={str(DEEP): ("inconclusive", "2026-11-22", "reports/residual/claims")},
)
def test_residual_as_published_under_layer_noise(lab, claim):
    claim.holds(
        three_layers(lab.sweep(accuracy, under=layer_noise(0, 0.5, layers=(1, 2, 3))), IMAGES)
    )


@pytest.mark.subjects(DEEP)
@pytest.mark.claim(
    "resnet34 loses at least a point less accuracy than vgg19_bn_small under noise on its images.",
    id="RES-PUBLISHED-PIXELS",
    family="residual",
    expect={str(DEEP): ("inconclusive", "2026-11-22", "reports/residual/claims")},
)
def test_residual_as_published_under_pixel_noise(lab, claim):
    claim.holds(
        exceeds(lab.sweep(accuracy, under=gaussian(0, 0.1)), "correct", **IMAGES, sesoi="1 point")
    )
