"""What an attack on the judge found: input that gave a verdict which was wrong, and levels that
were not held. Each is refused, or open with its reason, or decided as it should be.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from probes import table as tables
from probes.errors import BadInput, UnknownName
from probes.judge import both, crossed, decreases, equivalent, exceeds, falls, ranking, rises, rules
from probes.judge.asking import Question
from probes.judge.family import outcomes
from probes.judge.power import Design, needed
from probes.judge.unseen import disclosures, share_unseen


def rng(*name):
    return np.random.Generator(np.random.Philox(key=np.array(name, np.uint64)))


def table(clean, noisy, metric, level=0.1, **names):
    """Values of each image at level 0 and at a level, as a table."""
    base = {"net": "n", "weights": "w", "dataset": "d", "train_seed": 0, "site": "a"} | names
    return pd.concat(
        [
            pd.DataFrame(
                base | {"image": np.arange(len(v)), "draw": 0, "level": lv, metric: np.asarray(v)}
            )
            for lv, v in ((0.0, clean), (level, noisy))
        ],
        ignore_index=True,
    )


# --- 1.1: a share of responders just above 20 %


def test_trap_a11_responders_at_the_trimming_point_are_no_false_refuted():
    """At most 20 % of a sample respond where 21 % do: all were trimmed and winsorised, and the
    typical image was said not to move (9 alpha, without the guard).
    """
    g = rng(11, 1)
    whole = np.sort(np.where(g.uniform(size=400_000) < 0.21, 3, 0) + g.normal(0, 0.1, 400_000))
    truth = whole[80_000:320_000].mean()
    wrong = []
    for _ in range(400):
        x = np.where(g.uniform(size=300) < 0.21, 3.0, 0.0) + g.normal(0, 0.1, 300)
        found = rules.trimmed_mean(x, truth)
        wrong.append(found.p_down <= 0.05 and not found.obstacle)

    assert np.mean(wrong) <= 0.05 * 1.2 + 2 * np.sqrt(0.05 * 0.95 / 400)


def test_trap_a11_the_guard_lets_ordinary_effects_pass():
    g = rng(11, 2)
    for draw in (g.standard_normal, lambda n: g.standard_t(3, n)):
        refused = [bool(rules.trimmed_mean(draw(300), 0.0).obstacle) for _ in range(300)]
        assert np.mean(refused) <= 0.02


def test_trap_a11_two_groups_are_said_to_be_two():
    x = np.concatenate([np.full(58, 3.0), np.zeros(242)]) + rng(11, 3).normal(0, 0.1, 300)

    assert "a second group of images begins" in rules.trimmed_mean(x, 0.5).obstacle


# --- 1.3: wrong input


def test_trap_a13_two_networks_are_not_averaged_where_between_was_forgotten():
    g = rng(13, 1)
    frames = [
        table(np.ones(300), np.exp(m + g.normal(0, 0.05, 300)), "var_h", weights=w)
        for w, m in (("A", 0.4), ("B", 0.01))
    ]
    with pytest.raises(BadInput, match=r"several values of 'weights' of one network: A, B"):
        rises(tables.join(frames), "var_h", sesoi="1 %")
    runs = [
        table(np.ones(20), np.full(20, v), "loss", weights=w, train_seed=s)
        for s in range(8)
        for w, v in (("clean", 1.0), ("noisy", 2.0))
    ]
    with pytest.raises(BadInput, match="several values of 'weights'"):
        exceeds(tables.join(runs), "loss", sesoi=0.1, unit="train_seed")
    arms = {"between": ("noisy", "clean"), "arm": "weights", "unit": "train_seed"}
    assert exceeds(tables.join(runs), "loss", sesoi=0.1, **arms).overall == "supported"


@pytest.mark.parametrize(
    ("value", "word"), [(-0.5, "is -0.5 \\(below 0\\)"), (np.inf, "is inf \\(infinite\\)")]
)
def test_trap_a13_a_ratio_of_what_is_negative_or_infinite_is_refused(value, word):
    noisy = np.full(300, 1.1)
    noisy[7] = value
    with pytest.raises(BadInput, match=f"var_h {word} for site a, image 7 at level 0.1"):
        rises(table(np.ones(300), noisy, "var_h"), "var_h", sesoi="1 %")


def test_trap_a13_where_most_images_are_zero_over_zero_nothing_is_decided():
    clean = np.where(np.arange(4000) < 3800, 0.0, 1.0)
    noisy = clean * 1.2 * np.exp(rng(13, 2).normal(0, 0.05, 4000))
    found = rises(table(clean, noisy, "var_h"), "var_h", sesoi="1 %")[""]

    assert found.outcome == "inconclusive"
    assert "95% of the images are 0/0" in found.obstacle


def test_trap_a13_zero_over_zero_inside_a_training_run_is_counted():
    clean = np.where(np.arange(400) < 360, 0.0, 1.0)
    frames = [
        table(clean, clean * 1.2 * np.exp(rng(13, s).normal(0, 0.05, 400)), "var_h", train_seed=s)
        for s in range(8)
    ]
    found = rises(tables.join(frames), "var_h", sesoi="1 %", unit="train_seed")[""]

    assert found.outcome == "inconclusive"
    assert "90% of the images of a training run are 0/0" in found.obstacle
    assert found.notes["excluded"] == 8 * 360


def test_trap_a13_an_image_of_which_one_site_is_zero_over_zero_is_left_out_whole():
    g, some = rng(13, 9), np.arange(400) < 40
    live = table(np.ones(400), 1.3 * np.exp(g.normal(0, 0.05, 400)), "var_h", site="a")
    half = np.where(some, 0.0, 1.0)
    dead = table(half, half * 1.3 * np.exp(g.normal(0, 0.05, 400)), "var_h", site="b")
    found = rises(tables.join([live, dead]), "var_h", sesoi="1 %")[""]

    assert (found.n, found.notes["excluded"]) == (360, 40)


def test_trap_a13_what_moves_in_the_last_digits_only_was_not_reached():
    moved = 1 + 1.2e-7 * rng(13, 10).choice([-1, 0, 1], 1000)
    found = rises(table(np.ones(1000), moved, "var_h"), "var_h", sesoi="1 %")[""]

    assert found.outcome == "inconclusive"
    assert "the perturbation did not reach this metric" in found.obstacle


def test_trap_a13_both_takes_questions_about_the_same_units():
    g = rng(13, 11)
    images = table(np.zeros(300), g.uniform(0.2, 0.3, 300), "sparsity")
    runs = tables.join(
        [table(np.zeros(5), np.full(5, 1.0 + s / 10), "loss", train_seed=s) for s in range(8)]
    )
    with pytest.raises(BadInput, match="same units, these are about images and about training"):
        both(
            rises(images, "sparsity", sesoi="1 point"),
            exceeds(runs, "loss", sesoi=0.1, unit="train_seed"),
        )


# --- 1.12: how many more


def test_trap_a112_what_is_promised_for_equivalence_has_its_power():
    """A spread of .1 and a SESOI of .01: 857 units, where 619 had a power of .6."""
    n = needed(0.1, 0.01, 1000, 0.05, both_sides=True)
    g = rng(112, 1)
    inside = []
    for _ in range(400):
        x = g.normal(0, 0.1, n)
        up, down = (
            stats.ttest_1samp(x, d, alternative=a).pvalue
            for d, a in ((0.01, "less"), (-0.01, "greater"))
        )
        inside.append(max(up, down) <= 0.05)

    assert n == 857
    assert np.mean(inside) >= 0.8 - 2 * np.sqrt(0.8 * 0.2 / 400)


def test_trap_a112_nothing_is_promised_where_the_null_is_not_0():
    frame = table(np.ones(300), np.ones(300), "loss")
    frame = frame[frame["level"] == 0].assign(loss=rng(112, 2).normal(0.8, 0.1, 300))

    assert exceeds(frame, "loss", sesoi=0.8)[""].needed is None


def test_trap_a112_the_rule_that_is_foreseen_is_the_one_that_is_used():
    """Drops compared are not -1, 0 or 1: the mean rule, which needs 200 images."""

    class Sweep:
        design = Design("d", 100, "", 1, 0, (0.0, 0.1), (("a", 1), ("b", 1)))
        alpha = 0.05
        said: list = []  # noqa: RUF012
        say = said.append

    Question("exceeds", "correct", "1 point", between=("a", "b")).foresee(Sweep())

    assert "the mean rule needs 200 images, the design has 100" in Sweep.said[0]


# --- 1.13: too strict


def test_trap_a113_an_interval_outside_is_refuted():
    """The estimate lies 1.65 standard errors beyond the SESOI: twice the smaller p left it open."""
    x = rng(113, 1).normal(0, 0.1, 1000)
    x = (x - x.mean()) / x.std(ddof=1) * 0.1 + 0.0155
    found = equivalent(table(np.zeros(1000), x, "sparsity"), "sparsity", sesoi="1 point")[""]

    assert found.low > 0.01
    assert found.outcome == "refuted"


# --- 1.5: falls in percent


def test_trap_a15_a_large_fall_is_written_as_a_factor_and_printed_as_both():
    """A factor of .63 was "falls by more than 50 %"."""
    noisy = 0.63 * np.exp(rng(15, 1).normal(0, 0.02, 1000))
    frame = table(np.ones(1000), noisy, "l2_h")
    with pytest.raises(BadInput, match=r"a factor below 1/1.5, which is -33.3 %; write .*'/1.5'"):
        falls(frame, "l2_h", sesoi="50 %")
    with pytest.raises(BadInput, match="write the factor"):
        rises(frame, "l2_h", sesoi="-20 %")
    found = falls(frame, "l2_h", sesoi="/1.5")[""]

    assert found.outcome == "supported"
    assert found.question == "l2_h falls by more than a factor of 1.5 (-33.3 %)"
    assert falls(frame, "l2_h", sesoi="/2").overall == "refuted"


# --- 1.6: alpha is visible


def test_trap_a16_the_cover_of_an_interval_is_that_of_its_alpha():
    from probes.judge.wording import cover
    from probes.tell import closing

    assert [cover(a) for a in (0.05, 0.2, 0.025, 0.05 / 8)] == ["90 %", "60 %", "95 %", "98.75 %"]
    assert "the 60 % interval lies beyond the SESOI" in closing.words([0.2])


# --- 1.7: several claims of a family


@pytest.mark.parametrize("first", [0, 1])
def test_trap_a17_holm_over_claims_holds_each_to_its_own_alpha(first):
    """p = .03 at alpha .025 was supported after a claim at .05, and not in the other order."""
    claims = [(0.05, 0.001), (0.025, 0.03)]
    claims = [claims[first], claims[1 - first]]
    found = outcomes([p for _, p in claims], [1 - p for _, p in claims], [a for a, _ in claims])

    assert dict(zip([a for a, _ in claims], found, strict=True)) == {
        0.05: "supported",
        0.025: "inconclusive",
    }


def test_trap_a17_a_claim_that_is_decided_as_a_whole_says_that_no_block_is_by_itself():
    g = rng(17, 1)
    frames = []
    for site in "abcdefghi":
        x = g.normal(0, 0.1, 300)
        x = (x - x.mean()) / x.std(ddof=1) * 0.1 + 0.01 + 1.8 * 0.1 / np.sqrt(300)
        frames.append(table(np.zeros(300), x, "sparsity", site=site))
    found = rises(tables.join(frames), "sparsity", by="site", sesoi="1 point")

    assert found.overall == "supported"
    assert found.counts() == "0 supported, 0 refuted, 9 open; each at alpha"


# --- 1.14: the share of images beyond a SESOI that is not reached from 0


def test_trap_a114_images_beyond_a_negative_sesoi_are_those_on_the_claimed_side():
    found = rises(
        table(np.ones(1000), np.exp(rng(114, 1).normal(0, 0.001, 1000)), "l2_h"),
        "l2_h",
        sesoi="-1 %",
    )[""]

    assert found.outcome == "supported"
    assert found.notes["share_beyond"] == 1.0


# --- 1.2: what has not been seen


def test_trap_a12_draws_that_were_not_seen_are_told_as_a_bound():
    """One draw in a hundred that loses everything is in one sample of 20 in five: no number of
    alphas is the worst.
    """
    g = rng(12, 1)
    y = -0.02 + 0.001 * g.standard_normal((300, 20)) + 0.001 * g.standard_normal(20)
    found = exceeds(crossed_table(y), "seen_share", sesoi="-5 points", unit="image and draw")
    told = disclosures(list(found))

    assert found.overall == "supported"
    assert "Not seen: 20 draws do not exclude that up to 14 % of all draws behave otherwise" in told
    assert share_unseen(60) == pytest.approx(0.0487, abs=1e-4)


def crossed_table(y):
    """Differences of images x draws as a table of shares at one level."""
    images, draws = np.indices(y.shape)
    base = {"net": "n", "weights": "w", "dataset": "d", "train_seed": 0, "level": 0.1, "site": "a"}
    frame = pd.DataFrame(
        base | {"image": images.ravel(), "draw": draws.ravel(), "seen_share": y.ravel()}
    )
    frame.attrs["draws"] = "common"
    return frame


tables.declare_metric("seen_share", "share", "a made share")


def test_trap_a12_how_many_images_would_undo_a_verdict_is_told():
    """.5 images of 200 are expected at +1: one of them is mostly not seen, and undoes it."""
    g = rng(12, 2)
    x = 0.01 * g.standard_normal(200)
    found = rises(table(0.5 + 0 * x, 0.5 + x, "seen_share"), "seen_share", sesoi="0.25 points")
    told = disclosures(list(found))

    assert (found.overall, found[""].notes["fragility"]) == ("refuted", 1)
    assert any("1 further image at the bound would undo" in t for t in told)
    assert any("rests on no image being extreme" in t for t in told)

    firm = rises(
        table(
            0 * np.arange(2000.0), np.full(2000, 0.2) + np.tile([0.01, -0.01], 1000), "seen_share"
        ),
        "seen_share",
        sesoi="1 point",
    )
    assert firm[""].notes["fragility"] > 100
    assert not any("no image being extreme" in t for t in disclosures(list(firm)))


def test_trap_a12_the_two_way_rule_is_corrected_for_skewed_draws():
    """Log-normal draws: Student's t falsely refuted 2.6 times as often as it may."""
    g = rng(12, 3)
    draws = 0.04 * (g.lognormal(0, 1, (2000, 1, 20)) - np.exp(0.5)) / 2.161
    y = draws + 0.05 * g.standard_normal((2000, 200, 1)) + 0.1 * g.standard_normal((2000, 200, 20))
    refuted = crossed.two_way(y, 0.0).p_down <= 0.05

    assert refuted.mean() < 1.9 * 0.05


