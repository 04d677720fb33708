"""Controls of the claims on residual networks: a network beside itself is not supported, a planted
difference is, and no more.
"""

import numpy as np
import pytest

from probes import seeds, table
from probes.judge import both, decreases, exceeds
from probes.measure import accuracy
from probes.perturb import layer_noise

pytestmark = pytest.mark.subjects("resnet20@mnist5k#*")
ARMS = {"between": ("twin", "resnet20"), "unit": "train_seed"}


def runs_of(lab):
    """The sweep of the claim, of eight runs of one network."""
    return lab.sweep(accuracy, under=layer_noise(0, 0.5, layers=(1, 2, 3))).frame


def ask(frame):
    one, two, three = (frame[frame["layers"] == n] for n in ("1", "2", "3"))
    parts = [
        exceeds(part, "correct", **ARMS, sesoi=f"{sesoi} point")
        for part, sesoi in ((three, 1), (two, -1), (one, -1))
    ]
    return both(*parts)


def test_control_residual_runs_against_one_another_are_not_supported(lab):
    """Trap S7: each run beside another one of the same network, in 20 random orders."""
    frame = runs_of(lab)
    runs = sorted(frame["train_seed"].unique())
    for repetition in range(20):
        order = [runs[i] for i in seeds.permutation(len(runs), "control", "residual", repetition)]
        twin = frame.assign(
            net="twin", train_seed=frame["train_seed"].map(dict(zip(runs, order, strict=True)))
        )

        assert ask(table.join([twin, frame])).overall != "supported"


def test_control_residual_a_planted_difference_is_found_and_gone_when_taken_out(lab):
    """The same runs as both arms; one of them names 4 % more images right where layers are
    perturbed.
    """
    frame = runs_of(lab)
    for gain, expected in ((0.04, "supported"), (0.0, "inconclusive")):
        twin = frame.assign(net="twin", correct=frame["correct"] + gain * (frame["level"] > 0))

        assert ask(table.join([twin, frame])).overall == expected


def test_control_residual_layers_in_a_random_order_have_no_slope(lab):
    """The layers of each run in an order of its own: what is lost can't fall along them."""
    found = lab.sweep(accuracy, under=layer_noise(0, 0.5, on="*.bn2", choice="each")).frame
    top = table.along(found, "layer")
    mixed = []
    for run, part in top.groupby("train_seed"):
        places = np.sort(part["level"].unique())
        order = places[seeds.permutation(len(places), "control", "layers", int(run))]
        mixed.append(part.assign(level=part["level"].map(dict(zip(places, order, strict=True)))))

    assert decreases(table.join(mixed), "correct", unit="train_seed").overall != "supported"
