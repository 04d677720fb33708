"""DEPTH and ZEROS: their sentences, and the questions that are asked of a bench."""

from __future__ import annotations

import itertools

from probes.errors import BadInput
from probes.judge import Verdicts, both, exceeds, falls
from probes.measure import FeatureMetrics, feature_metrics, stages
from probes.perturb import gaussian
from probes.run.bench import Bench
from probes.run.judging import Claims
from probes.subjects import data as datasets
from probes.subjects.spec import Spec
from probes.subjects.subject import Subject


def depth(lab: Bench) -> Verdicts:
    """DEPTH: from each of the first three stages to the next, the relative distance to the clean
    maps grows by more than .05.
    """
    names = ("layer1", "layer2", "layer3")
    sweep = lab.sweep(FeatureMetrics(layers=names), under=gaussian(0, 0.1))
    pairs = itertools.pairwise(names)
    return both(
        *(exceeds(sweep, "map_distance", between=(b, a), arm="site", sesoi=0.05) for a, b in pairs)
    )


def zeros(lab: Bench) -> Verdicts:
    """ZEROS: the share of zeros falls by more than half a point, in every stage."""
    return falls(
        lab.sweep(feature_metrics, under=gaussian(0, 0.1, 0.25)),
        "map_zeros",
        by="site",
        sesoi="0.5 points",
    )


CLAIMS: Claims = {
    "DEPTH": (
        (
            "The deeper the stage, the further noise moves its feature maps from the clean ones,"
            " relative to their norm."
        ),
        depth,
    ),
    "ZEROS": ("Noise lowers the share of zeros in the feature maps of every stage.", zeros),
}
"""The sentences and the questions of the two claims, the same as those of the tests; pixel space,
clamped.
"""


def check_claims(subject: Subject, images: str, spec: Spec) -> None:
    """Raise BadInput, before any work, unless claims can be judged: they need the whole dataset
    that the network was trained on, and its first three stages.
    """
    if subject.data.name not in datasets.datasets:
        raise BadInput(f"claims are judged on a dataset, not on files: --images {images}")
    if spec.dataset not in (None, subject.data.name):
        raise BadInput(
            f"claims are judged on the dataset of the network: {spec} has another than --images"
            f" {images}"
        )
    if lost := {"layer1", "layer2", "layer3"} - set(stages(subject.model)):
        raise BadInput(f"the claims read layer1, layer2 and layer3; {spec.net} has no {min(lost)}")
