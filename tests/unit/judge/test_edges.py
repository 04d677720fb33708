"""Defaults, fields and words of the judge, and what it does at the edge of a condition."""

import dataclasses
import importlib
import math
import pkgutil

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import probes.judge
import probes.measure
from probes import seeds, table
from probes.errors import BadInput, UnknownName
from probes.judge import (
    accuracies,
    both,
    chance,
    crossed,
    effects,
    exceeds,
    falls,
    family,
    leftout,
    obstacles,
    power,
    ranking,
    rich,
    rises,
    rules,
    ruling,
    wording,
)
from probes.judge.sesoi import quantity, sesoi_of
from tests.unit.judge.battery import drawn

table.declare_metric("edge_norm", "ratio", "a norm")


def z(n, name=0):
    return seeds.normals(n, [("edges", name)])[0].astype(float)


def test_every_result_of_the_judge_is_frozen():
    found = 0
    for module in pkgutil.iter_modules(probes.judge.__path__, "probes.judge."):
        for value in vars(importlib.import_module(module.name)).values():
            own = isinstance(value, type) and value.__module__ == module.name
            if own and dataclasses.is_dataclass(value):
                found += 1
                assert value.__dataclass_params__.frozen, value

    assert found >= 6


@pytest.mark.parametrize(
    "rule", [rules.trimmed_mean, rules.mean, ranking.signed_rank, ranking.typical_group]
)
def test_rules_decide_at_five_percent(rule):
    assert rule(z(300)[:30], 0.1) == rule(z(300)[:30], 0.1, 0.05)
    assert rule(z(300)[:30], 0.1) != rule(z(300)[:30], 0.1, 0.04)


def test_the_other_rules_do_so_too():
    hits, many = np.sign(z(40)), z(660).reshape(220, 3)

    assert rules.score(hits, 0.1) == rules.score(hits, 0.1, 0.05)
    for rule in (crossed.two_way, crossed.typical_draw):
        assert rule(many, 0.1).low == rule(many, 0.1, 0.05).low


def test_a_family_of_one_is_no_family():
    components = (0.04, 0.0015, 0.08)

    assert power.runs_needed(0.05) == power.runs_needed(0.05, 1)
    assert power.needed(1.0, 0.1, 90, 0.05) == power.needed(1.0, 0.1, 90, 0.05, 1)
    assert power.detectable(1.0, 90, 0.05) == power.detectable(1.0, 90, 0.05, 1)
    assert power.power(0.1, 1.0, 90, 0.05) == power.power(0.1, 1.0, 90, 0.05, 1)
    assert power.needed_crossed(components, 0.02, 2500, 60, 0.05) == power.needed_crossed(
        components, 0.02, 2500, 60, 0.05, 1
    )


def test_the_first_condition_that_holds_is_the_one_that_is_told():
    assert ruling.first_true((), (True, "few"), (True, "skewed")) == "few"
    told = ruling.first_true(
        (2,),
        (np.array([False, True]), "few"),
        (np.array([True, True]), lambda at: f"at {int(at[0])}"),
    )

    assert told.tolist() == ["at 0", "few"]


@pytest.mark.parametrize("rule", [rules.trimmed_mean, rules.mean, ranking.signed_rank])
def test_the_spread_of_a_ruling_is_what_its_standard_error_is_made_of(rule):
    x = z(400)[: 12 if rule is ranking.signed_rank else 400]
    found, n = rule(x, 0.1), len(x)
    if rule is rules.trimmed_mean:
        low, high = np.sort(x)[[int(0.2 * n), n - int(0.2 * n) - 1]]
        h = n - 2 * int(0.2 * n)
        se = np.clip(x, low, high).std(ddof=1) * math.sqrt((n - 1) / (h * (h - 1)))
        assert found.spread == pytest.approx(se * math.sqrt(n))
    else:
        assert found.spread == pytest.approx(x.std(ddof=1))


def test_the_spread_of_flips_is_their_standard_deviation():
    x = np.sign(z(90)) * (np.abs(z(90)) > 0.8)

    assert rules.score(x, 0.1).spread == pytest.approx(x.std())


def test_ranks_reject_at_alpha_itself():
    """Of five equal signs p is 1/32: at alpha 1/32 the interval excludes 0."""
    x = np.array([0.1, 0.2, 0.3, 0.4, 0.5])

    assert ranking.signed_rank(x, 0.0, 1 / 32).low == 0.1
    assert ranking.signed_rank(x, 0.0, 1 / 33).low == -math.inf


def test_the_words_of_skewed_effects_count_what_they_need():
    x = np.exp(2 * z(400))
    g = stats.skew(x)

    assert rules.mean(x, 0).obstacle == (
        f"effects with skewness {g:.1f} need {math.ceil(15 * g**2):,} units, there are 400"
    )


