"""Sensitivity as a table for claims: disjoint groups of images, and three numbers by hand."""

import dataclasses

import numpy as np
import pytest
import torch

from probes.errors import BadInput
from probes.judge import exceeds
from probes.lab import Lab
from probes.measure.indices import Indices
from probes.run.settings import Options
from probes.store import Store
from probes.studies.sensitivity import claims as sensing
from probes.studies.sensitivity.source import group_of
from probes.subjects.data import load


def indices(shapley, total=None, dead=None, groups=("a", "b", "c", "order", "image")):
    """Indices of units from the shares of three augmentations, (3, units)."""
    shares = torch.tensor(shapley, dtype=torch.float64)
    units = shares.shape[1]
    every = torch.cat([shares, torch.full((2, units), 0.5, dtype=torch.float64)])
    other = (
        every if total is None else torch.cat([torch.tensor(total, dtype=torch.float64), every[3:]])
    )
    mask = torch.zeros(units, dtype=torch.bool) if dead is None else torch.tensor(dead)
    return Indices(groups, 8, torch.zeros(units), torch.ones(units), mask, other, other, every)


def test_specialised_units_have_larger_shares_than_units_without_a_tie():
    one_each = np.eye(3)[np.arange(300) % 3].T  # each unit is moved by one augmentation only
    alike = np.full((3, 300), 1 / 3)

    chance = (4 / 9 + 2 / 9 / 2 + 1 / 27 / 3) / (
        19 / 27
    )  # 1 / how many of three chances of 1/3 come, where one comes at least
    assert sensing.specialisation(indices(one_each), "test") == pytest.approx(1 - chance, abs=0.04)
    assert sensing.specialisation(indices(alike), "test") == pytest.approx(0)


def test_units_that_are_only_noise_are_not_specialised():
    noise = np.random.Generator(np.random.Philox(3)).gamma(2.0, size=(3, 5000))

    assert sensing.specialisation(indices(noise), "test") == pytest.approx(0, abs=0.01)


def test_agreement_is_the_mean_rank_correlation_of_units():
    shares = np.array([[0.1, 0.1], [0.2, 0.2], [0.7, 0.7]])
    turned = np.array([[0.1, 0.9], [0.2, 0.5], [0.7, 0.1]])

    assert sensing.agreement(indices(shares, total=turned)) == pytest.approx(0)
    assert sensing.agreement(indices(shares)) == pytest.approx(1)


def test_dead_units_count_nowhere():
    shares = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    one = indices(shares, dead=[False, True])

    np.testing.assert_allclose(sensing.composition(one), [1, 0, 0])
    assert sensing.specialisation(indices(shares, dead=[True, True]), "test") == 0


def test_the_shift_is_the_squared_distance_of_compositions_over_pairs_of_groups():
    first = np.array([[0.8], [0.2], [0.0]])
    lasts = [np.array([[a], [1 - a], [0.0]]) for a in (0.2, 0.3, 0.4)]
    found = sensing.rows_of([{"first": indices(first), "last": indices(last)} for last in lasts])
    shift = found.groupby("site")["index_shift"]
    pairs = [2 * (0.6 * 0.5), 2 * (0.6 * 0.4), 2 * (0.5 * 0.4)]

    assert shift.mean()["last"] == pytest.approx(np.mean(pairs))
    assert (shift.get_group("first") == 0).all()
    with pytest.raises(BadInput, match="needs three"):
        sensing.rows_of([{"first": indices(first)}] * 2)


def test_trap_a19_a_distance_between_indices_has_no_bias_where_there_is_none():
    """The plug-in less that of neighbouring groups was -.05 to .07 where nothing shifts."""
    g = np.random.Generator(np.random.Philox(19))
    even, other = np.full(5, 0.2), np.array([0.4, 0.15, 0.15, 0.15, 0.15])

    def found(mean, many=3000):
        return np.array(
            [
                sensing.squared_distances(
                    g.dirichlet(20 * mean, 20) - g.dirichlet(20 * even, 20)
                ).mean()
                for _ in range(many)
            ]
        )

    for mean in (even, other):
        values = found(mean)
        assert abs(values.mean() - ((mean - even) ** 2).sum()) < 4 * values.std() / np.sqrt(3000)