def test_trap_a12_the_typical_draw_is_an_estimand_of_its_own():
    g = rng(12, 4)
    y = -0.02 + 0.01 * g.standard_normal((300, 1)) + 0.005 * g.standard_normal((1, 25))
    y[:, :1] -= 0.9
    ask = {"sesoi": "-5 points", "unit": "image and draw"}
    mean, typical = (
        exceeds(crossed_table(y), "seen_share", typical=one, **ask) for one in (None, "draw")
    )

    assert mean.overall != "supported"
    assert typical.overall == "supported"
    assert "the typical draw" in typical.scope
    with pytest.raises(BadInput, match="typical"):
        exceeds(crossed_table(y), "seen_share", typical="image", **ask)


# --- 1.4: a trend over images has a smallest effect of interest


def test_trap_a14_a_balance_of_a_few_images_is_no_trend():
    """110 of 10,000 images fall and 70 rise: "accuracy decreases with the level" was supported."""
    moves = np.zeros(10_000)
    moves[:110], moves[110:180] = -1, 1
    rows = [
        pd.DataFrame(
            {"net": "n", "weights": "w", "dataset": "d", "train_seed": 0, "site": "a"}
            | {"image": np.arange(10_000), "draw": 0, "level": lv, "thing": lv * moves}
        )
        for lv in (0.0, 0.1, 0.2)
    ]
    found = decreases(pd.concat(rows, ignore_index=True), "thing")

    assert found.overall == "refuted"
    assert found[""].effect().startswith("-0.4 points")
    assert "outnumber those that go the other way by more than 5 points" in found[""].question
    assert decreases(pd.concat(rows), "thing", least="0.1 points").overall == "supported"
    with pytest.raises(BadInput, match="least"):
        decreases(pd.concat(rows), "thing", least="0 points")


