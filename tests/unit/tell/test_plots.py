"""Plots take a table or verdicts and an optional axis, and give the axis back; equal inputs give
equal bytes.
"""

import dataclasses
import importlib.util
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from probes.judge import below, equivalent, exceeds, falls, rises
from probes.judge.lazytable import summarise
from probes.store import sha256
from probes.studies.dynamics.plots import stages
from probes.tell import plots, runplots

spec = importlib.util.spec_from_file_location(
    "made_report", Path(__file__).with_name("test_report.py")
)
made_report = importlib.util.module_from_spec(spec)
sys.modules["made_report"] = made_report
spec.loader.exec_module(made_report)


@pytest.fixture(scope="module")
def verdicts():
    return list(rises(made_report.made(), "l2_h", by="site", sesoi="1 %"))


def test_an_axis_that_is_given_is_drawn_on(verdicts):
    ax = plots.new_axes(None)

    assert plots.forest(verdicts, ax) is ax
    assert plots.heat(verdicts, plots.new_axes(None), "alpha").get_xlabel() == "alpha"


def test_a_forest_shows_every_block_and_the_sesoi(verdicts):
    ax = plots.forest(verdicts)

    assert [t.get_text() for t in ax.get_yticklabels()] == ["layer1.0", "layer2.0"]
    assert any(np.isclose(line.get_xdata()[0], 1.0) for line in ax.lines)


def test_a_heat_map_prints_the_effect_of_every_level(verdicts):
    ax = plots.heat(verdicts)

    assert len(ax.texts) == 4
    assert ax.texts[1].get_text() == f"{plots.display(verdicts[0].estimate, 'ratio'):+.1f}"


def test_four_stages_are_two_by_two():
    summary = summarise(made_report.made())
    more = [
        summary.assign(
            site=summary["site"]
            .astype(str)
            .str.replace(r"layer(\d)", lambda m, k=k: f"layer{int(m[1]) + k}", regex=True)
        )
        for k in (0, 2)
    ]
    figure = stages(__import__("pandas").concat(more), "l2_h", "t")

    assert [ax.get_title() for ax in figure.axes] == ["layer1", "layer2", "layer3", "layer4"]
    assert figure.axes[0].get_gridspec().ncols == 2


def test_equal_figures_are_equal_bytes(verdicts, tmp_path):
    for name in ("a.png", "b.png"):
        plots.save(plots.verdict_map(verdicts, "t"), tmp_path / name)

    assert sha256(tmp_path / "a.png") == sha256(tmp_path / "b.png")


def test_runs_and_depth_are_drawn_for_training_seeds():
    import pandas as pd

    from probes import table

    t = made_report.made()
    runs = [
        t.assign(net=net, train_seed=s, l2_h=t["l2_h"] * np.exp(t["level"] * (s + k) / 50))
        for k, net in enumerate(("a", "b"))
        for s in range(5)
    ]
    frame = table.join([r.astype({"net": str, "site": str}) for r in runs])
    found = exceeds(frame, "l2_h", between=("b", "a"), unit="train_seed", sesoi="1 %")
    assert isinstance(frame, pd.DataFrame)

    assert len(runplots.runs(found[""]).lines) >= 4
    assert [
        t.get_text() for t in runplots.by_depth(frame, "l2_h", "ratio").get_legend().get_texts()
    ] == [
        "a (5 runs)",
        "b (5 runs)",
    ]


def test_colours_are_told_apart_in_grey_by_marker_and_style():
    assert len({marker for _, marker, _ in plots.OUTCOME.values()}) == 3
    assert len({(plots.STYLES[i % 4], plots.MARKERS[i % 8]) for i in range(8)}) == 8


def test_an_unbounded_interval_can_be_drawn(verdicts):
    wild = dataclasses.replace(verdicts[0], low=-np.inf, high=np.inf, wide=(-np.inf, np.inf))

    assert plots.forest([wild, verdicts[1]]).get_xlim()[1] < 100


def claimed(ax):
    """The shaded side of a figure: where it begins and ends."""
    (patch,) = [p for p in ax.patches if p.get_gid() == "claimed"]
    box = patch.get_extents().transformed(ax.transData.inverted())
    return box.x0, box.x1


@pytest.mark.parametrize(
    ("ask", "sesoi", "side"),
    [
        (rises, "1 %", "right"),
        (falls, "1 %", "left"),
        (exceeds, "1 %", "right"),
        (exceeds, "-1 %", "right"),  # not reversed: "exceeds minus 1 %" was shaded on the left
        (exceeds, "0 %", "right"),
        (below, "1 %", "left"),
        (below, "-1 %", "left"),
        (below, "0 %", "left"),
        (falls, "/1.9", "left"),
        (equivalent, "1 %", "between"),
    ],
)
def test_the_shaded_side_is_the_claimed_one(ask, sesoi, side):
    found = list(ask(made_report.made(), "l2_h", by="site", sesoi=sesoi))
    begin, end = claimed(plots.forest(found))
    at = plots.display(found[0].sesoi, "ratio")
    shown = {"right": begin, "left": end}

    if side == "between":
        assert (begin, end) == pytest.approx(
            sorted(plots.display([-found[0].sesoi, found[0].sesoi], "ratio"))
        )
    else:
        assert shown[side] == pytest.approx(at)
        assert (end if side == "right" else begin) == pytest.approx(
            plots.forest(found).get_xlim()[side == "right"]
        )


