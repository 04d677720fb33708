"""Controls of the claims on masks (trap S7): planted units are found and random ones are not, maps
with a pattern are named.
"""

import numpy as np
import pandas as pd
import pytest
import torch

from probes import seeds
from probes.judge import both, exceeds, falls, rises
from probes.measure.indices import Indices
from probes.studies.sensitivity import claims as sensing

IMAGES, DRAWS, GROUPS = 400, 20, 20


def drawn(*name):
    return np.random.Generator(np.random.Philox(int(seeds.words(1, "mask control", *name)[0])))


def labelled(rows, site="erasing"):
    return rows.assign(net="made", weights="w", dataset="d", train_seed=0, site=site)


def beside(guided, random=0.6):
    """Right or wrong under random masks (level 0, of every draw) and under the guided one (level
    1), as shares of images.
    """
    rng = drawn("beside", str(guided))
    able = rng.uniform(size=IMAGES)  # some images are hard whatever the mask
    rows = []
    for draw in range(DRAWS):
        level = random + rng.normal(0, 0.02)
        rows.append(
            pd.DataFrame(
                {
                    "image": np.arange(IMAGES),
                    "draw": draw,
                    "level": 0.0,
                    "correct": (able < level) * 1.0,
                }
            )
        )
        rows.append(
            pd.DataFrame(
                {
                    "image": np.arange(IMAGES),
                    "draw": draw,
                    "level": 1.0,
                    "correct": (able < guided) * 1.0,
                }
            )
        )
    frame = labelled(pd.concat(rows, ignore_index=True))
    frame.attrs["draws"] = "common"
    return frame


@pytest.mark.parametrize(
    ("guided", "expected"), [(0.3, "supported"), (0.75, "refuted"), (0.59, "inconclusive")]
)
def test_control_masking_planted_units_are_found_and_harmless_ones_are_not(guided, expected):
    """Units that matter, units that matter less than random ones do, and units that are as good as
    random.
    """
    assert (
        falls(beside(guided), "correct", by="site", unit="image and draw", sesoi="1 point").overall
        == expected
    )


@pytest.mark.parametrize(("under", "expected"), [(0.4, "supported"), (0.1, "refuted")])
def test_control_masking_that_costs_more_under_its_augmentation_is_found_and_one_that_does_not_is_not(  # noqa: E501
    under, expected
):
    rng = drawn("own")
    rows = [
        pd.DataFrame(
            {
                "image": np.arange(IMAGES),
                "draw": 0,
                "level": level,
                "mask_lost": (rng.uniform(size=IMAGES) < p) * 1.0,
            }
        )
        for level, p in ((0.0, 0.2), (1.0, under))
    ]

    assert (
        rises(labelled(pd.concat(rows)), "mask_lost", by="site", sesoi="1 point").overall
        == expected
    )


@pytest.mark.parametrize(("tie", "expected"), [(0.5, "supported"), (0.0, "refuted")])
def test_control_masking_maps_with_a_pattern_are_named_and_noise_is_not(tie, expected):
    """Each of four augmentations moves a corner of its own of every channel, or each unit's indices
    are drawn one by one.
    """
    names = ("a", "b", "c", "d", "order", "image")
    corners = np.zeros((6, 1, 4, 4))
    for i in range(4):
        corners[i, 0, 2 * (i // 2), 2 * (i % 2)] = 1

    def group(g):
        total = torch.from_numpy(
            (drawn("maps", g).gamma(2.0, 0.1, (6, 16, 4, 4)) + tie * corners).reshape(6, -1)
        )
        units = total.shape[1]
        return {
            "m": Indices(
                names,
                8,
                torch.zeros(units),
                torch.ones(units),
                torch.zeros(units, dtype=torch.bool),
                total,
                total,
            )
        }

    rows = sensing.rows_of_maps([group(g) for g in range(GROUPS)], {"m": [16, 4, 4]})
    frame = labelled(rows, rows["site"]).assign(draw=0, level=0.0)
    frame.attrs["groups"] = True
    parts = (
        exceeds(frame, m, by="site", unit="image group", sesoi=0.1)
        for m in ("index_named", "index_pattern")
    )
    assert both(*parts).overall == expected
