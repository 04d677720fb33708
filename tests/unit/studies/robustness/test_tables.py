"""The tables of the robustness study, by hand."""

import warnings

import numpy as np
import pandas as pd
import pytest

from probes.errors import BadInput, UnknownName
from probes.perturb import corruptions
from probes.run.bench import Bench
from probes.run.settings import Options
from probes.store import Store
from probes.studies.robustness import claims, pages, published, tables
from probes.studies.robustness.answers import Answers, Kept
from probes.subjects.spec import parse


def frame(rows, column="corruption"):
    """Rows of (net, seed, arm, image, level, correct, confidence, kept)."""
    names = ["net", "train_seed", column, "image", "level", "correct", "confidence", "kept"]
    out = pd.DataFrame(rows, columns=names)
    out["weights"], out["dataset"], out["draw"], out["site"] = "w", "d", 0, "output"
    out["brier"] = 0.25
    out.attrs["keys"] = [column]
    return out


def two(hits, net="a", arm="fog", level=1.0, seed=-1, sure=0.9):
    """A network at level 0, always right, and at another one."""
    return [
        row
        for i, hit in enumerate(hits)
        for row in (
            (net, seed, arm, i, 0.0, 1, sure, 1),
            (net, seed, arm, i, level, hit, sure, hit),
        )
    ]


def test_a_condition_tells_accuracy_loss_calibration_and_changed_answers():
    hits = [1] * 15 + [0] * 5
    found = tables.conditions(frame(two(hits)), "corruptions", "corruption", "").set_index("level")

    assert found.loc[0.0, ["accuracy", "drop", "changed"]].tolist() == [100, 0, 0]
    assert found.loc[1.0, ["accuracy", "drop", "changed"]].tolist() == [75, 25, 25]
    assert found.loc[1.0, "ece"] == pytest.approx(15)
    assert found.loc[0.0, "ece"] == pytest.approx(10)
    assert np.isnan(found.loc[0.0, "auroc"])
    assert found.loc[1.0, "auroc"] == 0.5
    assert found.loc[1.0, "drop_low"] < 25 < found.loc[1.0, "drop_high"]
    assert found.loc[1.0, "accuracy_low"] < 75 < found.loc[1.0, "accuracy_high"]


def test_the_arms_of_a_perturbation_without_a_column_have_its_name():
    rows = frame(two([1, 0])).drop(columns="corruption")
    rows.attrs.pop("keys")

    assert set(tables.conditions(rows, "noise", None, "Gaussian noise")["perturbation"]) == {
        "Gaussian noise"
    }


def test_networks_of_one_name_are_called_by_their_weights_too():
    rows = frame(two([1], "a")).assign(weights=["clean", "noisy"])

    assert tables.named(rows)["net"].tolist() == ["a:clean", "a:noisy"]
    assert tables.named(frame(two([1], "a")))["net"].tolist() == ["a", "a"]


def test_corruption_errors_are_means_over_severities_then_over_corruptions():
    rows = (
        two([1, 1, 0, 0], arm="fog", level=1.0)
        + two([0, 0, 0, 0], arm="fog", level=2.0)
        + two([1, 1, 1, 0], arm="snow", level=1.0)
        + two([1, 1, 1, 0], arm="snow", level=2.0)
    )
    rows = [row for i, row in enumerate(rows) if row[4] or i < 8 or 16 <= i < 24]
    found = tables.errors(frame(rows), None).set_index("corruption")

    assert found["error"].to_dict() == {"fog": 75, "snow": 25, "mean": 50}
    assert found["relative"].isna().all()


def test_a_relative_error_of_a_network_to_itself_is_exactly_100_percent():
    found = tables.errors(frame(two([1, 0, 0, 1])), "a").set_index("corruption")

    assert found.loc["fog", ["relative", "relative_low", "relative_high"]].tolist() == [100] * 3


