"""How do residual blocks respond to noise on the input?  H0, H1, and what the shortcut has to do
with it.

After "Investigating Internal Dynamics of Pre-trained ResNet Models Under Input Uncertainty": H1 and
H0 compete, and a block may support one, both or neither.
"""

import pytest

from probes import pair
from probes.judge import both, exceeds, falls, rises
from probes.measure import block_metrics
from probes.perturb import gaussian


@pytest.mark.subjects("resnet20@mnist5k", "resnet18@cifar10", "resnet18:imagenet1k_v1@cifar10")
@pytest.mark.claim(
    "Noise raises Var h(x) and lowers the sparsity after the last ReLU, in every block.",
    id="H1",
    family="dynamics",
    expect={
        "resnet20@mnist5k": ("mixed", "2026-11-22", "reports/dynamics"),
        "resnet18@cifar10": ("refuted", "2026-11-22", "reports/dynamics-resnet18"),
    },
)
def test_hypothesis_h1(lab, claim):
    table = lab.sweep(block_metrics, under=gaussian(0, 0.05, 0.1, 0.15, 0.2, 0.25))
    claim.holds(
        both(
            rises(table, "var_h", by="site", sesoi="1 %"),
            falls(table, "sparsity", by="site", sesoi="0.5 points"),
        )
    )


@pytest.mark.subjects("resnet20@mnist5k", "resnet18@cifar10", "resnet18:imagenet1k_v1@cifar10")
@pytest.mark.claim(
    "Noise lowers the L2 norm of h(x), in every block.",
    id="H0",
    family="dynamics",
    expect={
        "resnet20@mnist5k": ("refuted", "2026-11-22", "reports/dynamics"),
        "resnet18@cifar10": ("mixed", "2026-11-22", "reports/dynamics-resnet18"),
    },
)
def test_hypothesis_h0(lab, claim):
    table = lab.sweep(block_metrics, under=gaussian(0, 0.05, 0.1, 0.15, 0.2, 0.25))
    claim.holds(falls(table, "l2_h", by="site", sesoi="1 %"))


@pytest.mark.subjects(pair("resnet20@mnist5k#*", "plainnet20@mnist5k#*"))
@pytest.mark.claim(
    "Without shortcuts the L2 norm of h(x) responds more to noise (mean over the blocks).",
    id="SHORTCUT",
    family="dynamics",
    expect={
        "resnet20@mnist5k#* + plainnet20@mnist5k#*": ("refuted", "2026-11-22", "reports/dynamics")
    },
)
def test_shortcut_changes_response(lab, claim):
    table = lab.sweep(block_metrics, under=gaussian(0, 0.25))
    claim.holds(
        exceeds(table, "l2_h", between=("plainnet20", "resnet20"), unit="train_seed", sesoi="1 %")
    )