def test_groups_of_images_are_disjoint_and_always_the_same(tmp_path):
    data = load("mnist5k", "test", Store(tmp_path))
    groups = [group_of(data, number, 20) for number in range(20)]
    ids = np.concatenate([g.ids for g in groups])

    assert {len(g) for g in groups} == {50}
    assert len(np.unique(ids)) == 1000
    assert (group_of(data, 3, 20).ids == groups[3].ids).all()
    with pytest.raises(BadInput, match="each needs two images at least"):
        group_of(data, 0, 600)


def test_a_table_of_groups_is_judged_and_found_again(tmp_path):
    lab = Lab(
        "resnet20@mnist5k",
        store=Store(tmp_path),
        options=Options(images=200, threads=1),
        quiet=True,
    )
    sensed = lab.sensitivity(rows=8, modules=("layer3", "fc"))
    found = exceeds(sensed, "index_rho", by="site", sesoi=-1, unit="image group")

    assert [v.label for v in found] == ["layer3", "fc"]
    assert found.overall == "supported"
    assert (sensed.design.images, sensed.design.space) == (200, "augmentations")
    assert "20 groups of images, 8 base points each" in sensed.design.perturbation
    assert lab.facts()["weights"]
    again = Lab(
        "resnet20@mnist5k",
        store=Store(tmp_path),
        options=Options(images=200, threads=1),
        quiet=True,
    ).sensitivity(rows=8, modules=("layer3", "fc"))
    assert sensed.frame.equals(again.frame)


def mapped(level, pattern):
    """Indices of 12 channels of 2 x 2 places: of every augmentation a level of its own, or a
    pattern of its own, and noise.
    """
    rng = np.random.Generator(np.random.Philox(5))
    corners = np.eye(4)[:3].reshape(3, 1, 4) * pattern + np.arange(3).reshape(3, 1, 1) * level
    return indices((corners + rng.normal(0, 0.01, (3, 12, 4))).reshape(3, 48))


@pytest.mark.parametrize(
    ("level", "pattern", "named", "shape"), [(1, 0, 2 / 3, 0), (1, 1, 2 / 3, 2 / 3), (0, 0, 0, 0)]
)
def test_maps_tell_their_augmentation_by_level_or_by_pattern(level, pattern, named, shape):
    """Of three augmentations a third is guessed right: two thirds lie beyond that."""
    rows = sensing.rows_of_maps([{"m": mapped(level, pattern)}], {"m": [12, 2, 2]})

    assert rows["index_named"].item() == pytest.approx(named, abs=0.25)
    assert rows["index_pattern"].item() == pytest.approx(shape, abs=0.25)


def test_an_augmentation_that_moves_nothing_is_no_pattern_of_its_own():
    """Its maps are flat, and flat is not a pattern: the others are told from each other as without
    it.
    """
    one, two = mapped(0, 0), mapped(0, 0)
    one.total[2] = 0
    two.total[2] = 0
    alone = dataclasses.replace(
        two, groups=("a", "b", "order", "image"), total=two.total[[0, 1, 3, 4]]
    )
    flat, without = (
        sensing.rows_of_maps([{"m": i}], {"m": [12, 2, 2]})["index_pattern"].item()
        for i in (one, alone)
    )

    assert flat == without
    dead = indices(np.ones((3, 48)), dead=[True] * 48)
    assert sensing.rows_of_maps([{"m": dead}], {"m": [12, 2, 2]})[
        ["index_named", "index_pattern"]
    ].to_numpy().tolist() == [[0, 0]]


def test_a_dead_unit_tells_nothing():
    one = indices(np.arange(24.0).reshape(3, 8), dead=[True] + [False] * 7)

    assert (sensing.maps_of(one, [2, 2, 2])[:, 0, 0, 0] == 0).all()
    assert sensing.maps_of(one, [2, 2, 2])[:, 0, 0, 1].tolist() == [1, 9, 17]


def test_a_table_of_maps_has_the_modules_with_places(tmp_path):
    lab = Lab("resnet20@mnist5k", store=tmp_path / "store", images=40, threads=1, quiet=True)
    found = lab.sensitivity(rows=8, groups=2, maps=True)

    assert found.design.sites == 3
    assert list(found.frame["site"]) == ["layer1", "layer2", "layer3"] * 2
    assert found.frame[["index_named", "index_pattern"]].notna().all(axis=None)
    with pytest.raises(BadInput, match="fc gives maps of several places"):
        lab.sensitivity(rows=8, groups=2, modules=["fc"], maps=True)