@pytest.mark.parametrize(("n", "many"), [(20, 100), (99, 1)])
def test_few_nonzero_effects_are_counted(n, many):
    x = np.zeros(400)
    x[:n] = np.where(np.arange(n) % 2, 0.3, -0.3)

    assert rules.mean(x, 0).obstacle.endswith(f"100 nonzero effects, there are {n}")


def test_two_hundred_units_a_hundred_of_them_nonzero_are_enough():
    x = np.zeros(200)
    x[:100] = np.where(np.arange(100) % 2, 0.3, -0.3)

    assert rules.mean(x, 0).obstacle == ""
    x[0] = 0
    assert "there are 99" in rules.mean(x, 0).obstacle


@pytest.mark.parametrize("share", [(50, 200), (41, 200)])
def test_more_than_a_fifth_of_dead_images_is_refused_on_either_side(share):
    many, n = share
    for side, words in ((-np.inf, "higher level"), (np.inf, "clean images")):
        x = z(n)
        x[:many] = side
        with pytest.raises(BadInput, match=rf"{many / n:.0%} of the images .* 0 [a-z ]*{words}"):
            rules.trimmed_mean(x, 0)
        x[40:many] = 0.0
        assert math.isfinite(rules.trimmed_mean(x, 0).estimate)


@pytest.mark.parametrize("side", [-np.inf, np.inf])
@pytest.mark.parametrize(("many", "second"), [(20, False), (36, True)])
def test_dead_images_up_to_the_trimming_point_are_a_second_group(side, many, second):
    x = z(200)
    x[:many] = side

    assert (rules.trimmed_mean(x, 0).obstacle == ruling.SECOND_GROUP) == second


def test_trimming_needs_three_units_and_a_mean_two():
    assert math.isnan(rules.trimmed_mean(np.array([1.0, 3.0]), 0).spread)
    assert rules.trimmed_mean(np.array([1.0, 3.0]), 0).estimate == 2.0
    assert math.isfinite(rules.trimmed_mean(np.array([1.0, 3.0, 4.0]), 0).low)
    assert rules.mean(np.array([1.0]), 0).spread == 0.0
    assert math.isfinite(rules.mean(np.array([1.0, 2.0]), 0).low)


def test_images_of_zero_by_zero_are_counted_over_runs_and_their_share_is_the_largest():
    names = ["train_seed", "site", "image"]
    index = pd.MultiIndex.from_product([range(3), ["a", "b"], range(4)], names=names)
    effect = pd.Series(1.0, index=index)
    effect[(0, "a", 1)] = effect[(1, "a", 2)] = effect[(1, "a", 3)] = math.nan

    assert leftout.lost(effect, None) == {"": (3, 0.5)}
    assert leftout.lost(effect, "site") == {"a": (3, 0.5), "b": (0, 0.0)}


@pytest.mark.parametrize("value", [-1.0, np.inf])
def test_no_ratio_is_made_of_what_is_none(value):
    index = pd.MultiIndex.from_product([["a"], range(3)], names=["site", "image"])
    wide = pd.DataFrame({0.0: 1.0, 0.1: 2.0}, index=index)
    leftout.refuse_no_ratio(wide, "edge_norm")
    leftout.refuse_no_ratio(wide * 0, "edge_norm")
    wide.loc[("a", 1), 0.1] = value
    word = "below 0" if value < 0 else "infinite"

    with pytest.raises(BadInput, match=f"{word}.* for site a, image 1 at level 0.1: "):
        leftout.refuse_no_ratio(wide, "edge_norm")
    with pytest.raises(BadInput, match=r"for image 1 at level 0\.1"):
        leftout.refuse_no_ratio(wide.droplevel("site"), "edge_norm")


def test_networks_on_the_other_side_are_named():
    names = ["net", "train_seed"]
    index = pd.MultiIndex.from_product([["a", "b", "c"], range(6)], names=names)
    effect = pd.Series(np.repeat([3.0, 3.0, 0.0], 6), index=index).sort_index()
    frame = effect.reset_index().astype({"net": pd.CategoricalDtype(["a", "b", "c", "unused"])})
    effect = frame.set_index(names)[0]

    def asked(low, estimate=2.0):
        run = ranking.signed_rank
        return obstacles.pooled(effect.where(effect > 0, low), "net", 1.0, estimate, 1.0, run)

    assert asked(2.0) == ("", {"a": 3.0, "b": 3.0, "c": 2.0})
    assert asked(0.5)[0] == "not pooled: c lies on the other side of the SESOI"
    assert asked(1.0)[0].startswith("not pooled: c lies")
    assert asked(0.5, 0.9)[0] == "not pooled: a, b lie on the other side of the SESOI"
    assert obstacles.pooled(effect, None, 1.0, 2.0, 1.0, ranking.signed_rank) == ("", {})


