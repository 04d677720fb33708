"""Are units specialised in what moves them, does it change with depth, and do two kinds of index
agree about it?

Sobol indices and Shapley effects of every unit by the augmentations of the first set, their order
and the image, for 20 disjoint random groups of test images; the unit of replication is the group,
and what is judged is the typical one.
The image is a factor of its own, so that no augmentation is charged with the change from one image
to another. Of each group there are 128 base points, whose errors of integration lower the agreement
of ranks: SA-ALIKE judges a lower bound.
"""

import pytest

from probes.judge import exceeds

GROUPS = {"unit": "image group"}
SUBJECTS = ("resnet20@mnist5k", "resnet18@cifar10")


@pytest.mark.subjects(*SUBJECTS)
@pytest.mark.claim(
    "Which augmentations move the units changes with depth: the mean shares of the last module lie"
    " more than .1 from those of the first (a squared distance of .01).",
    id="SA-DEPTH",
    family="sensitivity",
    expect={
        "resnet20@mnist5k": ("supported", "2026-11-26", "reports/sensitivity/claims"),
        "resnet18@cifar10": ("supported", "2026-11-26", "reports/sensitivity/claims"),
    },
)
def test_sensitivity_changes_with_depth(lab, claim):
    table = lab.sensitivity()
    claim.holds(exceeds(table.where(site=table.sites[-1]), "index_shift", sesoi=0.01, **GROUPS))


@pytest.mark.subjects(*SUBJECTS)
@pytest.mark.claim(
    "Units are specialised: in every module the largest share of a unit exceeds that of units whose"
    " shares have no tie by more than .02.",
    id="SA-PEAK",
    family="sensitivity",
    expect={
        "resnet20@mnist5k": ("refuted", "2026-11-22", "reports/sensitivity/claims"),
        "resnet18@cifar10": ("refuted", "2026-11-22", "reports/sensitivity/claims"),
    },
)
def test_sensitivity_of_units_is_specialised(lab, claim):
    claim.holds(exceeds(lab.sensitivity(), "index_peak", by="site", sesoi=0.02, **GROUPS))


@pytest.mark.subjects(*SUBJECTS)
@pytest.mark.claim(
    "Total Sobol indices and Shapley effects rank the augmentations alike: in every module rho"
    " exceeds .8, as a mean over units.",
    id="SA-ALIKE",
    family="sensitivity",
    expect={
        "resnet20@mnist5k": ("supported", "2026-11-22", "reports/sensitivity/claims"),
        "resnet18@cifar10": ("inconclusive", "2026-11-22", "reports/sensitivity/claims"),
    },
)
def test_sensitivity_ranks_are_alike(lab, claim):
    claim.holds(exceeds(lab.sensitivity(), "index_rho", by="site", sesoi=0.8, **GROUPS))
