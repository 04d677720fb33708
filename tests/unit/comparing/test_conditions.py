"""The table of a comparison: the same images and draws in both arms, a name for each condition."""

import numpy as np
import pandas as pd
import pytest

from probes import Lab, accuracy, corruption, gaussian, quantised, weight_noise
from probes.comparing.arms import bench_of
from probes.comparing.conditions import CLEAN, COLUMN, label, paired, perturbations
from probes.errors import BadInput
from probes.run.settings import Options
from probes.store import Store


@pytest.fixture
def two(tmp_path, fitted, damaged):
    store = Store(tmp_path / "store")
    return bench_of(fitted, damaged(0.2), "mnist5k", None, store, Options(images=40))


def test_each_condition_is_called_by_what_is_done_and_how_strongly():
    assert label(gaussian(0, 0.1), "", 0.1) == "Gaussian noise, noise σ 0.1"
    assert label(quantised(8), "", 24.0) == "quantisation, 8 bits"
    assert label(corruption("fog", "snow"), "snow", 3.0) == "corruption snow, severity 3"


def test_texts_and_objects_are_read_alike():
    assert perturbations("noise:.1") == perturbations(gaussian(0, 0.1)) == [gaussian(0, 0.1)]
    assert perturbations(()) == []


def test_the_values_are_those_of_plain_sweeps_and_the_clean_images_stand_once(two):
    lab, arms = two
    under = [gaussian(0, 0.3), weight_noise(0, 0.5), corruption("fog", "contrast", severity=3)]
    table = paired(lab, accuracy, under, draws=2, arms=arms)
    frame = table.frame

    assert table.order == [
        CLEAN,
        "Gaussian noise, noise σ 0.3",
        "weight noise, alpha 0.5",
        "corruption fog, severity 3",
        "corruption contrast, severity 3",
    ]
    assert list(frame["net"].cat.categories) == ["new", "old"]
    assert frame.groupby([COLUMN, "net"], observed=True).size().unique().tolist() == [40, 80]
    for arm, name in (("old", arms.old), ("new", arms.new)):
        noisy = lab.only([name]).sweep(accuracy, under=gaussian(0, 0.3), draws=2).frame
        mine = frame[(frame["net"] == arm) & (frame[COLUMN] == table.order[1])]
        theirs = noisy[noisy["level"] == 0.3]
        np.testing.assert_array_equal(mine["loss"], theirs["loss"])
        np.testing.assert_array_equal(mine["image"], theirs["image"])


def test_the_table_says_what_was_done_and_keeps_its_design(two):
    lab, arms = two
    table = paired(lab, accuracy, [gaussian(0, 0.3), quantised(4)], arms=arms)

    assert table.design.runs == (("old", 1), ("new", 1))
    assert "quantisation" in table.design.perturbation
    assert table.frame.attrs["draws"] == "some common"
    assert set(table.summary()[COLUMN]) == set(table.order)


def test_both_arms_get_the_same_noise(tmp_path, fitted):
    """A network beside a copy of it answers alike under every condition."""
    store = Store(tmp_path / "store")
    lab, arms = bench_of(fitted, fitted, "mnist5k", None, store, Options(images=40))
    under = [gaussian(0, 0.5), weight_noise(0, 1)]
    wide = paired(lab, accuracy, under, draws=3, arms=arms).frame.pivot_table(
        index=[COLUMN, "image", "draw"], columns="net", values="loss", observed=True
    )

    assert len(wide) == 40 + 2 * 3 * 40
    pd.testing.assert_series_equal(wide["old"], wide["new"], check_names=False)


def test_a_perturbation_that_stands_twice_is_refused(two):
    lab, arms = two
    with pytest.raises(BadInput, match="Gaussian noise stands twice"):
        paired(lab, accuracy, ["noise:.1", gaussian(0, 0.1)], arms=arms)


def test_conditions_that_would_have_one_name_are_refused(two):
    lab, arms = two
    with pytest.raises(BadInput, match=r"both called 'Gaussian noise, noise σ 0[.]1'"):
        paired(lab, accuracy, [gaussian(0, 0.1, 0.1000001)], arms=arms)


def test_a_lab_of_one_network_has_nothing_to_compare(tmp_path):
    with pytest.raises(BadInput, match="two networks are compared"):
        paired(Lab("resnet20@mnist5k", images=20, store=tmp_path), accuracy)
