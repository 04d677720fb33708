"""Do sensitivity indices predict what matters, and do their maps say which augmentation they are
of?

The total index of every unit of every stage is measured on training images, under the augmentations
of the first set. The fifth of the units of each stage with the largest index for an augmentation is
removed, and accuracy under that augmentation is compared with that without as many units at random,
and at random with the same magnitudes: 20 draws, common to all images. A point of accuracy is the
smallest effect of interest. What a mask costs under its augmentation is compared with what it costs
on clean images.

The maps of total indices are named by a linear discriminant analysis whose folds never split a
channel, for 20 disjoint random groups of images: 10 points beyond permuted labels are the smallest
effect of interest, as they are and without their level.
"""

import pytest

from probes.judge import both, exceeds, falls, rises

SUBJECTS = ("resnet20@mnist5k", "resnet18@cifar10")
BESIDE = {"by": "site", "unit": "image and draw", "sesoi": "1 point"}


@pytest.mark.subjects(*SUBJECTS)
@pytest.mark.claim(
    "Without the units most sensitive to an augmentation, accuracy under it is more than a point"
    " lower than without as many random units, for every augmentation.",
    id="MASK-RANDOM",
    family="masking",
    expect={
        "resnet20@mnist5k": ("mixed", "2026-11-22", "reports/masking/claims"),
        "resnet18@cifar10": ("inconclusive", "2026-11-22", "reports/masking/claims"),
    },
)
def test_masking_sensitive_units_costs_more_than_random_ones(lab, claim):
    claim.holds(falls(lab.masking().random, "correct", **BESIDE))


@pytest.mark.subjects(*SUBJECTS)
@pytest.mark.claim(
    "Without the units most sensitive to an augmentation, accuracy under it is more than a point"
    " lower than without as many random units of the same magnitudes, for every augmentation.",
    id="MASK-MATCHED",
    family="masking",
    expect={
        "resnet20@mnist5k": ("inconclusive", "2026-11-22", "reports/masking/claims"),
        "resnet18@cifar10": ("inconclusive", "2026-11-22", "reports/masking/claims"),
    },
)
def test_masking_sensitive_units_costs_more_than_units_of_their_magnitude(lab, claim):
    claim.holds(falls(lab.masking().matched, "correct", **BESIDE))


@pytest.mark.subjects(*SUBJECTS)
@pytest.mark.claim(
    "Without the units most sensitive to an augmentation, accuracy under it falls by more than a"
    " point more than on clean images, for every augmentation.",
    id="MASK-OWN",
    family="masking",
    expect={
        "resnet20@mnist5k": ("inconclusive", "2026-11-22", "reports/masking/claims"),
        "resnet18@cifar10": ("inconclusive", "2026-11-22", "reports/masking/claims"),
    },
)
def test_masking_sensitive_units_costs_more_under_their_augmentation(lab, claim):
    claim.holds(rises(lab.masking().own, "mask_lost", by="site", sesoi="1 point"))


@pytest.mark.slow
@pytest.mark.subjects(*SUBJECTS)
@pytest.mark.claim(
    "In every stage the maps of total indices tell which augmentation they are of: more than 10"
    " points of them beyond permuted labels, as they are and without their level.",
    id="MAP-NAMED",
    family="masking",
    expect={
        "resnet20@mnist5k": ("supported", "2026-11-22", "reports/masking/claims"),
        "resnet18@cifar10": ("inconclusive", "2026-11-22", "reports/masking/claims"),
    },
)
def test_masking_maps_tell_their_augmentation(lab, claim):
    table = lab.sensitivity(maps=True)
    claim.holds(
        both(
            *(
                exceeds(table, m, by="site", unit="image group", sesoi=0.1)
                for m in ("index_named", "index_pattern")
            )
        )
    )
