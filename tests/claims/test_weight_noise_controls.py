"""Controls of the claims on weight noise: no effect is not supported, a planted one is found, and
gone when taken out.
"""

import dataclasses

import numpy as np
import pytest

from probes import seeds, table
from probes.judge import exceeds
from probes.measure import accuracy
from probes.perturb import weight_noise
from probes.run.bench import Bench

ALPHA, STRENGTH, REPETITIONS, IMAGES = 0.05, 0.2, 100, 250
pytestmark = [pytest.mark.slow, pytest.mark.subjects("resnet20@mnist5k#*")]


def two_draws(lab):
    """Eight runs at equal strength, a draw of directions for either arm: no effect, by
    construction. It is judged by training seed, so that a quarter of the images is enough.
    """
    few = Bench(lab.specs, lab.store, dataclasses.replace(lab.options, images=IMAGES))
    frame = few.sweep(accuracy, under=weight_noise(0, STRENGTH), draws=2).frame
    arms = []
    for draw, arm in enumerate(("noisy", "clean")):
        part = frame[(frame["draw"] == draw) | (frame["level"] == 0)]
        arms.append(part.assign(weights=arm, draw=0))
    return table.join(arms)


def ask(frame, sesoi):
    return exceeds(
        frame, "correct", between=("noisy", "clean"), arm="weights", unit="train_seed", sesoi=sesoi
    )


def test_control_two_draws_at_equal_strength_are_not_supported(lab):
    """Trap S7: the arms of each run change places at random, 100 times."""
    frame = two_draws(lab)
    effect = (
        frame.groupby(["train_seed", "weights", "level"], observed=True)["correct"]
        .mean()
        .unstack("level")
    )
    drops = (effect[STRENGTH] - effect[0.0]).unstack("weights")
    supported = {"0 points": 0, "2.8 points": 0}
    for repetition in range(REPETITIONS):
        swap = seeds.uniform(len(drops), "control", "weight noise", repetition) < 0.5
        runs = []
        for arm, other in (("noisy", "clean"), ("clean", "noisy")):
            values = np.where(swap, drops[arm], drops[other])
            for level, part in ((0.0, 0 * values), (STRENGTH, values)):
                rows = frame.iloc[: len(drops)][table.keys_of(frame)].assign(
                    train_seed=drops.index, weights=arm, image=0, level=level
                )
                runs.append(rows.assign(correct=part))
        one = table.join(runs)
        for sesoi in supported:
            supported[sesoi] += ask(one, sesoi).overall == "supported"

    assert supported["0 points"] / REPETITIONS <= ALPHA + 2 * np.sqrt(
        ALPHA * (1 - ALPHA) / REPETITIONS
    )
    assert supported["2.8 points"] == 0


def test_control_a_planted_gain_is_found_and_gone_when_taken_out(lab):
    frame = two_draws(lab)
    clean = frame[frame["weights"] == "clean"]
    for gain, expected in ((0.04, "supported"), (0.0, "inconclusive")):
        planted = clean.assign(
            weights="noisy", correct=clean["correct"] + gain * (clean["level"] == STRENGTH)
        )
        found = ask(table.join([planted, clean]), "2.8 points")

        assert found.overall == expected
        assert ("exactly 0" in found[""].obstacle) == (gain == 0)
