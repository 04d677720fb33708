"""A table that is narrowed keeps what it was asked under: alpha, looks, design, and the warning
before the work.
"""

import numpy as np
import pytest

from probes.claims import declaring
from probes.claims import finding as claims
from probes.errors import BadInput, UnknownName
from probes.judge import both, decreases, falls, rises
from probes.measure import accuracy, block_metrics
from probes.perturb import gaussian, layer_noise
from probes.run.bench import Bench
from probes.run.settings import Options
from probes.store import Store
from probes.subjects.spec import parse
from probes.tell import asked


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def lab(store, **options):
    said = []
    made = Bench(
        [parse("resnet20@mnist5k")],
        store,
        Options(**{"images": 120, "threads": 1} | options),
        say=said.append,
    )
    return made, said


def declared(**how):
    return declaring.declared(["Noise does it."], {"id": "X"} | how)


def judge(one, found, tmp_path):
    return claims.judge(
        declared(), "resnet20@mnist5k", "t.py::t", found, one, tmp_path, "recorded"
    ).line


@pytest.mark.parametrize(
    "narrow", [lambda t: t.where(site="layer1.0"), lambda t: t.frame[t.frame["site"] == "layer1.0"]]
)
def test_trap_f12_alpha_stays_with_a_table_that_is_narrowed(store, narrow):
    one, _ = lab(store, alpha=0.01)
    sweep = one.sweep(block_metrics, under=gaussian(0, 0.2))

    assert rises(narrow(sweep), "l2_h", sesoi="1 %").alpha == 0.01
    assert rises(narrow(sweep), "l2_h", sesoi="1 %").asked[0].whole() is sweep


def test_trap_f12_the_warning_comes_before_the_work_for_a_part_of_a_table_too(store):
    one, said = lab(store, images=90)
    part = one.sweep(block_metrics, under=gaussian(0, 0.3)).where(site="layer1.0")
    done = []
    part.source.compute = lambda: (
        done.append(list(said)) or pytest.skip("the work is not the point")
    )
    with pytest.raises(pytest.skip.Exception):
        rises(part, "l2_h", sesoi="1 %")

    assert "can not decide: the trimmed mean rule needs 100 images" in done[0][0]


def test_a_part_of_a_table_says_which_it_is(store):
    one, _ = lab(store)
    part = one.sweep(accuracy, under=layer_noise(0, 0.5, layers=(1, 3))).where(layers="3")

    assert (
        falls(part, "correct", sesoi="1 point")[""].question
        == "correct falls by more than 1 point (layers = 3)"
    )
    assert part.design.part == (("layers", ("3",)),)
    assert part.design.json()["part"] == {"layers": ["3"]}
    assert set(part.frame["layers"]) == {"3"}


def test_levels_and_sites_that_are_left_are_those_of_the_design(store):
    one, _ = lab(store)
    part = one.sweep(block_metrics, under=gaussian(0, 0.1, 0.2)).where(
        level=(0, 0.1), site=("layer1.0", "layer1.1")
    )

    assert part.design.levels == (0.0, 0.1)
    assert part.design.sites == 2
    assert sorted(set(part.frame["level"])) == [0.0, 0.1]
    assert list(part.frame["site"].cat.categories) == ["layer1.0", "layer1.1"]


def test_a_column_or_a_value_that_is_not_there_is_named(store):
    sweep = lab(store)[0].sweep(block_metrics, under=gaussian(0, 0.2))
    with pytest.raises(UnknownName, match=r"'sight'.*site"):
        sweep.where(sight="layer1.0").frame  # noqa: B018
    with pytest.raises(UnknownName, match=r"layer1\.9"):
        sweep.where(site="layer1.9").frame  # noqa: B018
    with pytest.raises(BadInput, match="name a key column"):
        sweep.where()


def test_a_table_along_its_layers_keeps_what_it_was_asked_under(store):
    one, _ = lab(store, alpha=0.02)
    table = one.sweep(accuracy, under=layer_noise(0, 0.5, on="layer1.*.bn2", choice="each")).along(
        "layer"
    )
    found = decreases(table, "correct")

    assert found.alpha == 0.02
    assert found.asked[0].design.perturbation.startswith("relative noise")


