"""What do corruptions, an attack and low precision cost, and whom do they cost less?

Corruptions are one of each published kind (noise, blur, weather, digital), or three of each, at
severity 3 of 5. ResNet-20 and its plain twin share first weights and batches for each of eight
training seeds. The attack is projected gradient descent of five steps within .05 of each pixel,
beside random signs of that size. Twelve corruptions are the most that eight seeds can decide. The
networks for colour images are left out where weights are rounded to 8 bits: theirs are stored in 8
bits per output channel, so that nothing would change.
"""

import pytest

from probes import pair
from probes.judge import below, exceeds, falls
from probes.measure import accuracy
from probes.perturb import attacked, corruption, pgd, quantised

TWINS = pair("resnet20@mnist5k#*", "plainnet20@mnist5k#*")
DEEP = pair("resnet34@cifar10", "vgg19_bn_small@cifar10")
ONE_OF_EACH = corruption("gaussian_noise", "defocus_blur", "fog", "pixelate", severity=3)
THREE_OF_EACH = corruption(
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "motion_blur", "zoom_blur"),
    *("snow", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate"),
    severity=3,
)


@pytest.mark.subjects("resnet20@mnist5k", "resnet18@cifar10")
@pytest.mark.claim(
    "Each of four corruptions costs 5 points of accuracy or more.",
    id="ROB-COST",
    family="robustness",
    expect={
        "resnet20@mnist5k": ("mixed", "2026-11-27", "reports/robustness/claims"),
        "resnet18@cifar10": ("inconclusive", "2026-11-27", "reports/robustness/claims"),
    },
)
def test_robustness_to_a_corruption_of_each_kind(lab, claim):
    table = lab.sweep(accuracy, under=ONE_OF_EACH)
    claim.holds(falls(table, "correct", by="corruption", sesoi="5 points"))


@pytest.mark.slow
@pytest.mark.subjects(TWINS)
@pytest.mark.claim(
    "resnet20 loses at least a point less accuracy than plainnet20 under each of twelve"
    " corruptions.",
    id="ROB-TWINS",
    family="robustness",
    expect={
        str(TWINS): ("inconclusive", "2026-11-27", "reports/robustness/claims"),
    },
)
def test_robustness_of_residual_networks_to_corruptions(lab, claim):
    table = lab.sweep(accuracy, under=THREE_OF_EACH)
    arms = {"between": ("resnet20", "plainnet20"), "unit": "train_seed"}
    claim.holds(exceeds(table, "correct", **arms, by="corruption", sesoi="1 point"))


@pytest.mark.subjects(DEEP)
@pytest.mark.claim(
    "resnet34 loses at least a point less accuracy than vgg19_bn_small under each of four"
    " corruptions.",
    id="ROB-DEEP",
    family="robustness",
    expect={
        str(DEEP): ("inconclusive", "2026-11-27", "reports/robustness/claims"),
    },
)
def test_robustness_of_a_residual_network_beside_a_serial_one(lab, claim):
    table = lab.sweep(accuracy, under=ONE_OF_EACH)
    arms = {"between": ("resnet34", "vgg19_bn_small")}
    claim.holds(exceeds(table, "correct", **arms, by="corruption", sesoi="1 point"))


@pytest.mark.subjects("resnet20@mnist5k#*", "plainnet20@mnist5k#*")
@pytest.mark.claim(
    "Weights of 8 bits cost less than half a point of accuracy.",
    id="ROB-INT8",
    family="robustness",
    expect={
        "resnet20@mnist5k#*": ("supported", "2026-11-27", "reports/robustness/claims"),
        "plainnet20@mnist5k#*": ("supported", "2026-11-27", "reports/robustness/claims"),
    },
)
def test_robustness_to_weights_of_8_bits(lab, claim):
    table = lab.sweep(accuracy, under=quantised(8))
    claim.holds(exceeds(table, "correct", unit="train_seed", sesoi="-0.5 points"))


@pytest.mark.subjects("resnet20@mnist5k")
@pytest.mark.claim(
    "An attack costs at least 5 points of accuracy more than random noise of the same size.",
    id="ROB-ATTACK",
    family="robustness",
    expect={
        "resnet20@mnist5k": ("supported", "2026-11-27", "reports/robustness/claims"),
    },
)
def test_robustness_to_an_attack_and_to_noise_of_its_size(lab, claim):
    under = attacked(pgd(steps=5), levels=(0, 0.05), noise=True)
    table = lab.sweep(accuracy, under=under)
    arms = {"between": ("attack", "noise"), "arm": "attack"}
    claim.holds(below(table, "correct", **arms, sesoi="5 points"))
