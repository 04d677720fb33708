"""Questions asked of made-up tables whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from probes import seeds, table
from probes.errors import BadInput, UnknownName
from probes.judge import below, both, effects, equivalent, exceeds, falls, questions, rises, rules
from probes.judge.asking import Question
from probes.judge.sesoi import sesoi_of

table.declare_metric("made_norm", "ratio", "a norm")
table.declare_metric("made_share", "share", "a share")
table.declare_metric("made_hit", "hit", "a hit")
table.declare_metric("made_index", "plain", "an index")
LEVELS = (0.0, 0.1, 0.2)


def made(
    n=300,
    sites=("a", "b"),
    gain=(0.05, -0.05),
    nets=("net",),
    runs=(0,),
    draws=1,
    spread=0.02,
    name="made table",
):
    """A table whose norm changes by exp(gain) per site at the top level, and whose share by gain /
    10.
    """
    rows = []
    for net in nets:
        for run in runs:
            for s, site in enumerate(sites):
                for draw in range(draws):
                    noise = (
                        seeds.normals(n, [(name, net, run, site, draw)])[0].astype(float) * spread
                    )
                    base = np.exp(seeds.normals(n, [(name, "base", site)])[0].astype(float) / 3)
                    for k, level in enumerate(LEVELS):
                        if level == 0 and draw:
                            continue
                        part = k / 2
                        rows.append(
                            pd.DataFrame(
                                {
                                    "net": net,
                                    "weights": "w",
                                    "dataset": "d",
                                    "train_seed": run,
                                    "image": np.arange(n),
                                    "draw": draw,
                                    "level": level,
                                    "site": site,
                                    "made_norm": base * np.exp(part * (gain[s] + noise)),
                                    "made_share": np.clip(
                                        0.4 + part * (gain[s] / 10 + noise / 10), 0, 1
                                    ),
                                    "made_hit": (
                                        (
                                            seeds.uniform(n, name, "hit", site)
                                            > 0.1 + 0.3 * part * gain[s]
                                        ).astype(float)
                                    ),
                                }
                            )
                        )
    return table.join(rows)


def test_a_rise_and_a_fall_are_told_apart_by_site():
    found = rises(made(), "made_norm", by="site", sesoi="1 %")

    assert (found["a"].outcome, found["b"].outcome) == ("supported", "refuted")
    assert found.overall == "mixed"
    assert found["a"].estimate == pytest.approx(0.05, abs=0.005)


def test_falls_is_the_mirror_image_of_rises():
    t = made()
    swapped = t.assign(made_norm=1 / t["made_norm"])
    up, down = (
        rises(t, "made_norm", by="site", sesoi="1 %"),
        falls(swapped, "made_norm", by="site", sesoi="1 %"),
    )

    for a, b in zip(up, down, strict=True):
        assert a.outcome == b.outcome
        assert (a.p_supported, a.p_refuted) == pytest.approx((b.p_supported, b.p_refuted), rel=1e-9)
        assert (a.low, a.high, a.sesoi) == pytest.approx((-b.high, -b.low, -b.sesoi))


def test_the_effect_is_that_of_the_highest_level_and_the_curve_shows_the_others():
    v = rises(made(), "made_norm", by="site", sesoi="1 %")["a"]

    assert [row[0] for row in v.curve] == [0.1, 0.2]
    assert v.curve[0][1] == pytest.approx(0.025, abs=0.003)
    assert v.curve[-1][1] == pytest.approx(v.estimate)


def test_draws_are_averaged_before_the_log():
    t = made(draws=3)
    found = rises(t, "made_norm", by="site", sesoi="1 %")["a"]
    top = t[(t["level"] == 0.2) & (t["site"] == "a")].groupby("image")["made_norm"].mean()
    clean = t[(t["level"] == 0) & (t["site"] == "a")].set_index("image")["made_norm"]

    assert found.n == 300
    assert found.estimate == pytest.approx(
        rules.trimmed_mean(np.log(top / clean).to_numpy(), 0).estimate
    )


@pytest.mark.parametrize("unit", ["pixel", "channel", "draw", "batch", "site"])
def test_trap_s02_a_unit_that_is_nested_is_refused(unit):
    with pytest.raises(BadInput, match="no evidence"):
        rises(made(), "made_norm", by="site", sesoi="1 %", unit=unit)


def test_trap_s02_n_counts_images_whatever_the_draws():
    assert rises(made(draws=4), "made_norm", by="site", sesoi="1 %")["a"].n == 300


def test_several_runs_are_no_images():
    with pytest.raises(BadInput, match="2 training runs"):
        rises(made(runs=(0, 1)), "made_norm", by="site", sesoi="1 %")


def test_several_nets_are_not_mixed():
    with pytest.raises(BadInput, match="several values of 'net'"):
        rises(made(nets=("net", "other")), "made_norm", by="site", sesoi="1 %")


def test_trap_s04_arms_are_paired_by_image_and_an_unpaired_one_is_refused():
    t = made(nets=("one", "two"), gain=(0.05, 0.05))
    lost = t[~((t["net"] == "two") & (t["image"] == 7))]
    with pytest.raises(BadInput, match="not paired"):
        exceeds(lost, "made_norm", between=("one", "two"), by="site", sesoi="1 %")


def test_trap_s04_pairing_takes_out_what_two_arms_share():
    t = made(nets=("one", "two"), gain=(0.0, 0.0), spread=0.01)
    paired = exceeds(t, "made_norm", between=("one", "two"), by="site", sesoi="1 %")["a"]
    values = (
        t[(t["site"] == "a") & (t["level"] == 0.2)]
        .groupby("net", observed=True)["made_norm"]
        .apply(lambda m: np.log(m).std())
    )

    assert paired.spread < values.max() / 5


def test_runs_are_judged_over_seeds_by_the_signed_rank():
    t = made(n=150, nets=("one", "two"), runs=range(8), gain=(0.05, 0.05))
    moved = t.assign(
        made_norm=np.where((t["net"] == "one") & (t["level"] == 0.2), 1.1, 1.0) * t["made_norm"]
    )
    found = exceeds(moved, "made_norm", between=("one", "two"), unit="train_seed", sesoi="1 %")

    assert found.overall == "supported"
    assert found[""].p_supported == 0.5**8
    assert (found[""].n, found[""].unit) == (8, "training seed")
    assert len(found[""].notes["runs"]) == 8


def test_a_runs_own_summary_is_the_trimmed_mean_over_images_then_the_mean_over_sites():
    t = made(n=150, runs=range(5))
    wide = effects.averaged(t, "made_norm", "train_seed", None, None)
    found = effects.per_unit(
        effects.response(wide, "ratio", 0.2), "ratio", "train_seed", None, None
    )[""]
    one = t[t["train_seed"] == 3]
    by_hand = []
    for site in ("a", "b"):
        part = one[one["site"] == site]
        ratio = np.log(
            part[part["level"] == 0.2].set_index("image")["made_norm"]
            / part[part["level"] == 0].set_index("image")["made_norm"]
        )
        by_hand.append(rules.trimmed_mean(ratio.to_numpy(), 0).estimate)

    assert found.loc[3] == pytest.approx(np.mean(by_hand))


def test_trap_s01_three_runs_are_inconclusive_by_design():
    found = exceeds(
        made(n=120, nets=("one", "two"), runs=range(3), gain=(0.5, 0.5)),
        "made_norm",
        between=("one", "two"),
        unit="train_seed",
        sesoi="1 %",
    )

    assert found.overall == "inconclusive"
    assert not found.judged
    assert "p = 0.125 at best" in found[""].obstacle


def test_a_family_of_runs_needs_more_of_them():
    found = rises(
        made(n=120, runs=range(5)), "made_norm", by="site", sesoi="1 %", unit="train_seed"
    )

    assert "a family of 2 needs 6 training runs" in found["a"].obstacle


def test_accuracy_with_one_draw_is_judged_by_the_score_test():
    t = made(gain=(0.9, 0.0))

    assert falls(t, "made_hit", by="site", sesoi="5 points")["a"].rule == "score"
    assert falls(t, "made_hit", by="site", sesoi="5 points")["a"].outcome == "supported"


def test_equivalent_is_supported_inside_and_refuted_outside():
    t = made(gain=(0.001, 0.05))
    found = equivalent(t, "made_norm", by="site", sesoi="1 %")

    assert (found["a"].outcome, found["b"].outcome) == ("supported", "refuted")


def test_below_mirrors_exceeds():
    t = made(nets=("one", "two"), gain=(0.05, 0.05))
    a = exceeds(t, "made_norm", between=("one", "two"), by="site", sesoi="1 %")["a"]
    b = below(t, "made_norm", between=("two", "one"), by="site", sesoi="1 %")["a"]

    assert (a.p_supported, a.p_refuted) == pytest.approx((b.p_supported, b.p_refuted))


def test_both_is_joined_within_each_block_first():
    t = made()
    up, down = (
        rises(t, "made_norm", by="site", sesoi="1 %"),
        rises(t, "made_share", by="site", sesoi="0.1 points"),
    )
    found = both(up, down)

    for label in ("a", "b"):
        assert found[label].p_supported == max(up[label].p_supported, down[label].p_supported)
        assert found[label].p_refuted == min(
            1.0, 2 * min(up[label].p_refuted, down[label].p_refuted)
        )
        assert [p.metric for p in found[label].parts] == ["made_norm", "made_share"]


def test_both_refuses_other_blocks():
    with pytest.raises(BadInput, match="same blocks"):
        both(
            rises(made(), "made_norm", by="site", sesoi="1 %"),
            rises(made(sites=("a",)), "made_norm", by="site", sesoi="1 %"),
        )


def test_trap_s05_a_tiny_effect_with_many_images_is_refuted_not_supported():
    """p = 1e-30 against 0 is no support: the SESOI decides."""
    found = rises(made(n=5000, gain=(0.002, 0.002)), "made_norm", by="site", sesoi="1 %")["a"]

    assert found.low > 0
    assert found.outcome == "refuted"


def test_trap_s05_a_non_significant_test_is_never_refuted():
    found = rises(made(n=150, gain=(0.01, 0.01), spread=0.3), "made_norm", by="site", sesoi="1 %")[
        "a"
    ]

    assert found.outcome == "inconclusive"
    assert found.needed > 150
    assert "would decide" in found.advice()


def test_trap_s06b_the_effect_changes_sign_when_the_arms_are_swapped():
    """The mean relative change of skewed ratios rises both ways; the trimmed log-ratio does not."""
    t = made(spread=1.0, gain=(0.0, 0.0))
    swapped = t.assign(level=t["level"].map({0.0: 0.2, 0.1: 0.1, 0.2: 0.0}))
    wide = t[t["site"] == "a"].pivot(index="image", columns="level", values="made_norm")

    assert (wide[0.2] / wide[0.0] - 1).mean() > 0.1
    assert (wide[0.0] / wide[0.2] - 1).mean() > 0.1
    assert rises(t, "made_norm", by="site", sesoi="1 %")["a"].estimate == pytest.approx(
        -rises(swapped, "made_norm", by="site", sesoi="1 %")["a"].estimate
    )


def test_trap_s06b_the_ratio_of_means_stands_beside_and_a_different_sign_is_named():
    t = made(n=300, gain=(0.05, 0.05))
    few = (t["image"] < 3) & (t["level"] == 0)
    t = t.assign(made_norm=np.where(few, 1000 * t["made_norm"], t["made_norm"]))
    found = rises(t, "made_norm", by="site", sesoi="1 %")["a"]

    assert found.estimate > 0 > found.notes["ratio_of_means"]
    assert found.notes["signs_differ"]


def test_ratios_of_zero_by_zero_are_left_out_and_counted():
    t = made()
    t.loc[t["image"] < 5, "made_norm"] = 0.0
    found = rises(t, "made_norm", by="site", sesoi="1 %")["a"]

    assert (found.n, found.notes["excluded"]) == (295, 5)


def test_the_trend_is_that_of_scipy():
    from scipy import stats

    t = made()
    found = rises(t, "made_norm", by="site", sesoi="1 %")["a"].notes
    wide = t[t["site"] == "a"].pivot(index="image", columns="level", values="made_norm").to_numpy()

    assert found["rho"] == pytest.approx(
        np.mean([stats.spearmanr(row, LEVELS).statistic for row in wide])
    )
    assert found["page_up"] == pytest.approx(stats.page_trend_test(wide).pvalue)


@pytest.mark.parametrize(
    ("sesoi", "metric", "kind", "value"),
    [
        ("1 %", "m", "ratio", np.log(1.01)),
        ("-1 %", "m", "ratio", -np.log(1.01)),
        ("0.5 points", "m", "share", 0.005),
        ("1 point", "m", "hit", 0.01),
        (0.5, "m", "plain", 0.5),
        ("0 %", "m", "ratio", 0.0),
    ],
)
def test_a_sesoi_in_working_units(sesoi, metric, kind, value):
    assert sesoi_of(sesoi, metric, kind) == pytest.approx(value)


@pytest.mark.parametrize(
    ("sesoi", "kind"),
    [("1 points", "ratio"), ("1 %", "share"), (1, "ratio"), ("1 %", "plain"), ("much", "ratio")],
)
def test_a_sesoi_of_the_wrong_unit_is_an_error(sesoi, kind):
    with pytest.raises(BadInput, match="sesoi"):
        sesoi_of(sesoi, "var_h", kind)


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(UnknownName, match="did you mean made_norm"):
        rises(made(), "made_nrom", by="site", sesoi="1 %")


def test_a_question_asked_again_of_its_inputs_gives_the_same_verdicts():
    t = made()
    found = both(
        rises(t, "made_norm", by="site", sesoi="1 %"),
        falls(t, "made_share", by="site", sesoi="0.1 points"),
    )
    again = questions.again(found.spec, list(found.inputs), found.alpha)

    assert [v.json() for v in again] == [v.json() for v in found]


def test_inputs_hold_the_keys_and_the_metric_and_nothing_else():
    frame = rises(made(), "made_norm", by="site", sesoi="1 %").inputs[0]

    assert list(frame.columns) == [*table.KEYS, "made_norm"]


class _Lazy:
    def __init__(self, design):
        self.design, self.alpha, self.said, self.computed = design, 0.05, [], False

    def say(self, text):
        assert not self.computed
        self.said.append(text)

    @property
    def frame(self):
        self.computed = True
        return made(n=40)


def test_a_design_that_can_not_decide_is_told_so_before_compute_is_spent():
    from probes.judge.power import Design

    sweep = _Lazy(Design("d", 40, "", 1, 0, LEVELS, (("net", 1),)))
    found = rises(sweep, "made_norm", by="site", sesoi="1 %")

    assert "100 images, the design has 40" in sweep.said[0]
    assert found.overall == "inconclusive"
    assert not found.judged


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"ask": "rises"},
        {"ask": "grows", "metric": "made_norm", "sesoi": "1 %", "between": None},
    ],
)
def test_json_that_is_no_question_is_an_error(spec):
    with pytest.raises((BadInput, UnknownName)):
        questions.again(spec, [made()], 0.05)


def test_a_question_is_data():
    q = Question("rises", "made_norm", "1 %", by="site")

    assert Question(**q.json()) == q


def test_a_family_is_foreseen_with_its_size():
    from probes.judge.power import Design

    sweep = _Lazy(Design("d", 300, "", 1, 0, LEVELS, (("net", 6),), sites=9))
    rises(sweep, "made_norm", by="site", sesoi="1 %", unit="train_seed")

    assert "8 are needed in a family of 9" in sweep.said[0]


@pytest.mark.parametrize(
    ("between", "runs", "few"),
    [(None, (3, 2), 0), (None, (2, 2), 4), (("a", "b"), (5, 5), 0), (("a", "b"), (5, 4), 4)],
)
def test_pooled_runs_are_foreseen_together_and_in_pairs_where_arms_are_compared(between, runs, few):
    from probes.judge.power import Design

    every = tuple(zip("ab", runs, strict=True))
    sweep = _Lazy(Design("d", 300, "", 1, 0, LEVELS, every))
    asked = Question("exceeds", "made_norm", "1 %", unit="train_seed", pool="net", between=between)
    asked.foresee(sweep)

    assert len(sweep.said) == bool(few)
    assert not few or f"{few} training runs reach" in sweep.said[0]


def test_trap_s07_a_null_is_not_supported_and_a_planted_effect_is():
    assert rises(made(gain=(0.0, 0.0)), "made_norm", by="site", sesoi="1 %").overall == "refuted"
    assert (
        rises(made(gain=(0.05, 0.05)), "made_norm", by="site", sesoi="1 %").overall == "supported"
    )


def common(n=240, draws=24, gain=-0.06, nets=("net",), draw_spread=0.01):
    """A table whose draws are common to all images: a share that falls by ``gain``, more or less by
    draw.
    """
    rows = []
    for net in nets:
        share = 0.1 * seeds.normals(n, [("crossed", net, "image")])[0].astype(float)
        by_draw = draw_spread * seeds.normals(draws, [("crossed", net, "draw")])[0].astype(float)
        for draw in range(draws):
            for level in (0.0, 0.1) if draw == 0 else (0.1,):
                left = 0.05 * seeds.normals(n, [("crossed", net, draw)])[0].astype(float)
                moved = (gain + by_draw[draw] + left + share / 5) if level else 0
                rows.append(
                    pd.DataFrame(
                        {
                            "net": net,
                            "weights": "w",
                            "dataset": "d",
                            "train_seed": 0,
                            "image": np.arange(n),
                            "draw": draw,
                            "level": level,
                            "site": "all",
                            "made_share": 0.5 + share + moved,
                            "made_norm": np.exp(share + moved),
                        }
                    )
                )
    t = table.join(rows)
    t.attrs["draws"] = "common"
    return t


def test_over_images_and_draws_the_two_way_rule_decides():
    found = falls(common(), "made_share", sesoi="1 points", unit="image and draw")
    v = found[""]

    assert (v.rule, v.outcome, v.n, v.notes["draws"]) == ("two-way", "supported", 240, 24)
    assert v.estimate == pytest.approx(-0.06, abs=0.01)
    assert (
        found.scope
        == "over 240 images of d, taken as independent, and over draws (24 of them, common to all"
        " images), for this checkpoint"
    )


def test_the_two_way_interval_is_wider_than_that_of_these_very_draws():
    t = common(draw_spread=0.05)
    over, these = (
        falls(t, "made_share", sesoi="1 points", unit=u) for u in ("image and draw", "image")
    )

    assert over[""].estimate == pytest.approx(these[""].estimate)
    assert over[""].high - over[""].low > 2 * (these[""].high - these[""].low)
    assert (
        these.scope
        == "over 240 images of d, taken as independent, for this checkpoint and these 24 draws,"
        " common to all images"
    )


def test_an_open_verdict_says_whether_images_or_draws_limit():
    v = falls(
        common(gain=-0.015, draw_spread=0.03), "made_share", sesoi="1 points", unit="image and draw"
    )[""]

    assert v.outcome == "inconclusive"
    assert "the draws limit" in v.advice()
    assert "draws would decide" in v.advice()


def test_two_arms_are_paired_by_image_and_draw():
    t = common(nets=("a", "b"))
    found = exceeds(t, "made_share", between=("a", "b"), sesoi="1 points", unit="image and draw")[
        ""
    ]
    wide = t[t["level"] == 0.1].pivot_table(
        index=["image", "draw"], columns="net", values="made_share", observed=True
    )
    clean = t[t["level"] == 0].pivot_table(
        index="image", columns="net", values="made_share", observed=True
    )
    expected = (wide["a"] - wide["b"]).mean() - (clean["a"] - clean["b"]).mean()

    assert found.estimate == pytest.approx(expected)


def test_draws_of_their_own_are_nested_and_not_judged_over():
    with pytest.raises(BadInput, match="each image has draws of its own, which are nested"):
        falls(made(draws=20), "made_share", by="site", sesoi="1 points", unit="image and draw")


def test_log_ratios_are_refused_by_the_two_way_rule():
    with pytest.raises(BadInput, match="made_norm is judged by log-ratios"):
        falls(common(), "made_norm", sesoi="1 %", unit="image and draw")


def test_an_image_without_one_of_the_common_draws_is_an_error():
    t = common()
    with pytest.raises(BadInput, match="measured at every draw"):
        falls(
            t[(t["draw"] != 3) | (t["image"] != 5)],
            "made_share",
            sesoi="1 points",
            unit="image and draw",
        )


def test_few_common_draws_leave_it_open_and_say_so():
    found = falls(common(draws=5), "made_share", sesoi="1 points", unit="image and draw")[""]

    assert found.outcome == "inconclusive"
    assert "there are 240 and 5" in found.obstacle


def test_a_table_with_common_draws_is_judged_the_same_from_its_file(tmp_path):
    found = falls(common(), "made_share", sesoi="1 points", unit="image and draw")
    table.write(found.inputs[0], tmp_path / "t.parquet")
    again = questions.again(found.spec, [table.read(tmp_path / "t.parquet")], found.alpha)

    assert again[""].json() == found[""].json()


def test_two_sites_of_one_net_are_compared_image_by_image():
    t = made(gain=(0.05, -0.05))
    found = exceeds(t, "made_share", between=("a", "b"), arm="site", sesoi="0.1 points")[""]
    wide = t[t["level"].isin([0.0, 0.2])].pivot_table(
        index="image", columns=["site", "level"], values="made_share", observed=True
    )
    expected = (wide["a"][0.2] - wide["a"][0.0] - wide["b"][0.2] + wide["b"][0.0]).mean()

    assert found.estimate == pytest.approx(expected)
    assert found.outcome == "supported"
    assert found.measured == "made_share, a minus b"


def test_what_was_measured_is_the_metric_where_nothing_is_compared():
    assert rises(made(), "made_norm", by="site", sesoi="-1 %")["a"].measured == "made_norm"


def test_a_part_of_a_sweep_is_told_in_the_question():
    parts = [made().assign(layers=n) for n in ("1", "3")]
    parts[0].attrs["keys"] = ["layers"]
    whole = table.join(parts)
    few = whole[whole["layers"] == "3"]
    only = rises(few, "made_norm", by="site", sesoi="1 %")["a"]

    assert only.question.endswith("(layers = 3)")
    assert only.measured == "made_norm (layers = 3)"
    assert rises(made(), "made_norm", by="site", sesoi="1 %")["a"].measured == "made_norm"


def groups_of(values):
    rows = {
        "net": "n",
        "weights": "w",
        "dataset": "d",
        "train_seed": 0,
        "image": np.arange(len(values)),
        "draw": 0,
        "level": 0.0,
    }
    frame = pd.DataFrame(rows | {"site": "a", "made_norm": 1.0, "made_index": values})
    frame.attrs["groups"] = True
    return frame


def test_groups_of_images_are_judged_by_signed_ranks():
    x = seeds.normals(20, [("groups",)])[0].astype(float) / 10 + 0.3
    found = exceeds(groups_of(x), "made_index", sesoi=0.2, unit="image group")[""]
    theirs = stats.wilcoxon(x - 0.2, alternative="greater", method="exact")

    assert found.outcome == "supported"
    assert found.p_supported == pytest.approx(theirs.pvalue)
    assert (found.unit, found.n, found.rule) == ("image group", 20, "typical group")
    assert (
        exceeds(groups_of(x), "made_index", sesoi=0.2, unit="image group").scope
        == "over 20 disjoint groups of images of d, taken as independent, for the typical group,"
        " for this checkpoint"
    )


def test_fewer_than_twenty_groups_decide_nothing():
    found = exceeds(groups_of(np.linspace(5, 6, 19)), "made_index", sesoi=0.2, unit="image group")[
        ""
    ]

    assert found.outcome == "inconclusive"
    assert "decided from 20 groups, there are 19" in found.obstacle


def test_groups_are_no_images_and_images_no_groups():
    with pytest.raises(BadInput, match="a row is of a group of images"):
        exceeds(groups_of(np.arange(20.0)), "made_index", sesoi=0.2)
    with pytest.raises(BadInput, match="a row is of one image"):
        exceeds(made(), "made_share", sesoi="1 point", unit="image group")


@pytest.mark.parametrize(
    ("text", "value"),
    [(1e-5, 1e-5), ("1e-05", 1e-5), ("1.5E-3", 1.5e-3), ("-.5", -0.5), (2, 2.0), (" 3 ", 3.0)],
)
def test_a_small_sesoi_is_a_number(text, value):
    assert sesoi_of(text, "loss", "plain") == value


def test_a_sesoi_with_an_exponent_has_its_unit():
    assert sesoi_of("1e-3 points", "sparsity", "share") == pytest.approx(1e-5)
    assert sesoi_of("1e-1 %", "var_h", "ratio") == pytest.approx(np.log1p(1e-3))


@pytest.mark.parametrize(
    "text", ["nan", "inf", "-inf", "1_0", "", "%", "one", "1,5", "0x1", True, None, "1 per cent"]
)
def test_a_sesoi_that_is_no_finite_number_is_refused_by_every_question(text):
    for ask in (rises, equivalent):
        with pytest.raises(BadInput, match="a number with its unit"):
            ask(made_table(), "gain", sesoi=text)


def made_table():
    return pd.DataFrame(
        {
            "net": "n",
            "weights": "w",
            "dataset": "d",
            "train_seed": 0,
            "image": np.repeat(range(200), 2),
            "draw": 0,
            "level": [0.0, 0.1] * 200,
            "site": "a",
            "gain": np.arange(400) % 7 / 100,
        }
    )


def test_a_column_that_people_call_otherwise_is_told():
    with pytest.raises(UnknownName, match="blocks are told apart by 'site'"):
        rises(made_table(), "gain", sesoi=1, by="block")


def test_zero_flips_of_300_need_more_images_and_not_one():
    frame = made_table().assign(gain=0.0).rename(columns={"gain": "correct"})
    one = falls(
        pd.concat([frame, frame.assign(image=frame["image"] + 200)])[:600],
        "correct",
        sesoi="1 point",
    )[""]

    assert one.n == 300
    assert one.outcome == "inconclusive"
    assert one.needed == 613
    assert one.advice() == "open: 613 images would decide"


def test_what_two_questions_of_a_joint_one_differ_in_is_said():
    with pytest.raises(BadInput, match=r"gain: no blocks, alpha 0\.05; gain: a, alpha 0\.05"):
        both(rises(made_table(), "gain", sesoi=1), rises(made_table(), "gain", sesoi=1, by="site"))