@pytest.mark.parametrize(
    ("ask", "sesoi", "supported"), [(exceeds, "-1 %", "layer1.0"), (below, "-1 %", "layer2.0")]
)
def test_a_supported_interval_lies_in_the_shade(ask, sesoi, supported):
    found = ask(made_report.made(), "l2_h", by="site", sesoi=sesoi)
    low, high = plots.display([found[supported].low, found[supported].high], "ratio")
    begin, end = claimed(plots.forest(list(found)))

    assert found[supported].outcome == "supported"
    assert begin <= low <= high <= end


def test_figures_name_what_was_varied(verdicts):
    assert plots.heat(verdicts, varied="alpha").get_xlabel() == "alpha"
    assert "from strength 0 to 0.2" in plots.forest(
        verdicts, varied="strength"
    ).get_title().replace("\n", " ")
    assert "noise" not in plots.forest(verdicts, varied="strength").get_title()


def test_a_level_that_is_a_fraction_is_told_in_few_digits(verdicts):
    one = dataclasses.replace(verdicts[0], top=8 / 255)

    assert one.asked("budget").endswith("from budget 0 to 0.0314")
    assert dataclasses.replace(one, top=10000.0).asked("n").endswith("to 10000")


def test_a_heat_map_says_where_the_largest_effect_is(verdicts):
    ax = plots.heat(verdicts, varied="alpha")

    assert ax.get_title().startswith("L2 norm of h(x) moves most in layer")
    assert ax.get_title().endswith(" at alpha 0.2")
    pair = dataclasses.replace(verdicts[0], between=("b", "a"))
    assert plots.heat([pair]).get_title().startswith("L2 norm of h(x), b minus a, moves most")


def test_titles_of_panels_do_not_meet():
    import dataclasses

    long = "change of correct, resnet34 minus vgg19_bn_small, exceeds minus 1 point (layers = 2)"
    parts = [
        dataclasses.replace(v, question=long)
        for v in rises(made_report.made(), "l2_h", by="site", sesoi="1 %")
    ]
    joint = [dataclasses.replace(v, parts=(v, v, v)) for v in parts]
    figure = plots.verdict_map(
        joint, "A claim on a pair with a long name + another long name: supported, 10,000 images"
    )
    figure.draw_without_rendering()
    boxes = [ax.title.get_window_extent() for ax in figure.axes if ax.get_title()]
    page = figure.bbox

    assert all(a.x1 <= b.x0 for a, b in itertools.pairwise(boxes))
    assert all(
        page.x0 <= box.x0 and box.x1 <= page.x1
        for box in [*boxes, figure._suptitle.get_window_extent()]
    )


def test_what_the_marks_mean_lies_on_the_page():
    items = [
        dataclasses.replace(v, obstacle="too few")
        for v in rises(made_report.made(), "l2_h", by="site", sesoi="1 %")
    ]
    for parts in (1, 2):
        figure = plots.verdict_map(
            [dataclasses.replace(v, parts=(v,) * parts) for v in items], "A claim"
        )
        figure.draw_without_rendering()
        box, page = figure._supxlabel.get_window_extent(), figure.bbox

        assert "can't decide" in figure._supxlabel.get_text()
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1


def test_pictures_name_the_level_by_what_was_varied():
    """Rows of flipped digits were once called "σ = 0" and "σ = 1"."""
    examples = np.zeros((2, 3, 1, 4, 4), np.uint8)
    told = {
        varied: [
            ax.get_ylabel() for ax in plots.pictures(examples, (0, 0.5), "t", varied).axes[::3]
        ]
        for varied in ("noise σ", "side")
    }

    assert told == {"noise σ": ["σ = 0", "σ = 0.5"], "side": ["side = 0", "side = 0.5"]}


def test_a_figure_of_few_colours_looks_as_it_was_drawn(verdicts, tmp_path):
    figure = plots.verdict_map(verdicts, "t")
    plots.save(figure, tmp_path / "small.png")
    figure.savefig(tmp_path / "full.png", dpi=110)
    small, full = (
        np.asarray(Image.open(tmp_path / name).convert("RGB")).astype(int)
        for name in ("small.png", "full.png")
    )
    sizes = [(tmp_path / name).stat().st_size for name in ("small.png", "full.png")]

    assert np.abs(small - full).mean() < 0.2
    assert sizes[0] < 0.5 * sizes[1]


@pytest.mark.parametrize(
    ("question", "kind", "says"),
    [
        ("correct decreases with the level: runs, rho beyond minus 0.5", "plain", "Spearman's rho"),
        ("correct increases with the level: images that do", "share", "less the others (points)"),
        ("correct falls by more than 5 points", "hit", "accuracy: change (points)"),
    ],
)
def test_the_axis_of_a_trend_is_no_change(verdicts, question, kind, says):
    one = dataclasses.replace(
        next(iter(verdicts)).leaves[0], question=question, kind=kind, metric="correct", top=None
    )

    assert says in plots.forest([one], inches=20).get_xlabel()
