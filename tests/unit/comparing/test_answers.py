"""What is answered: the direction, the margin, the families."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.comparing.answers import (
    SIDE,
    Question,
    better,
    level,
    margin_of,
    means_of,
    measure_for,
    not_worse,
    overall,
    question,
)
from probes.comparing.telling import in_words
from probes.errors import BadInput, UnknownName
from probes.judge.lazytable import LazyTable
from probes.judge.power import Design


class Table(LazyTable):
    """A table of two arms by hand: the values of each condition, (old, new)."""

    def __init__(self, metric, conditions, alpha=0.025, runs=1):
        self.alpha, self.say, self.metric, self.conditions = (
            alpha,
            lambda text: None,
            metric,
            conditions,
        )
        n = len(next(iter(conditions.values()))[0])
        self.runs = runs
        self.design = Design("d", n, "", 1, 0, (0.0,), (("old", runs), ("new", runs)))

    def compute(self):
        parts = []
        for name, values in self.conditions.items():
            for arm, x in zip(("old", "new"), values, strict=True):
                of_run = np.arange(len(x)) if self.runs > 1 else np.zeros(len(x), int)
                parts.append(
                    pd.DataFrame(
                        {
                            **{"net": arm, "weights": arm, "dataset": "d", "train_seed": of_run},
                            **{"image": 0 if self.runs > 1 else np.arange(len(x)), "draw": 0},
                            **{"level": 0.0, "site": "output", "condition": name},
                            self.metric: np.asarray(x, float),
                        }
                    )
                )
        out = pd.concat(parts, ignore_index=True)
        out["condition"] = pd.Categorical(out["condition"], list(self.conditions))
        out.attrs["keys"] = ["condition"]
        return out


def hits(right, n=400):
    """Answers of n images, the first ``right`` of them right."""
    return (np.arange(n) < right).astype(float)


def answered(table, margin, metric="correct"):
    q = question(metric, margin, lambda ask: ask(table), lambda ask, _: ask(table))
    rows = q.rows(means_of(table, metric), 0.1)
    return overall([q], rows), [row.answer for row in rows], rows


def test_each_answer_is_what_the_difference_shows():
    conditions = {
        "same": (hits(300), hits(300)),
        "gone": (hits(300), hits(200)),
        "gained": (hits(300), hits(380)),
        "few": (hits(300), hits(297)),
    }

    assert answered(Table("correct", conditions), "2 points")[1] == [
        "not worse",
        "worse",
        "better",
        "open",
    ]
    assert answered(Table("correct", {"a": conditions["gone"]}), 0)[0] == "worse"
    assert answered(Table("correct", {"a": conditions["gained"]}), 0)[0] == "better"
    assert answered(Table("correct", {"a": conditions["same"]}), 0)[0] == "open"


def test_worse_under_one_condition_is_worse_and_open_under_one_is_open():
    same, gone, gained = (hits(300), hits(300)), (hits(300), hits(200)), (hits(300), hits(380))
    few = (hits(300), hits(297))

    assert answered(Table("correct", {"a": gained, "b": gone}), "2 points")[0] == "worse"
    assert answered(Table("correct", {"a": gained, "b": same}), "2 points")[0] == "better"
    assert answered(Table("correct", {"a": same, "b": same}), "2 points")[0] == "not worse"
    assert answered(Table("correct", {"a": gained, "b": few}), "2 points")[0] == "open"


@pytest.mark.parametrize("metric", [name for name in SIDE if name not in ("ece", "auroc")])
def test_above_0_is_better_whichever_way_the_metric_runs(metric):
    rng = np.random.default_rng(0)
    old = hits(300) if metric == "correct" else rng.uniform(0.2, 0.4, 400)
    new = hits(390) if metric == "correct" else old + SIDE[metric] * rng.uniform(0.2, 0.3, 400)
    overall_, answers, rows = answered(Table(metric, {"a": (old, new)}), 0, metric)

    assert (overall_, answers) == ("better", ["better"])
    assert rows[0].difference > 0
    assert rows[0].new == pytest.approx(new.mean())


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=3),
    st.sampled_from([0, 1, 5]),
)
def test_to_exchange_the_networks_exchanges_better_and_worse(pairs, margin):
    conditions = {
        f"c{i}": (np.r_[hits(200 + lost, 300)], np.r_[hits(200 + won, 300)])
        for i, (lost, won) in enumerate(pairs)
    }
    turned = {name: (new, old) for name, (old, new) in conditions.items()}
    margin = f"{margin} points"
    one = answered(Table("correct", conditions), margin)[2]
    other = answered(Table("correct", turned), margin)[2]

    for a, b in zip(one, other, strict=True):
        assert (a.answer == "better") == (b.answer == "worse")
        assert a.difference == pytest.approx(-b.difference)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 80), st.integers(0, 80), st.sampled_from([1, 3, 8]))
def test_better_implies_not_worse_and_no_condition_is_both_worse_and_not(lost, won, margin):
    table = Table("correct", {"a": (hits(200 + lost, 300), hits(200 + won, 300))})
    held = not_worse(table, margin=f"{margin} points")["a"]
    gain = better(table, margin=f"{margin} points")["a"]

    assert gain.p_supported >= held.p_supported
    assert not (held.outcome == "refuted" and gain.outcome == "supported")
    assert held.p_supported + held.p_refuted >= 1 - 1e-9


def test_several_training_runs_are_the_unit():
    rng = np.random.default_rng(1)
    old = rng.uniform(0.9, 0.91, 8)
    table = Table("correct", {"clean": (old, old - 0.05 - rng.uniform(0, 0.01, 8))}, runs=8)
    found = not_worse(table, margin="1 point")

    assert (found["clean"].unit, found["clean"].n) == ("training seed", 8)
    assert found.overall == "refuted"
    with pytest.raises(BadInput, match="of several training runs"):
        not_worse(table, "ece", margin=0)


def test_the_level_is_shared_by_directions_and_metrics():
    assert level(0.05, 1) == 0.025
    assert level(0.06, 3) == pytest.approx(0.01)


def test_at_a_margin_of_0_both_questions_are_one():
    table = Table("correct", {"a": (hits(300), hits(300))})
    ask = lambda q: q(table)  # noqa: E731

    assert question("correct", 0, ask, lambda q, _: q(table)).shared
    assert not question("correct", "1 point", ask, lambda q, _: q(table)).shared


def test_two_networks_near_chance_have_nothing_to_lose_and_that_is_said():
    rows = answered(Table("correct", {"a": (hits(48), hits(44))}), "20 points")[2]

    assert rows[0].answer == "not worse"
    assert "both are near chance (10.0%)" in rows[0].why


@pytest.mark.parametrize(
    ("margin", "metric", "says"),
    [
        ("-1 point", "correct", "a number from 0 up"),
        ("1 %", "correct", "correct is judged in points"),
        (0.5, "correct", '"1 point"'),
        ("1 point", "brier", "brier is judged in plain numbers"),
        ("much", "correct", "margin 'much': a number with its unit"),
        ("100 points", "correct", "nothing would be worse"),
    ],
)
def test_a_margin_that_is_none_is_refused(margin, metric, says):
    with pytest.raises(BadInput, match=says):
        margin_of(margin, metric)


def test_a_metric_without_a_better_side_is_refused():
    with pytest.raises(UnknownName, match="unknown metric with a better side 'entropy'"):
        measure_for(["entropy"])
    with pytest.raises(BadInput, match="one or several different ones"):
        measure_for(["loss", "loss"])
    assert (measure_for(["loss"]).name, measure_for(["brier"]).name) == (
        "predictions",
        "certainty",
    )


def test_worse_needs_a_condition_that_is_worse_by_itself():
    """All below the margin at the level of a single one say that all are: another statement, whose
    error would come on top of that of *worse*.
    """
    table = Table("correct", {name: (hits(300), hits(294)) for name in "abc"})
    held = not_worse(table, margin=0)
    rows = Question("correct", 0, held, held).rows(means_of(table, "correct"), 0.1)

    assert {v.outcome for v in held} == {"inconclusive"}
    assert held.overall == "refuted"
    assert overall([Question("correct", 0, held, held)], rows) == "open"


def test_not_worse_needs_each_condition_at_the_level_of_a_single_one():
    table = Table("correct", {name: (hits(300), hits(306)) for name in "abc"})
    answer, answers, rows = answered(table, 0)

    assert (answer, set(answers)) == ("not worse", {"open"})
    assert in_words(answer, rows) == (
        "not worse under any condition, all together; by themselves, after Holm, 3 of 3 are open"
    )
