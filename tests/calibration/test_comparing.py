"""Comparisons of a network with itself, under independent draws: how often *worse* or *better* is
said of it.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from probes.batch import Draw
from probes.comparing.answers import level, means_of, overall, question
from probes.judge.lazytable import LazyTable
from probes.judge.power import Design
from probes.perturb import gaussian
from probes.run.cells import images_under
from probes.store import Store
from probes.subjects import data
from probes.subjects.sending import pixels

COMPARISONS, IMAGES = 400, 120
LEVELS = (0.05, 0.2)
ALPHA = 0.05


class Drawn(LazyTable):
    """Answers of one network under two draws of noise, as an old and a new network's."""

    def __init__(self, old, new):
        self.alpha, self.say = level(ALPHA, 1), lambda text: None
        self.design = Design("d", IMAGES, "", 1, 0, (0.0,), (("old", 1), ("new", 1)))
        self.old, self.new = old, new

    def compute(self):
        k = len(LEVELS)
        out = pd.DataFrame(
            {
                "net": np.repeat(["old", "new"], k * IMAGES),
                **{"weights": "w", "dataset": "d", "train_seed": 0, "draw": 0, "level": 0.0},
                **{"image": np.tile(np.arange(IMAGES), 2 * k), "site": "output"},
                "condition": np.tile(np.repeat([f"σ {v:g}" for v in LEVELS], IMAGES), 2),
                "correct": np.r_[self.old.ravel(), self.new.ravel()].astype(float),
            }
        )
        out.attrs["keys"] = ["condition"]
        return out


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A linear network that was fitted to 1,000 digits, and 120 digits that it has not seen."""
    store = Store(tmp_path_factory.mktemp("store"))
    digits = data.load("mnist5k", "train", store).sample(1000)
    x = pixels(digits).flatten(1).double()
    y = torch.eye(10, dtype=x.dtype)[torch.from_numpy(digits.labels)]
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10, bias=False)).eval()
    with torch.no_grad():
        net[1].weight.copy_(
            torch.linalg.solve(x.T @ x + torch.eye(784, dtype=x.dtype), x.T @ y).T.float()
        )
    return net, data.load("mnist5k", "test", store).sample(IMAGES)


@pytest.fixture(scope="module")
def answers(network):
    """Whether each image is named right: an array (draws, levels, images) of 800 draws."""
    net, digits = network
    clean, labels = pixels(digits), torch.from_numpy(digits.labels)
    found = np.empty((2 * COMPARISONS, len(LEVELS), IMAGES), bool)
    with torch.inference_mode():
        for d in range(2 * COMPARISONS):
            name = Draw(0, digits.name, d)
            eps = images_under(
                *(gaussian(0, 1, clamp=False), clean, digits.ids, 1.0, name), (0.0,), (1.0,)
            )
            for i, sigma in enumerate(LEVELS):
                seen = (clean + sigma * (eps - clean)).clamp(0, 1)
                found[d, i] = (net(seen).argmax(1) == labels).numpy()
    return found


def answered(table, margin):
    q = question("correct", margin, lambda ask: ask(table), lambda ask, _: ask(table))
    rows = q.rows(means_of(table, "correct"), 0.1)
    return overall([q], rows), {row.answer for row in rows}


def test_a_network_is_called_worse_or_better_than_itself_at_most_alpha_of_the_times(answers):
    """At a margin of 0, over all conditions; each pair of draws is used once."""
    wrong = 0
    for i in range(COMPARISONS):
        whole, rows = answered(Drawn(answers[2 * i], answers[2 * i + 1]), 0)
        wrong += bool(rows & {"worse", "better"}) or whole in ("worse", "better")

    assert 0 < answers.mean(axis=(0, 2)).min() < answers.mean(axis=(0, 2)).max() < 0.95
    assert wrong / COMPARISONS <= ALPHA + 2 * (ALPHA * (1 - ALPHA) / COMPARISONS) ** 0.5


def test_a_loss_of_three_in_ten_is_found(answers):
    """Else a comparison that never decides would keep its error rate too."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(40):
        hurt = answers[2 * i + 1] & (rng.uniform(size=(len(LEVELS), IMAGES)) > 0.3)
        found.append(answered(Drawn(answers[2 * i], hurt), 0)[0])

    assert found.count("worse") >= 38