def test_trap_f11_a_verdict_carries_the_design_of_every_table_that_it_was_asked_of(store, tmp_path):
    """The last table that was asked for was once recorded, so a claim over two sweeps hid a change
    of the first.
    """
    lines = []
    for first in (0.05, 0.25):
        one, _ = lab(store)
        sweeps = [one.sweep(block_metrics, under=gaussian(0, level)) for level in (first, 0.1)]
        lines.append(judge(one, both(*(rises(s, "l2_h", sesoi="1 %") for s in sweeps)), tmp_path))

    assert [[d["levels"] for d in asked.designs_of(line)] for line in lines] == [
        [[0, 0.05], [0, 0.1]],
        [[0, 0.25], [0, 0.1]],
    ]
    assert asked.all_differences(lines[0], asked.designs_of(lines[1])) == [
        "levels [0.0, 0.25] instead of [0.0, 0.05]"
    ]


def test_trap_f11_a_table_that_was_looked_at_afterwards_changes_nothing(store, tmp_path):
    one, _ = lab(store)
    found = rises(one.sweep(block_metrics, under=gaussian(0, 0.2)), "l2_h", sesoi="1 %")
    one.sweep(block_metrics, under=gaussian(0, 0.05)).frame  # noqa: B018
    line = judge(one, found, tmp_path)

    assert line["design"]["levels"] == [0.0, 0.2]


def test_trap_f12_a_bare_table_is_refused_inside_a_claim_with_the_way_out(store, tmp_path):
    one, _ = lab(store)
    frame = one.sweep(block_metrics, under=gaussian(0, 0.2)).frame.copy()
    frame.attrs.clear()
    with pytest.raises(BadInput, match=r"narrow it with table\.where\(layers='3'\)"):
        judge(one, rises(frame, "l2_h", sesoi="1 %"), tmp_path)


def test_levels_in_another_order_are_the_same_levels(store):
    one, _ = lab(store, levels=(0.2, 0.0))
    sweep = one.sweep(block_metrics, under=gaussian(0, 0.2))

    assert list(sweep.altered) == []
    assert list(
        lab(store, levels=(0.0, 0.3))[0].sweep(block_metrics, under=gaussian(0, 0.2)).altered
    ) == ["levels 0 0.3 instead of 0 0.2"]


def test_what_a_table_was_asked_under_is_not_written_with_it(store, tmp_path):
    from probes import table

    one, _ = lab(store)
    frame = one.sweep(block_metrics, under=gaussian(0, 0.2)).frame
    table.write(frame, tmp_path / "t.parquet")

    assert table.ASKED not in table.read(tmp_path / "t.parquet").attrs
    assert table.ASKED in frame.attrs
    np.testing.assert_array_equal(frame["l2_h"], table.read(tmp_path / "t.parquet")["l2_h"])


def test_two_levels_that_differ_in_the_seventh_digit_are_two(store):
    one, _ = lab(store, images=20)
    sweep = one.sweep(accuracy, under=gaussian(0, 0.1, 0.1000001))

    assert set(sweep.where(level=(0, 0.1)).frame["level"]) == {0.0, 0.1}


def test_values_may_come_in_any_container_and_none_is_refused(store):
    sweep = lab(store)[0].sweep(block_metrics, under=gaussian(0, 0.1, 0.2))
    for values in (np.array([0, 0.1]), frozenset({0.0, 0.1}), [0, 0.1], iter((0, 0.1))):
        assert sorted(set(sweep.where(level=values).frame["level"])) == [0.0, 0.1]
    with pytest.raises(BadInput, match="no value is left"):
        sweep.where(site=[])


def test_one_draw_keeps_the_clean_pass_and_says_that_it_is_one(store):
    one, _ = lab(store, images=20)
    part = one.sweep(accuracy, under=gaussian(0, 0.2), draws=3).where(draw=2)

    assert sorted(set(part.frame["level"])) == [0.0, 0.2]
    assert part.design.draws == 1


def test_a_notebook_shows_what_a_table_was_asked_and_its_means_once_it_is_measured(store):
    one, _ = lab(store)
    sweep = one.sweep(block_metrics, under=gaussian(0, 0.2))
    before = sweep._repr_html_()

    assert "120 of mnist5k" in before
    assert f"<td>done to it</td><td>{sweep.design.description}</td>" in before
    assert before.endswith("<p>Not measured yet: it is when it is first looked at (.frame).</p>")
    rows = sweep.summary()
    after = sweep._repr_html_()
    assert after.startswith(before[: before.index("<p>Not measured")])
    assert f"{rows['mean'].iloc[0]:.4g}" in after
    assert f"<p>{len(rows) - 30:,} further rows</p>" in after
