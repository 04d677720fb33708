"""Images that flip: counted by class, and the first of them shown."""

import dataclasses

import numpy as np
import pytest

from probes import accuracy, gaussian, quantised
from probes.comparing.arms import bench_of
from probes.comparing.conditions import CLEAN, paired
from probes.comparing.flips import by_image, flips, pictured
from probes.run.settings import Options
from probes.store import Store


@pytest.fixture
def table(tmp_path, fitted, damaged):
    store = Store(tmp_path / "store")
    lab, arms = bench_of(fitted, damaged(0.3), "mnist5k", None, store, Options(images=60))
    return paired(lab, accuracy, [gaussian(0, 0.2), quantised(2)], draws=2, arms=arms)


def test_lost_and_won_are_what_either_network_names_right(table):
    found = flips(table)
    clean = table.frame[table.frame["condition"] == CLEAN]
    wide = clean.pivot_table(index="image", columns="net", values="correct", observed=True)
    mine = found[found["condition"] == CLEAN]

    assert mine["lost"].sum() == ((wide["old"] == 1) & (wide["new"] == 0)).sum() > 0
    assert mine["won"].sum() == ((wide["old"] == 0) & (wide["new"] == 1)).sum()
    assert mine["images"].sum() == 60
    assert list(dict.fromkeys(found["condition"])) == table.order


def test_with_several_draws_an_image_is_lost_where_it_is_right_less_often(table):
    found = by_image(table)
    noisy = found[found["condition"] == "Gaussian noise, noise σ 0.2"]
    lost = flips(table).query("condition == 'Gaussian noise, noise σ 0.2'")["lost"].sum()

    assert set(noisy["old"]) | set(noisy["new"]) == {0.0, 0.5, 1.0}
    assert lost == (noisy["new"] < noisy["old"]).sum()


def test_the_pictures_are_of_images_that_flip_with_what_both_say(table):
    found = pictured(table)
    told = found.told

    assert (len(found.images), found.images.dtype) == (len(told), np.uint8)
    assert set(told["condition"]) == {CLEAN, "Gaussian noise, noise σ 0.2"}
    clean = told[told["condition"] == CLEAN]
    lost = clean[clean["lost"]]
    assert len(lost) > 0
    assert (lost["old"] == lost["label"]).all()
    assert (lost["new"] != lost["label"]).all()
    assert (clean[~clean["lost"]]["new"] == clean[~clean["lost"]]["label"]).all()


def test_where_pictures_may_not_be_shown_there_are_none(table):
    for subject in table.lab._subjects.values():
        object.__setattr__(subject, "data", dataclasses.replace(subject.data, embeddable=False))

    assert pictured(table) is None
