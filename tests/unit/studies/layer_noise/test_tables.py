"""The tables of noise on layers: numbers by hand."""

import numpy as np
import pandas as pd
import pytest

from probes.studies.layer_noise import tables as layertables


def frame_of(clean, *noisy):
    """Per image right or wrong: clean, and under each draw of noise."""
    runs = [(0.0, 0, clean), *((0.5, draw, values) for draw, values in enumerate(noisy))]
    images = {"net": "n", "train_seed": 0, "layers": "1", "image": np.arange(len(clean))}
    return pd.concat(
        [pd.DataFrame(images | {"draw": d, "level": level, "correct": c}) for level, d, c in runs],
        ignore_index=True,
    )


def test_a_drop_is_in_points_with_the_interval_of_the_score_test():
    clean, noisy = np.ones(400), np.r_[np.zeros(40), np.ones(360)]
    (row,) = layertables.drops(frame_of(clean, noisy), "layers").to_dict("records")

    assert (row["accuracy"], row["drop"], row["images"]) == pytest.approx((90, 10, 400))
    assert 7 < row["low"] < 10 < row["high"] < 13
    assert row["accuracy_low"] < 90 < row["accuracy_high"]


def test_draws_of_an_image_are_averaged_first():
    clean = np.ones(100)
    noisy = [np.r_[np.zeros(20), np.ones(80)], np.ones(100)]
    (row,) = layertables.drops(frame_of(clean, *noisy), "layers").to_dict("records")

    assert row["drop"] == pytest.approx(10)
    assert row["images"] == 100


def test_an_unchanged_accuracy_has_an_interval_that_is_not_empty():
    (row,) = layertables.drops(frame_of(np.ones(100), np.ones(100)), "layers").to_dict("records")

    assert row["low"] < 0 == row["drop"] < row["high"]


def test_depth_counts_places_from_input_to_output():
    rows = [
        ("b", 0, layer, level, c)
        for layer, c in (("early", 0.0), ("late", 1.0))
        for level, c in ((0.0, 1.0), (0.5, c))
    ]
    frame = pd.DataFrame(rows, columns=["net", "train_seed", "layer", "level", "correct"])

    assert layertables.depth(frame).to_dict("records") == [
        {"net": "b", "train_seed": 0, "place": 0, "layer": "early", "drop": 100.0},
        {"net": "b", "train_seed": 0, "place": 1, "layer": "late", "drop": 0.0},
    ]