def test_relative_errors_are_those_of_the_paper():
    rows = (
        two([1, 1, 1, 0], "a", "fog")
        + two([1, 1, 0, 0], "a", "snow")
        + two([1, 1, 0, 0], "b", "fog")
        + two([1, 0, 0, 0], "b", "snow")
    )
    found = tables.errors(frame(rows), "b").set_index(["net", "corruption"])["relative"]

    assert found["a", "fog"] == pytest.approx(50)
    assert found["a", "snow"] == pytest.approx(100 * 2 / 3)
    assert found["a", "mean"] == pytest.approx((50 + 200 / 3) / 2)
    assert found["b", "mean"] == pytest.approx(100)


def test_published_denominators_are_divided_by():
    found = tables.errors(frame(two([1, 0, 0, 0])), {"fog": 0.5}).set_index("corruption")

    assert found.loc["fog", "relative"] == pytest.approx(150)


def test_the_interval_of_a_ratio_covers_the_true_one():
    draws = np.random.default_rng(5)
    inside = 0
    for _ in range(100):
        # P(a wrong) .3, P(b wrong) .5, paired
        both = draws.random(300)
        a, b = (both > 0.3).astype(int), (both > 0.5).astype(int)
        rows = frame(two(a, "a") + two(b, "b"))
        one = tables.errors(rows, "b").set_index(["net", "corruption"]).loc[("a", "fog")]
        inside += one["relative_low"] <= 60 <= one["relative_high"]

    assert 0.82 <= inside / 100 <= 0.97


def test_a_network_without_errors_is_no_denominator():
    rows = two([1, 0], "a") + two([1, 1], "b")
    found = tables.errors(frame(rows), "b")

    assert found["relative"].isna().all()
    assert found["error"].notna().all()


@pytest.mark.parametrize(
    ("asked", "names", "levels", "classes", "says"),
    [
        ("c", ["fog"], (0, 1), 10, "relative to 'c': name one of the networks of this run .a, b."),
        ("a", [], (), 10, "relative to 'a': that divides errors under corruptions"),
        ("alexnet", ["fog"], (0, 1, 2, 3, 4, 5), 10, "these images have 10 classes"),
        ("alexnet", ["spatter"], (0, 1, 2, 3, 4, 5), 1000, "spatter is none of them"),
        ("alexnet", ["fog"], (0, 1, 3), 1000, "severities 1 to 5, not 1, 3"),
    ],
)
def test_denominators_that_do_not_fit_are_refused(asked, names, levels, classes, says):
    with pytest.raises(BadInput, match=says):
        tables.denominators(asked, ["a", "b"], names, levels, classes)


def test_alexnets_published_errors_are_those_of_the_authors_code():
    found = tables.denominators("alexnet", ["a"], ["fog"], (0, 1, 2, 3, 4, 5), 1000)

    assert len(found) == 15
    assert found["fog"] == 0.819324
    assert sum(found.values()) / 15 == pytest.approx(0.78899, abs=5e-6)


def test_reliability_counts_the_clean_answers_once():
    rows = frame(two([1, 0], arm="fog") + two([1, 1], arm="snow"))
    found = tables.reliability(rows, bins=10).set_index(["level", "bin"])

    assert found.loc[(0.0, 9), "answers"] == 2
    assert found.loc[(1.0, 9), "answers"] == 4
    assert found.loc[(1.0, 9), "accuracy"] == 0.75


def test_images_that_change_most_come_first_with_the_mildest_corruption():
    rows = (
        two([1, 0, 1], arm="fog", level=3.0)
        + two([1, 0, 1], arm="snow", level=1.0)
        + two([1, 1, 0], arm="contrast", level=5.0)
    )
    found = tables.flips(frame(rows))

    assert found["image"].tolist() == [1, 2, 0]
    assert found["share"].tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert found.loc[0, ["corruption", "severity"]].tolist() == ["snow", 1.0]
    assert pd.isna(found.loc[2, "corruption"])


def test_the_run_is_told_in_which_an_answer_changed_first():
    rows = two([1, 1], seed=0) + two([1, 0], seed=1)
    found = tables.flips(frame(rows))

    assert found.loc[0, ["image", "net", "train_seed"]].tolist() == [1, "a", 1]


