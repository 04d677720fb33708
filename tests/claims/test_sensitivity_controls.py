"""Controls of the claims on sensitivity: units with and without specialisation, agreement and
change with depth, planted.
"""

import numpy as np
import pandas as pd
import pytest
import torch

from probes import seeds
from probes.judge import exceeds
from probes.measure.indices import Indices
from probes.studies.sensitivity import claims as sensing

GROUPS, UNITS = 20, 400
NAMES = ("a", "b", "c", "order", "image")


def drawn(*name):
    return np.random.Generator(np.random.Philox(int(seeds.words(1, "control", *name)[0])))


def indices(shapley, total):
    """Indices of units from the shares (3, units) of three augmentations."""
    rest = np.full((2, UNITS), 0.3)
    found = [torch.from_numpy(np.concatenate([values, rest])) for values in (total, shapley)]
    return Indices(
        NAMES,
        8,
        torch.zeros(UNITS),
        torch.ones(UNITS),
        torch.zeros(UNITS, dtype=torch.bool),
        found[0],
        found[0],
        found[1],
    )


def table_of(make):
    """The table of a claim, of 20 groups of images, from ``make(group, module)``."""
    rows = sensing.rows_of(
        [{module: make(group, module) for module in ("first", "last")} for group in range(GROUPS)]
    )
    labels = {
        "net": "made",
        "weights": "w",
        "dataset": "d",
        "train_seed": 0,
        "draw": 0,
        "level": 0.0,
    }
    out = rows.assign(**labels, site=pd.Categorical(rows["site"], ["first", "last"], ordered=True))
    out.attrs["groups"] = True
    return out


def verdict(frame, metric, sesoi):
    return exceeds(frame, metric, by="site", unit="image group", sesoi=sesoi).overall


@pytest.mark.parametrize(("tie", "expected"), [(0.9, "supported"), (0.0, "refuted")])
def test_control_sensitivity_of_planted_units_is_specialised_and_of_untied_ones_is_not(
    tie, expected
):
    """Trap S7: every unit prefers one augmentation, or its shares are drawn one by one."""

    def make(group, module):
        shares = drawn("peak", group, module).gamma(2.0, size=(3, UNITS))
        shares *= np.where(np.arange(UNITS) % 3 == np.arange(3)[:, None], 1, 1 - tie)
        return indices(shares, shares)

    assert verdict(table_of(make), "index_peak", 0.02) == expected


@pytest.mark.parametrize(("alike", "expected"), [(True, "supported"), (False, "inconclusive")])
def test_control_sensitivity_ranks_that_agree_are_found_and_others_are_not(alike, expected):
    def make(group, module):
        rng = drawn("rho", group, module)
        shares = rng.gamma(2.0, size=(3, UNITS))
        return indices(
            shares,
            (
                shares + rng.normal(0, 0.01, shares.shape)
                if alike
                else rng.gamma(2.0, size=shares.shape)
            ),
        )

    assert verdict(table_of(make), "index_rho", 0.8) == expected


@pytest.mark.parametrize(("shift", "expected"), [(0.6, "supported"), (0.0, "refuted")])
def test_control_sensitivity_that_changes_with_depth_is_found_and_chance_is_not(shift, expected):
    """The last module's mean shares lie .37 from the first's, or nowhere but where chance puts
    them."""

    def make(group, module):
        weights = np.array([1.0, 1.0, 1.0]) / 3 + (module == "last") * shift * np.array(
            [0.5, -0.25, -0.25]
        )
        shares = weights[:, None] * drawn("shift", group, module).gamma(2.0, size=(3, UNITS))
        return indices(shares, shares)

    frame = table_of(make)
    last = frame[frame["site"] == "last"]
    assert exceeds(last, "index_shift", unit="image group", sesoi=0.01).overall == expected