@pytest.mark.parametrize("ask", [rises, exceeds])
@pytest.mark.parametrize("unit", ["image", "train_seed"])
def test_sites_that_were_taken_out_leave_nothing_behind(ask, unit):
    """A categorical keeps the names of rows that are gone."""
    frame = drawn(images=30, runs=6 if unit == "train_seed" else 1, sites=("s1", "s2", "s3"))
    part = frame[frame["site"] != "s3"]
    plain = part.assign(**{name: part[name].astype(str) for name in ("net", "weights", "site")})
    for by in (None, "site"):
        found, same = (ask(f, "thing", sesoi=0.1, by=by, unit=unit) for f in (part, plain))
        assert [v.json() for v in found] == [v.json() for v in same]


def test_one_image_is_judged_and_left_open_and_none_is_refused():
    frame = drawn(images=1, sites=("s",)).assign(edge_norm=1.0)

    assert rises(frame, "edge_norm", sesoi="1 %").overall == "inconclusive"
    with pytest.raises(BadInput, match="every ratio is 0/0"):
        rises(frame.assign(edge_norm=0.0), "edge_norm", sesoi="1 %")


def test_an_arm_that_is_not_there_is_named():
    frame = drawn(images=30, nets=("a", "b"))
    for between in (("x", "a"), ("a", "x")):
        with pytest.raises(UnknownName, match="unknown net 'x': known: a, b"):
            exceeds(frame, "thing", sesoi=0.1, between=between)


def test_several_weights_of_one_network_are_named_up_to_four():
    frame = drawn(images=10, sites=("s",))
    every = pd.concat([frame.assign(weights=f"w{i}") for i in range(6)], ignore_index=True)

    with pytest.raises(BadInput, match="of one network: w0, w1, w2, w3; compare"):
        rises(every, "thing", sesoi=0.1)
    nets = pd.concat([frame.assign(net=f"n{i}") for i in range(6)], ignore_index=True)
    with pytest.raises(BadInput, match="values of 'net': n0, n1, n2, n3; compare"):
        rises(nets, "thing", sesoi=0.1)


def test_what_is_at_chance_has_p_one_on_both_sides():
    frame = drawn().rename(columns={"battery_hit": "correct"})
    frame.attrs["floor"] = {"chance": 0.1, "margin": 0.05, "clean": [["a", "w", 0, 30, 300]]}
    found = falls(frame, "correct", sesoi="1 point")[""]

    assert (found.p_supported, found.p_refuted, found.outcome) == (1.0, 1.0, "inconclusive")
    assert found.obstacle == (
        "at chance: a (w) names 10.0% of 300 clean images right, not 5 points above the 10.0% of"
        " chance, so there is nothing to lose"
    )
    for other in (["b", "w", 0, 30, 300], ["a", "v", 0, 30, 300], ["a", "w", 1, 30, 300]):
        frame.attrs["floor"]["clean"] = [other]  # of another network than the table's
        assert chance.at_chance(frame) == ""
    frame.attrs["floor"]["clean"] = [["a", "w", 0, 290, 300]]
    assert chance.at_chance(frame) == ""


@pytest.mark.parametrize("hits", [0, 1, 40, 63, 64, 100])
def test_above_chance_is_the_exact_binomial_test(hits):
    exact = stats.binomtest(hits, 100, 0.55, alternative="greater").pvalue <= 0.05

    assert chance.above_chance(hits, 100, 0.5) == exact


def test_an_accuracy_has_wilsons_interval():
    hits = np.repeat([1.0, 0.0], [30, 10])
    q = stats.norm.isf(0.05)
    middle = (0.75 + q * q / 80) / (1 + q * q / 40)
    half = q / (1 + q * q / 40) * math.sqrt(0.75 * 0.25 / 40 + q * q / (4 * 40**2))

    assert accuracies.accuracy_of(hits) == pytest.approx(
        (75, 100 * (middle - half), 100 * (middle + half))
    )


def test_points_lost_have_the_interval_of_their_rule():
    clean, after = np.sign(z(60)) > 0, np.sign(z(60, 1)) > 0
    lost = clean.astype(float) - after
    found = accuracies.points_lost(clean, after)
    means = accuracies.points_lost(clean / 2, after / 3)

    assert found[1:] == pytest.approx(
        (100 * rules.score(lost, 0).low, 100 * rules.score(lost, 0).high)
    )
    assert means[1] == pytest.approx(100 * rules.mean(clean / 2 - after / 3, 0).low)
    assert means[2] == pytest.approx(100 * rules.mean(clean / 2 - after / 3, 0).high)