def test_layers_and_classes_that_are_called_by_a_number_keep_their_names(tmp_path):
    (tmp_path / "tables").mkdir()
    path = tmp_path / "tables" / "conditions.csv"
    path.write_text("kind,net,perturbation,label\nlayer_noise,n,1,01\nfgsm,n,noise,nan\n")
    found = pages._read(tmp_path, "conditions")

    assert pages._arms(found)["perturbation"].tolist() == ["1", "fgsm: noise"]
    assert found["label"].tolist() == ["01", "nan"]


@pytest.mark.parametrize(("images", "asked"), [(399, 1), (400, 2)])
@pytest.mark.parametrize("seed", [0, "*"])
def test_calibration_is_asked_of_as_many_images_as_its_groups_need(tmp_path, images, asked, seed):
    spec = parse(f"resnet20@mnist5k#{seed}")
    bench = Bench([spec], Store(tmp_path), Options(images=images))
    table = Kept(bench.sweep(Answers(), under=corruptions((3,))))
    found = claims.claims_of([claims.Arm(spec, "resnet20", "shipped")], {"corruptions": table})

    assert [ident for ident, *_ in found] == ["ROB-COST", "ROB-ECE"][:asked]


class Source:
    """A table with answers, as a sweep gives it."""

    alpha, under, altered, design = 0.05, None, (), None

    def __init__(self, frame):
        self.frame = frame

    def say(self, text):
        """Nothing."""


def test_kept_answers_are_those_of_the_same_run_arm_and_image_on_the_clean_image():
    rows = frame(two([1, 1], "a") + two([1, 1], "b")).drop(columns="kept")
    rows = rows.assign(answer=[3, 3, 5, 4, 3, 7, 5, 5])
    found = Kept(Source(rows)).frame

    assert found["kept"].tolist() == [1, 1, 1, 0, 1, 0, 1, 1]
    assert "answer" not in found


def published_file(tmp_path, text):
    path = tmp_path / "published.csv"
    path.write_text(text)
    return path


def test_published_accuracies_stand_beside_those_measured(tmp_path):
    text = "net,corruption,accuracy,severity\na,clean,97,\na,fog,80,\na,fog,60,3\nother,fog,70,\n"
    given = published.read(published_file(tmp_path, text))
    rows = two([1, 0], "a", level=1.0) + two([0, 0], "a", level=3.0)[1::2]
    measured = tables.conditions(frame(rows), "corruptions", "corruption", "")
    found = published.beside(given, measured)["measured"].tolist()

    assert found[:3] == [100, 25, 0]
    assert np.isnan(found[3])


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("net,accuracy\na,1\n", BadInput, "missing: corruption"),
        ("net,corruption,accuracy\na,fogg,1\n", UnknownName, "line 2.*did you mean fog"),
        ("net,corruption,accuracy\na,fog,101\n", BadInput, "line 2: accuracy 101"),
        ("net,corruption,accuracy\na,fog,x\n", BadInput, "line 2"),
        ("net,corruption,accuracy\n,fog,1\n", BadInput, "line 2: it names no net"),
        ("net,corruption,accuracy,severity\na,fog,1,6\n", BadInput, "line 2: severity 6"),
        ("net,corruption,accuracy\na,fog,1\na,fog,2\n", BadInput, "stands twice"),
        ("", BadInput, "a CSV with net, corruption, accuracy"),
    ],
)
def test_a_file_of_published_numbers_that_is_wrong_is_refused_by_line(tmp_path, text, error, says):
    with pytest.raises(error, match=says):
        published.read(published_file(tmp_path, text))


def test_a_network_that_was_run_is_not_asked_to_be_run_again():
    rows = [("a", "fog", None, 80.0, 79.0), ("a", "snow", None, 70.0, None)]
    rows += [("b", "fog", 3.0, 60.0, None)]
    names = ["net", "corruption", "severity", "accuracy", "measured"]
    text = pages._published(pd.DataFrame(rows, columns=names), {"a"})

    assert "| a | snow | 70.0 | not run |" in text
    assert "Not run here: b. `probes run robustness b` runs" in text


def test_a_single_image_has_an_error_without_an_interval():
    with warnings.catch_warnings(action="error"):
        found = tables.errors(frame(two([0])), None).iloc[0]

    assert found["error"] == 100
    assert np.isnan(found["error_low"])
