"""Does training with weight noise buy robustness to weight noise?

Eight training seeds of each regime, paired: same initial weights, same batches, and in the sweep
the same directions of noise. The strength is the primary one: the smallest of .1, .2, .5 and 1 at
which networks trained without noise lose 5 points of accuracy or more, on seeds that are not judged
here. `probes run weight-noise mlp_small cnn --dataset mnist5k --seeds 0-7 --out
reports/weight-noise/mnist5k` found it, and how much is lost there; its table is in
`calibration.csv` of that folder.
"""

import pytest

from probes import pair
from probes.judge import decreases, exceeds
from probes.measure import accuracy
from probes.perturb import corruption, weight_noise

PRIMARY, LOST = (
    1.0,
    14.76,
)  # alpha; points of accuracy that mlp_small loses there when trained without noise
NETS = pair("mlp_small:clean@mnist5k#*", "mlp_small:noisy@mnist5k#*")
SEEDS = 8


@pytest.mark.subjects(NETS)
@pytest.mark.claim(
    "Training with weight noise makes a network lose less accuracy under weight noise: a fifth of"
    " the loss, or more.",
    id="WN",
    family="weight noise",
    expect={
        "mlp_small:clean@mnist5k#* + mlp_small:noisy@mnist5k#*": (
            "inconclusive",
            "2026-11-22",
            "reports/weight-noise/claims",
        )
    },
)
def test_weight_noise_in_training_makes_it_cost_less(lab, claim):
    table = lab.train(SEEDS).sweep(accuracy, under=weight_noise(0, PRIMARY), draws=5)
    sesoi = f"{0.2 * LOST:g} points"
    claim.holds(
        exceeds(
            table,
            "correct",
            between=("noisy", "clean"),
            arm="weights",
            unit="train_seed",
            sesoi=sesoi,
        )
    )


@pytest.mark.subjects(NETS)
@pytest.mark.claim(
    "Training with weight noise costs at most half a point of clean accuracy.",
    id="WN-COST",
    family="weight noise",
    expect={
        "mlp_small:clean@mnist5k#* + mlp_small:noisy@mnist5k#*": (
            "supported",
            "2026-11-22",
            "reports/weight-noise/claims",
        )
    },
)
def test_weight_noise_in_training_costs_little_accuracy(lab, claim):
    table = lab.train(SEEDS).sweep(accuracy, under=weight_noise(0))
    claim.holds(
        exceeds(
            table,
            "correct",
            between=("noisy", "clean"),
            arm="weights",
            unit="train_seed",
            sesoi="-0.5 points",
        )
    )


@pytest.mark.subjects(NETS)
@pytest.mark.claim(
    "A network trained with weight noise loses at least a point less accuracy than one trained"
    " without, under each of four corruptions that neither saw.",
    id="ROB-NOISY",
    family="robustness",
    expect={str(NETS): ("inconclusive", "2026-11-27", "reports/robustness/claims")},
)
def test_weight_noise_in_training_under_corruptions_that_were_not_seen(lab, claim):
    under = corruption("gaussian_noise", "defocus_blur", "fog", "pixelate", severity=3)
    table = lab.train(SEEDS).sweep(accuracy, under=under)
    arms = {"between": ("noisy", "clean"), "arm": "weights", "unit": "train_seed"}
    claim.holds(exceeds(table, "correct", **arms, by="corruption", sesoi="1 point"))


@pytest.mark.subjects("mlp_small:clean@mnist5k#*", "mlp_small:noisy@mnist5k#*")
@pytest.mark.claim(
    "The loss of accuracy rises with the strength of weight noise.",
    id="WN-RISE",
    family="weight noise",
    expect={
        "mlp_small:clean@mnist5k#*": ("supported", "2026-11-22", "reports/weight-noise/claims"),
        "mlp_small:noisy@mnist5k#*": ("supported", "2026-11-22", "reports/weight-noise/claims"),
    },
)
def test_weight_noise_costs_more_the_stronger_it_is(lab, claim):
    table = lab.train(SEEDS).sweep(
        accuracy, under=weight_noise(0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, PRIMARY), draws=5
    )
    claim.holds(decreases(table, "correct", unit="train_seed"))


@pytest.mark.slow
@pytest.mark.subjects("resnet20@mnist5k#*")
@pytest.mark.claim(
    "Under weight noise, batch norm re-estimated on 1,000 training images brings back 5 points of"
    " accuracy or more.",
    id="WN-NORM",
    family="weight noise",
    expect={"resnet20@mnist5k#*": ("supported", "2026-11-22", "reports/weight-noise/claims")},
)
def test_weight_noise_is_partly_undone_by_re_estimating_batch_norm(lab, claim):
    under = weight_noise(0, 0.5, batch_norm=("frozen", "re-estimated"))
    table = lab.sweep(accuracy, under=under, draws=3)
    claim.holds(
        exceeds(
            table,
            "correct",
            between=("re-estimated", "frozen"),
            arm="batch_norm",
            unit="train_seed",
            sesoi="5 points",
        )
    )