# --- 1.8: pooling by the side of the SESOI


def test_trap_a18_costs_at_most_is_decided_where_nothing_costs_anything():
    """No cost in any of four networks: by the sign of their estimates .13 of such pools decided."""
    g = rng(18, 1)
    supported = []
    for _ in range(60):
        rows = [
            {"net": net, "weights": arm, "dataset": "d", "train_seed": seed, "image": 0, "draw": 0}
            | {"level": 0.0, "site": "a", "thing": 0.2 * g.standard_normal()}
            for net in "abcd"
            for seed in range(8)
            for arm in ("with", "without")
        ]
        found = exceeds(
            pd.DataFrame(rows),
            "thing",
            between=("with", "without"),
            arm="weights",
            unit="train_seed",
            pool="net",
            sesoi=-0.5,
        )
        supported.append(found.overall == "supported")

    assert np.mean(supported) > 0.95


# --- 1.9: a bound, and the typical group


def test_trap_a19_a_lower_bound_is_supported_or_open_and_never_refuted():
    rows = {"net": "n", "weights": "w", "dataset": "d", "train_seed": 0, "image": np.arange(20)}
    low = 0.7 + 0.01 * rng(19, 1).standard_normal(20)
    frame = pd.DataFrame(rows | {"draw": 0, "level": 0.0, "site": "a", "index_rho": low})
    frame.attrs["groups"] = True
    ask = {"unit": "image group"}

    assert exceeds(frame, "index_rho", sesoi=0.6, **ask).overall == "supported"
    found = exceeds(frame, "index_rho", sesoi=0.8, **ask)
    assert found.overall == "inconclusive"
    assert "is a lower bound, which decides on one side only" in str(found)
    assert equivalent(frame, "index_rho", sesoi=0.8, **ask).overall == "inconclusive"
    assert equivalent(frame, "index_rho", sesoi=0.6, **ask).overall == "refuted"


