"""Feature maps under noise: do they move further from the clean ones with depth, and are fewer of
them zero?
"""

import itertools

import pytest

from probes.judge import both, exceeds, falls
from probes.measure import FeatureMetrics, feature_metrics
from probes.perturb import gaussian


@pytest.mark.subjects(
    "resnet20@mnist5k", "resnet18@cifar10", "resnet18:imagenet1k_v1@imagefolder:imagenet-sample"
)
@pytest.mark.claim(
    "The deeper the stage, the further noise moves its feature maps from the clean ones, relative"
    " to their norm.",
    id="DEPTH",
    family="feature maps",
    expect={
        "resnet20@mnist5k": ("refuted", "2026-11-22", "reports/feature-maps/resnet20/claims"),
        "resnet18@cifar10": ("refuted", "2026-11-22", "reports/feature-maps/resnet18/claims"),
    },
)
def test_feature_distance_rises_with_depth(lab, claim):
    stages = ("layer1", "layer2", "layer3")
    table = lab.sweep(FeatureMetrics(layers=stages), under=gaussian(0, 0.1))
    claim.holds(
        both(
            *(
                exceeds(table, "map_distance", between=(deep, shallow), arm="site", sesoi=0.05)
                for shallow, deep in itertools.pairwise(stages)
            )
        )
    )


@pytest.mark.subjects(
    "resnet20@mnist5k", "resnet18@cifar10", "resnet18:imagenet1k_v1@imagefolder:imagenet-sample"
)
@pytest.mark.claim(
    "Noise lowers the share of zeros in the feature maps of every stage.",
    id="ZEROS",
    family="feature maps",
    expect={
        "resnet20@mnist5k": ("mixed", "2026-11-22", "reports/feature-maps/resnet20/claims"),
        "resnet18@cifar10": ("supported", "2026-11-22", "reports/feature-maps/resnet18/claims"),
    },
)
def test_feature_zeros_fall_with_noise(lab, claim):
    table = lab.sweep(feature_metrics, under=gaussian(0, 0.1, 0.25))
    claim.holds(falls(table, "map_zeros", by="site", sesoi="0.5 points"))