@pytest.mark.parametrize("text", ["/1", "/0.5", "/1.0", "/x", "1_0 %", True, "nan", "inf %"])
def test_what_is_no_smallest_effect_is_refused(text):
    with pytest.raises(BadInput):
        sesoi_of(text, "edge_norm", "ratio", -1)


@pytest.mark.parametrize(("text", "side"), [("10 %", -1), ("-10 %", 1), ("12.5 %", -1)])
def test_a_large_fall_is_written_as_a_factor(text, side):
    value = abs(quantity(text)[0])
    words = f"below 1/{1 + value / 100:g}, which is {100 / (1 + value / 100) - 100:.3g} %"
    with pytest.raises(BadInput) as told:
        sesoi_of(text, "edge_norm", "ratio", side)

    assert words in str(told.value)
    assert f"'/{1 + value / 100:g}'" in str(told.value)
    assert sesoi_of("9.99 %", "edge_norm", "ratio", side) == pytest.approx(math.log(1.0999))
    assert sesoi_of(text.lstrip("-"), "edge_norm", "ratio", 1) > 0
    assert sesoi_of("-0.5 %", "edge_norm", "ratio") == pytest.approx(-math.log(1.005))


@pytest.mark.parametrize(
    ("n", "words"), [(0, "0 blocks"), (1, "1 block"), (2, "2 blocks"), (1001, "1,001 blocks")]
)
def test_things_are_counted(n, words):
    assert wording.counted(n, "block") == words


def test_small_words_of_numbers():
    assert wording.shown(0.01, "share") == "+1 point"
    assert wording.shown(-0.01, "hit", sign=False) == "-1 point"
    assert wording.shown(0.02, "share", sign=False) == "2 points"
    assert wording.shown(-0.0, "ratio") == wording.shown(0.0, "ratio") == "+0 %"
    assert wording.shown(1500.0, "plain") == "+1,500"
    assert wording.shown(999.9, "plain") == "+1e+03"
    assert wording.shown(900.0, "ratio").endswith(" %")
    assert wording.p_shown(1e-4) == "0.0001"
    assert wording.p_shown(9.9e-5) == "< 1e-4"


@pytest.mark.parametrize("many", [30, 31, 75])
def test_a_notebook_shows_thirty_rows_and_counts_the_rest(many):
    text = rich.grid(["a"], [[i] for i in range(many)])

    assert text.count("<td>") == 30
    assert ("further row" in text) == (many > 30)
    if many == 75:
        assert "<p>45 further rows</p>" in text


def test_both_needs_one_family_of_one_unit_at_one_alpha():
    one, runs = drawn(images=40), drawn(images=10, runs=6)
    by_site = rises(one, "thing", sesoi=0.1, by="site")
    seeded = rises(runs, "thing", sesoi=0.1, by="site", unit="train_seed")

    assert both(by_site, by_site, by_site).overall == by_site.overall
    assert len(both(by_site, by_site)["s1"].parts) == 2
    with pytest.raises(BadInput, match="these are about images and about training seeds"):
        both(by_site, seeded)
    with pytest.raises(BadInput, match=r"alpha 0\.01"):
        both(by_site, dataclasses.replace(by_site, alpha=0.01))
    with pytest.raises(BadInput, match="these are none"):
        both()


def test_an_overall_verdict_is_mixed_only_with_one_of_each():
    assert family.overall([1e-4, 0.9, 0.5], [0.9, 1e-4, 0.5], 0.05) == "mixed"
    assert family.overall([1e-4, 0.9, 0.5], [0.9, 0.5, 0.5], 0.05) == "inconclusive"
    assert family.overall([0.5, 0.9, 0.5], [0.9, 1e-4, 0.5], 0.05) == "inconclusive"


def test_a_trend_beside_a_verdict_is_that_of_the_images_that_move():
    wide = pd.DataFrame([[1, 2, 3.0], [3, 2, 1], [1, 1, 1], [1, 3, 2]], columns=[0, 0.1, 0.2])
    found = effects.trend(wide)
    page = stats.page_trend_test(wide.to_numpy(), method="asymptotic").pvalue
    back = stats.page_trend_test(-wide.to_numpy(), method="asymptotic").pvalue

    assert found["rho"] == pytest.approx((1 - 1 + 0.5) / 3)
    assert (found["page_up"], found["page_down"]) == pytest.approx((page, back))


@pytest.mark.parametrize("given", [1, None, "table", [1, 2]])
def test_a_question_is_asked_of_a_table(given):
    with pytest.raises(BadInput, match=r"is asked of a table, as lab\.sweep"):
        falls(given, "thing", sesoi=0.1)