@pytest.mark.parametrize("law", ["one group in twenty far out", "log-normal"])
def test_trap_a19_the_typical_group_holds_its_level(law):
    """Student's t over groups reached 7.5 alpha, 3.5 for log-normal groups."""
    g = rng(19, 2)
    x = (
        np.where(g.uniform(size=(4000, 20)) < 0.05, 3.0, 0.0)
        + np.where(g.uniform(size=(4000, 20)) < 0.05, 1.0, 0.1) * g.standard_normal((4000, 20))
        if law != "log-normal"
        else g.lognormal(0, 1, (4000, 20))
    )
    truth = np.median((x[:, :10] + x[:, 10:]) / 2)
    found = ranking.typical_group(x, truth)

    assert max((found.p_up <= 0.05).mean(), (found.p_down <= 0.05).mean()) < 1.45 * 0.05


# --- 1.11: what independence is assumed, of which classes, from which initial weights


def test_trap_a111_near_duplicates_are_averaged_by_their_cluster():
    """Fives of near-duplicates: 4.5 alpha as images, alpha as clusters."""
    g = rng(111, 1)
    wrong = {None: 0, "scene": 0}
    for _ in range(200):
        x = np.repeat(g.standard_normal(60), 5) + 0.3 * g.standard_normal(300)
        frame = table(0 * x, x, "thing")
        frame["scene"] = frame["image"] // 5
        frame.attrs["clusters"] = ["scene"]
        for cluster in wrong:
            v = exceeds(frame, "thing", sesoi=0.0001, cluster=cluster)[""]
            wrong[cluster] += min(v.low > 0.0001, 1) + (v.high < 0.0001)
            assert (v.n, v.unit) == ((300, "image") if cluster is None else (60, "scene"))

    assert wrong[None] > 200 * 0.25
    assert wrong["scene"] < 200 * 0.1 + 3 * np.sqrt(200 * 0.1 * 0.9)


def test_trap_a111_a_verdict_says_what_was_taken_as_independent_and_of_which_classes():
    x = rng(111, 2).standard_normal(300)
    frame = table(0 * x, x, "thing")
    frame["scene"] = frame["image"] // 5
    frame.attrs |= {"clusters": ["scene"], "classes": 10}

    assert exceeds(frame, "thing", sesoi=0.1).scope == (
        "over 300 images of d of these 10 classes, taken as independent, for this checkpoint and"
        " 1 noise draw per image"
    )
    assert "over 60 values of 'scene' (300 images of d" in (
        exceeds(frame, "thing", sesoi=0.1, cluster="scene").scope
    )
    with pytest.raises(UnknownName, match="patient"):
        exceeds(frame, "thing", sesoi=0.1, cluster="patient")


def test_trap_a111_runs_from_one_initialisation_are_said_to_be():
    frame = pd.concat(
        [table([0.0], [float(seed)], "thing", train_seed=seed) for seed in range(6)],
        ignore_index=True,
    )
    frame.attrs["initial"] = 1

    found = exceeds(frame, "thing", sesoi=0.1, unit="train_seed")
    assert "over 6 training seeds from this initialisation, on these" in found.scope
