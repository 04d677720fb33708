"""Controls of the claims: null data are not supported, a planted effect is found, and gone when
taken out.
"""

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch

from probes import seeds, table
from probes.judge import both, exceeds, family, rules
from probes.measure import block_metrics, feature_metrics
from probes.perturb import gaussian
from probes.run.bench import Bench
from probes.subjects.spec import parse

ALPHA, SIGMA, REPETITIONS = 0.05, 0.25, 200
pytestmark = [pytest.mark.slow, pytest.mark.subjects("resnet20@mnist5k")]


def independent_draws(lab):
    """Two arms at equal sigma with independent draws of noise: no effect, by construction."""
    return lab.sweep(block_metrics, under=gaussian(0, SIGMA), draws=2).frame


@pytest.mark.parametrize(
    ("metric", "sesoi"), [("l2_h", np.log(1.01)), ("var_h", np.log(1.01)), ("sparsity", 0.005)]
)
def test_control_two_arms_at_equal_sigma_are_not_supported(lab, metric, sesoi):
    """Trap S7: labels of the arms are swapped at random, image by image, 200 times."""
    frame = independent_draws(lab)
    frame = frame[frame["level"] == SIGMA]
    wide = frame.pivot_table(index="image", columns=["draw", "site"], values=metric, observed=True)
    ratio = metric != "sparsity"
    effect = (np.log(wide[1]) - np.log(wide[0]) if ratio else wide[1] - wide[0]).to_numpy(float)
    rule = rules.trimmed_mean if ratio else rules.mean
    at_zero = at_sesoi = 0
    for repetition in range(REPETITIONS):
        swap = np.where(seeds.uniform(len(effect), "control", metric, repetition) < 0.5, -1.0, 1.0)
        for delta in (0.0, sesoi):
            found = [rule(swap * x, delta, ALPHA) for x in effect.T]
            supported = "supported" in family.outcomes(
                [r.p_up for r in found], [r.p_down for r in found], ALPHA
            )
            at_zero += supported and delta == 0
            at_sesoi += supported and delta > 0

    assert at_zero / REPETITIONS <= ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / REPETITIONS)
    assert at_sesoi == 0


def planted(lab, site, gain):
    """The same network with h of one block multiplied by ``gain``, and the two as arms at equal
    sigma.
    """
    (name, subject), *_ = lab.subjects.items()
    model = copy.deepcopy(subject.model)
    block = dict(model.named_modules())[f"net.{site}"]
    with torch.no_grad():
        block.bn2.weight.mul_(gain)
        block.bn2.bias.mul_(gain)
    changed = dataclasses.replace(
        subject, model=model, sha256=f"{subject.sha256} planted {site} {gain}"
    )
    other = Bench(lab.specs, lab.store, lab.options, subjects={name: changed})
    arms = []
    for net, source, draw in (("original", lab, 0), ("planted", other, 1)):
        frame = independent_draws(source)
        part = frame[(frame["level"] == SIGMA) & (frame["draw"] == draw)]
        arms.append(part.assign(net=net, draw=0))
    return table.join(arms)


def test_control_a_planted_change_of_h_is_found_where_it_was_planted(lab):
    found = exceeds(
        planted(lab, "layer2.1", 1.05),
        "l2_h",
        between=("planted", "original"),
        by="site",
        sesoi="1 %",
    )

    assert found["layer2.1"].outcome == "supported"
    assert found["layer2.1"].low < np.log(1.05) < found["layer2.1"].high
    upstream = ["layer1.0", "layer1.1", "layer1.2", "layer2.0"]
    assert [found[site].outcome for site in upstream] == ["refuted"] * 4


def test_control_a_planted_change_is_not_found_when_it_is_taken_out(lab):
    found = exceeds(
        planted(lab, "layer2.1", 1.0),
        "l2_h",
        between=("planted", "original"),
        by="site",
        sesoi="1 %",
    )

    assert "supported" not in [v.outcome for v in found]


def test_control_a_planted_difference_between_runs_is_found_and_gone_when_taken_out(lab):
    """Eight runs of one network as both arms: only what is planted in one arm differs."""
    runs = Bench([parse("resnet20@mnist5k#*")], lab.store, lab.options)
    frame = runs.sweep(block_metrics, under=gaussian(0, SIGMA)).frame[[*table.KEYS, "l2_h"]]
    for gain, expected in ((1.05, "supported"), (1.0, "inconclusive")):
        twin = frame.assign(
            net="twin", l2_h=np.where(frame["level"] == SIGMA, gain, 1.0) * frame["l2_h"]
        )
        both = table.join([frame, twin])
        found = exceeds(both, "l2_h", between=("twin", "resnet20"), unit="train_seed", sesoi="1 %")

        assert found.overall == expected
        assert ("exactly 0" in found[""].obstacle) == (gain == 1.0)


def stages_of(lab):
    return lab.sweep(feature_metrics, under=gaussian(0, 0.1)).frame


def depth_of(frame):
    pairs = itertools.pairwise(("layer1", "layer2", "layer3"))
    return both(
        *(exceeds(frame, "map_distance", between=(b, a), arm="site", sesoi=0.05) for a, b in pairs)
    )


def test_control_stages_that_change_places_at_random_differ_in_no_direction(lab):
    """Trap S7: the stages of each image are shuffled, 50 times; a claim that depth matters is then
    never supported.
    """
    frame = stages_of(lab)
    wide = frame.pivot_table(
        index=["image", "level"], columns="site", values="map_distance", observed=True
    )
    images = wide.index.get_level_values("image")
    for repetition in range(50):
        keys = seeds.uniform(3 * images.nunique(), "control", "stages", repetition).reshape(-1, 3)
        order = np.argsort(keys, axis=1)[images.factorize()[0]]
        shuffled = wide.copy()
        shuffled[:] = np.take_along_axis(wide.to_numpy(), order, 1)
        rows = shuffled.stack().rename("map_distance").reset_index()
        found = frame.drop(columns="map_distance").merge(
            rows.astype({"site": frame["site"].dtype}), on=["image", "level", "site"]
        )

        assert depth_of(found).overall != "supported"


def test_control_planted_distances_are_found_and_gone_when_taken_out(lab):
    frame = stages_of(lab)
    depth = frame["site"].map({"layer1": 0, "layer2": 1, "layer3": 2}).astype(float)
    level = frame[frame["site"] == "layer1"].set_index(["image", "level"])["map_distance"]
    flat = level.reindex(frame.set_index(["image", "level"]).index).to_numpy()

    assert depth_of(frame.assign(map_distance=flat * (1 + depth))).overall == "supported"
    assert depth_of(frame.assign(map_distance=flat * (1 + 0.01 * depth))).overall == "refuted"
