"""Figures of guided masks: accuracy against the share of masked units, excesses, masks that respond
alike, the last layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from probes.studies.sensitivity.plots import COLOURS, MARKERS
from probes.tell import plots

CLEAN = "clean"


def curves(table: pd.DataFrame, beside: pd.DataFrame, title: str) -> Any:
    """Accuracy under each augmentation against the share of masked units: guided masks, and the
    bands of random and matched masks.

    There is a row of panels per factor alpha and a column per augmentation. At the left no unit is
    masked.
    """
    own = beside[(beside["input"] == beside["variable"]) & (beside["module"] == "")]
    inputs, alphas, measures = (
        list(dict.fromkeys(own[name])) for name in ("input", "alpha", "measure")
    )
    none = table[table["kind"] == "none"].set_index("input")["top1"] * 100
    figure, axes = plots.panels(
        len(alphas) * len(inputs),
        (min(2.3, 12.2 / len(inputs)) * len(inputs) + 0.8, 2.4 * len(alphas) + 1.3),
        len(inputs),
    )
    for ax, (alpha, name) in zip(axes, [(a, n) for a in alphas for n in inputs], strict=True):
        mine = own[(own["alpha"] == alpha) & (own["input"] == name)].sort_values(
            "q", ascending=False
        )
        first = mine[mine["measure"] == measures[0]]
        x = [0, *(100 * (1 - first["q"]))]
        for column, i, label in (
            ("random", -2, "random, 90 % of draws"),
            ("matched", -3, "random of the same magnitudes"),
        ):
            low, high = (
                (f"{column}_low", f"{column}_high") if column == "matched" else ("low", "high")
            )
            if first[column].notna().all():
                below, above = ([none[name], *(100 * first[c])] for c in (low, high))
                ax.fill_between(x, below, above, color=COLOURS[i], alpha=0.3, lw=0, label=label)
        for i, measure in enumerate(measures):
            one = mine[mine["measure"] == measure]
            ax.plot(
                x,
                [none[name], *(100 * one["top1"])],
                color=COLOURS[i],
                ls=plots.STYLES[i],
                marker=MARKERS[i],
                ms=4,
                label=f"guided by the {measure} index",
            )
        ax.set_ylim(0, 102)
        ax.grid(alpha=0.3)
        if alpha == alphas[0]:
            ax.set_title(name, fontsize=9)
        if name == inputs[0]:
            ax.set_ylabel(f"units times {alpha:g}\naccuracy (%)", fontsize=8)
        if alpha == alphas[-1]:
            ax.set_xlabel("masked units (%)", fontsize=8)
    at = own[(own["alpha"] == alphas[0]) & (own["q"] == own["q"].max())]
    at = at[at["measure"] == measures[0]]
    cost = int((at["top1"] < at["low"]).sum())
    found = (
        f"{title}: of {len(at)} augmentations {cost} lose more to the mask guided by the"
        f" {measures[0]} index than to 95 % of the random ones"
    )
    how = f"counted at {100 * (1 - float(at['q'].iloc[0])):.0f} % of the units times {alphas[0]:g}"
    return plots.below(figure, axes[0], found, across=3, caption=how)


def excesses(beside: pd.DataFrame, at: tuple[float, float], title: str) -> Any:
    """The excess of guided masks: guided minus random accuracy, a row per input, a column per
    variable of a mask, a panel per measure.

    A frame surrounds values outside 90 % of the random masks.
    """
    chosen = beside[(beside["q"] == at[0]) & (beside["alpha"] == at[1]) & (beside["module"] == "")]
    outside = (chosen["top1"] < chosen["low"]) | (chosen["top1"] > chosen["high"])
    figure, axes = _heat(
        chosen.assign(shown=100 * chosen["excess"], framed=outside),
        None,
        1.0,
        "guided by the {} index",
        ".0f",
        7,
        "points, guided less random",
    )
    axes[0].set_ylabel("input")
    most = chosen.iloc[int(chosen["excess"].abs().to_numpy().argmax())]
    return plots.titled(
        figure,
        f"{title}: {int(outside.sum())} of {len(chosen)} guided masks are outside 90 % of the"
        f" random ones, by up to {100 * most['excess']:+.0f} points ({most['variable']})",
        "across: the variable that guides the mask; framed: outside 90 % of the random masks",
    )


def _heat(
    table: pd.DataFrame,
    inputs: Sequence[str] | None,
    least: float,
    heading: str,
    digits: str,
    small: int,
    label: str,
) -> tuple[Any, list[Any]]:
    """A panel per measure: ``shown`` by input and variable with its numbers. Cells where ``framed``
    is true have a frame.

    The inputs are in the order of the table unless one is given. The scale reaches at least
    ``least``; numbers have at most five characters.
    """
    measures, variables = (list(dict.fromkeys(table[name])) for name in ("measure", "variable"))
    inputs = list(dict.fromkeys(table["input"])) if inputs is None else inputs
    size = (len(measures) * (0.36 * len(variables) + 0.4) + 2.0, 0.36 * len(inputs) + 2.4)
    figure, axes = plots.panels(len(measures), size, len(measures))
    reach = max(float(table["shown"].abs().max()), least)
    shown: Any = None
    for ax, measure in zip(axes, measures, strict=True):
        mine = table[table["measure"] == measure].set_index(["input", "variable"])
        values, framed = (
            mine[c].unstack().reindex(index=inputs, columns=variables).to_numpy()
            for c in ("shown", "framed")
        )
        shown = ax.imshow(values, cmap=plots.TWO_SIDED, vmin=-reach, vmax=reach, aspect="auto")
        plots.numbers(ax, values, digits, reach, small)
        for (y, x), v in np.ndenumerate(values):
            if np.isfinite(v) and framed[y, x]:
                plots.frame(ax, x, y)
        ax.set_xticks(range(len(variables)), variables, rotation=45, ha="right", fontsize=7)
        ax.set_yticks(range(len(inputs)), inputs if ax is axes[0] else [], fontsize=7)
        ax.set_title(heading.format(measure), fontsize=9)
    figure.colorbar(shown, ax=axes, shrink=0.8, label=label)
    return figure, axes


def alike(table: pd.DataFrame, title: str) -> Any:
    """Whether a mask does the same on an input and on clean images: as published, and without the
    effect of its size.
    """
    measures, inputs = (list(dict.fromkeys(table[name])) for name in ("measure", "input"))
    figure, axes = plots.panels(
        len(measures), (3.2 * len(measures) + 1.0, 0.3 * len(inputs) + 2.0), len(measures)
    )
    for ax, measure in zip(axes, measures, strict=True):
        mine = table[table["measure"] == measure].set_index("input").reindex(inputs)
        y = np.arange(len(inputs))
        sure = mine["p"] <= 0.05
        ax.plot(
            mine["published"],
            y,
            "s",
            color=COLOURS[1],
            ms=6,
            label="as published: accuracies over settings",
        )
        ax.plot(
            mine["rho"],
            y,
            "o",
            color=COLOURS[0],
            ms=7,
            mfc="white",
            label="less random masks of the same size",
        )
        ax.plot(
            mine["rho"][sure], y[sure], "o", color=COLOURS[0], ms=7, label="the same, p at most .05"
        )
        ax.set_xlim(-1.08, 1.08)
        ax.set_xticks([-1, -0.5, 0, 0.5, 1])
        ax.axvline(0, color="black", lw=0.8)
        ax.set_yticks(y, inputs if ax is axes[0] else [], fontsize=8)
        ax.invert_yaxis()
        ax.grid(alpha=0.3)
        ax.set_xlabel("Spearman's rho with clean images", fontsize=8)
        ax.set_title(f"guided by the {measure} index", fontsize=9)
    sure = int((table["p"] <= 0.05).sum())
    finding = f"{title}: {sure} of {len(table)} masks do on an input what they do on clean images"
    return plots.below(
        figure,
        axes[0],
        finding,
        across=3,
        caption="without the effect of size, p at most .05",
    )


def alone(beside: pd.DataFrame, title: str) -> Any:
    """One module masked at a time: guided minus random accuracy under a mask's own augmentation, by
    depth.
    """
    mine = beside[beside["module"] != ""]
    modules, inputs = (list(dict.fromkeys(mine[name])) for name in ("module", "input"))
    figure, (ax,) = plots.panels(1, (6.4, 4.2))
    for i, name in enumerate(inputs):
        one = mine[mine["input"] == name].set_index("module").reindex(modules)
        x = np.arange(len(modules)) + 0.06 * (i - (len(inputs) - 1) / 2)
        errors = 100 * np.abs(np.stack([one["high"] - one["random"], one["random"] - one["low"]]))
        ax.errorbar(
            x,
            100 * one["excess"],
            errors,
            color=COLOURS[i % len(COLOURS)],
            ls=plots.STYLES[i % 4],
            marker=MARKERS[i % len(MARKERS)],
            ms=5,
            capsize=2,
            lw=1.2,
            label=name,
        )
    ax.axhline(0, color="black", lw=0.8)
    ax.set_xticks(range(len(modules)), modules, fontsize=8)
    ax.set_ylabel("points, guided less random")
    ax.set_xlabel("the module that is masked, from input to output")
    ax.grid(alpha=0.3)
    least = mine.iloc[int(mine["excess"].to_numpy().argmin())]
    found = (
        f"{title}: guidance costs most in {least['module']}, {100 * least['excess']:+.0f} points"
        f" under {least['input']}"
    )
    return plots.below(figure, ax, found, across=4, caption="bars: 90 % of random masks")


def decay(table: pd.DataFrame, title: str) -> Any:
    """The largest indices of the last layer's units, sorted: a panel per measure, a line per
    variable.
    """
    measures = list(dict.fromkeys(table["measure"]))
    figure, axes = plots.panels(len(measures), (3.4 * len(measures) + 0.4, 3.8), len(measures))
    for ax, measure in zip(axes, measures, strict=True):
        mine = table[table["measure"] == measure]
        for i, variable in enumerate(dict.fromkeys(mine["variable"])):
            one = mine[mine["variable"] == variable]
            ax.plot(
                one["rank"],
                one["index"],
                color=COLOURS[i % len(COLOURS)],
                ls=plots.STYLES[i % 4],
                marker=MARKERS[i % len(MARKERS)],
                ms=3,
                label=variable,
            )
        ax.set_title(f"{measure} index", fontsize=9)
        ax.set_xlabel("class, from the most sensitive down")
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("index of the class's unit")
    first = table[(table["measure"] == measures[0]) & (table["rank"] == table["rank"].min())]
    most = first.iloc[int(first["index"].to_numpy().argmax())]
    found = (
        f"{title}: {most['variable']} moves the last layer most, {measures[0]} index"
        f" {most['index']:.2f}"
    )
    return plots.below(figure, axes[0], found, across=5)


def classes(table: pd.DataFrame, inputs: Sequence[str], title: str) -> Any:
    """How often the most sensitive classes are predicted, minus chance: a row per input, a column
    per variable, a panel per measure.
    """
    plain = table[table["mask"] == "none"]
    plain = plain.assign(shown=plain["value"] - plain["chance"], framed=plain["p"] <= 0.05)
    figure, _ = _heat(
        plain, inputs, 1e-3, "{} index", "+.2f", 6, f"{plain['what'].iloc[0]}, less chance"
    )
    framed = int(plain["framed"].sum())
    return plots.titled(
        figure,
        f"{title}: of {len(plain)} lists of sensitive classes {framed} are named more or less than"
        " by chance",
        "across: the variable of the index; down: the input; framed: p at most .05",
    )
