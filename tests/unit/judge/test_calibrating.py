"""Calibration by groups of images: closed forms, torchmetrics, and verdicts that can be known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from probes import certainty, exceeds, gaussian, rises
from probes.errors import BadInput, UnknownName
from probes.judge.calibrating import area_under_roc, calibration, calibration_error, group_of
from probes.lab import Lab


def made(n=500, seed=0):
    g = np.random.default_rng(seed)
    confidence = g.uniform(0.2, 0.999, n)
    return confidence, (g.uniform(size=n) < confidence).astype(float)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.01, 1), st.integers(1, 100), st.integers(0, 100))
def test_of_one_confidence_the_error_is_its_distance_from_accuracy(confidence, right, wrong):
    correct = np.array([1.0] * right + [0.0] * wrong)
    found = calibration_error(np.full(len(correct), confidence), correct)

    assert found == pytest.approx(abs(confidence - correct.mean()), abs=1e-9)
    assert calibration_error(1 - correct, correct) == 1.0


def test_the_error_is_that_of_torchmetrics():
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    import torch
    from torchmetrics.functional.classification import binary_auroc, binary_calibration_error

    confidence, correct = made()
    both = torch.from_numpy(confidence), torch.from_numpy(correct).long()

    for bins in (10, 15):
        theirs = binary_calibration_error(*both, n_bins=bins, norm="l1")
        assert calibration_error(confidence, correct, bins) == pytest.approx(
            float(theirs), abs=1e-6
        )
    assert area_under_roc(confidence, correct) == pytest.approx(
        float(binary_auroc(*both)), abs=1e-6
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_the_area_is_that_of_scikit_learn_ties_included(pairs):
    confidence = np.array([c / 5 for c, _ in pairs])
    correct = np.array([float(r) for _, r in pairs])
    found = area_under_roc(confidence, correct)

    if len(set(correct)) < 2:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(roc_auc_score(correct, confidence))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    lab = Lab("resnet20@mnist5k", images=400, store=tmp_path_factory.mktemp("s"), quiet=True)
    return lab.sweep(certainty, under=gaussian(0, 0.5))


def test_a_row_is_a_group_of_images_and_its_numbers_are_those_of_its_images(sweep):
    frame, source = calibration(sweep, groups=20).frame, sweep.frame
    one = source[(group_of(source, 20) == 3) & (source["level"] == 0.5)]
    row = frame[(frame["image"] == 3) & (frame["level"] == 0.5)].iloc[0]

    assert len(one) == 20
    assert len(frame) == 40
    assert row["ece"] == calibration_error(
        one["confidence"].to_numpy(float), one["correct"].to_numpy(float)
    )


def test_noise_costs_calibration_and_the_verdict_says_over_what(sweep):
    found = rises(calibration(sweep), "ece", sesoi="1 point", unit="image group")

    assert found.overall == "supported"
    assert "20 disjoint groups of images" in found.scope
    with pytest.raises(BadInput, match="image group"):
        rises(calibration(sweep), "ece", sesoi="1 point")


def test_groups_do_not_depend_on_rows_and_are_disjoint(sweep):
    frame = sweep.frame
    mixed = frame.sample(frac=1, random_state=0)

    pd.testing.assert_series_equal(group_of(mixed, 20).sort_index(), group_of(frame, 20))
    assert set(group_of(frame, 7)) == set(range(7))


def test_where_a_group_has_no_wrong_answer_the_area_is_missing_with_the_reason(sweep):
    with pytest.raises(UnknownName, match=r"no metric 'auroc' here: .* take fewer groups"):
        exceeds(calibration(sweep).where(level=0), "auroc", sesoi="1 point", unit="image group")


def test_groups_that_are_too_small_are_refused(sweep):
    with pytest.raises(BadInput, match=r"groups=21\) of 400 images"):
        calibration(sweep, groups=21)
    with pytest.raises(BadInput, match="two groups"):
        calibration(sweep, groups=1)
