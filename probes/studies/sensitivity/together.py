"""What the maps of indices say together: the augmentation that they identify, and how measures
agree, as tables and figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probes.errors import BadInput
from probes.measure.indices import Replicates
from probes.studies.sensitivity.indexstats import Agreement, Classification, agree, classify_maps
from probes.studies.sensitivity.panels import RATIO, mean_and_std
from probes.studies.sensitivity.plots import MEASURES
from probes.tell import plots
from probes.tell.markdown import grid, slug
from probes.tell.plots import save_small


def maps_of(one: Replicates, shape: Sequence[int]) -> dict[str, np.ndarray]:
    """Every index of a module as maps (groups, channels, H, W), and the ratio of standard deviation
    to mean (1, channels, H, W).
    """
    found = {measure: one.maps(measure, shape) for measure in MEASURES if measure in one.measured}
    return found | {RATIO: mean_and_std(one)[RATIO].reshape(1, *shape)}


def analysed(
    folder: Path, module: str, one: Replicates, shape: Sequence[int], augmentations: Sequence[str]
) -> tuple[list[str], pd.DataFrame, pd.DataFrame]:
    """Text with two figures for a module with maps, and its rows of ``identify.csv`` and
    ``agreement.csv``.

    A module with fewer channels than folds is left out, and the text says so.
    """
    maps, groups = maps_of(one, shape), list(one.groups)
    rows = [groups.index(a) for a in augmentations]
    measures = [m for m in MEASURES if m in maps]
    try:
        predicted = {
            m: classify_maps(maps[m][rows], tuple(augmentations), module, m)
            for m in measures
            if m != "first"
        }
        pairs = {
            (a, b): agree(maps[a], maps[b], module, a, b)
            for i, a in enumerate(measures)
            for b in [*measures[i:], RATIO]
        }
    except BadInput as e:
        return [f"{module} is not analysed: {e}."], pd.DataFrame(), pd.DataFrame()
    file = slug(module)
    save_small(confusions(predicted, module), folder / "identify" / f"{file}.png")
    save_small(correlations(pairs, groups, module), folder / "agreement" / f"{file}.png")
    text = [
        f"![which augmentation a map of {module} is taken for](identify/{file}.png)",
        f"![rank correlations of indices across the channels of {module}](agreement/{file}.png)",
    ]
    identified = pd.DataFrame(
        [
            (
                module,
                m,
                f.accuracy,
                f.chance,
                float(f.null.mean()),
                float(np.quantile(f.null, 0.95)),
                f.p,
                f.channels,
                f.left_out,
            )
            for m, f in predicted.items()
        ],
        columns=[
            "module",
            "measure",
            "accuracy",
            "chance",
            "null_mean",
            "null_q95",
            "p",
            "channels",
            "left_out",
        ],
    )
    agreement = pd.DataFrame(
        [
            (
                module,
                a,
                b,
                v,
                w,
                f.mean[i, j],
                f.std[i, j],
                f.low[i, j],
                f.high[i, j],
                f.pixels,
                f.channels,
            )
            for (a, b), f in pairs.items()
            for i, v in enumerate(groups)
            for j, w in enumerate([""] if b == RATIO else groups)
        ],
        columns=[
            "module",
            "first",
            "second",
            "group",
            "other",
            "rho",
            "spread",
            "low",
            "high",
            "pixels",
            "channels",
        ],
    )
    return text, identified, agreement


def confusions(predicted: Mapping[str, Classification], module: str) -> Any:
    """A confusion matrix per measure. Rows are the true augmentations of maps, columns the
    predicted ones.
    """
    figure, axes = plots.panels(len(predicted), (4.2 * len(predicted) + 0.8, 5.0), len(predicted))
    for ax, (measure, one) in zip(axes, predicted.items(), strict=True):
        shown = ax.imshow(one.confusion, cmap=plots.FROM_ZERO, vmin=0, vmax=1)
        plots.numbers(ax, one.confusion, ".2f", 1, 7)
        ax.set_xticks(range(len(one.variables)), one.variables, rotation=45, ha="right", fontsize=7)
        ax.set_yticks(range(len(one.variables)), one.variables, fontsize=7)
        ax.set_title(
            f"{MEASURES[measure][0]}: {one.accuracy:.0%} right, chance {one.chance:.0%}, p"
            f" {one.p:.3g}",
            fontsize=8,
        )
    figure.colorbar(shown, ax=axes, shrink=0.8, label="share of the maps of a row")
    measure, best = max(predicted.items(), key=lambda one: one[1].accuracy)
    return plots.titled(
        figure,
        f"{module}: {best.accuracy:.0%} of maps of the {MEASURES[measure][0]} name their"
        f" augmentation, chance {best.chance:.0%}",
        "down: the augmentation of a channel's map; across: what the map is taken for",
    )


def correlations(
    pairs: Mapping[tuple[str, str], Agreement], groups: Sequence[str], module: str
) -> Any:
    """Rank correlations across channels, averaged over pixels: a panel per pair of measures, and
    one for the ratio of standard deviation to mean.
    """
    own = {pair: one for pair, one in pairs.items() if pair[1] != RATIO}
    across = 3
    figure, axes = plots.panels(
        len(own) + 1, (4.0 * across + 0.8, 3.9 * -(-(len(own) + 1) // across)), across
    )
    ratios = {a: one for (a, b), one in pairs.items() if b == RATIO}
    panels = [(f"{a} and {b}", one.mean, groups) for (a, b), one in own.items()]
    panels.append((RATIO, np.concatenate([one.mean for one in ratios.values()], 1), list(ratios)))
    for ax, (title, values, columns) in zip(axes, panels, strict=True):
        shown = ax.imshow(values, cmap=plots.TWO_SIDED, vmin=-1, vmax=1)
        plots.numbers(ax, values, ".1f", 1, 6)
        ax.set_xticks(range(len(columns)), columns, rotation=50, ha="right", fontsize=7)
        ax.set_yticks(range(len(groups)), groups, fontsize=7)
        ax.set_title(title, fontsize=9)
    figure.colorbar(shown, ax=axes, shrink=0.5, label="Spearman's rho across channels")
    alike = {
        pair: float(np.diag(one.mean).mean()) for pair, one in own.items() if len(set(pair)) > 1
    }
    told = ", ".join(f"rho {rho:.1f} of {a} and {b}" for (a, b), rho in alike.items())
    return plots.titled(
        figure,
        f"{module}: do channels that one index ranks high rank high by another? {told}",
        "the title has means over groups, the diagonals of the panels",
    )


def words(identified: pd.DataFrame) -> list[str]:
    """The table of how well maps are classified, and how to read it."""
    rows = [
        [
            r.module,
            r.measure,
            f"{r.accuracy:.0%}",
            f"{r.chance:.0%}",
            f"{r.null_q95:.0%}",
            f"{r.p:.3g}",
            r.channels,
        ]
        for r in identified.itertuples()
    ]
    return [
        (
            "**Do maps identify their augmentation?** Linear discriminant analysis of the maps of"
            " channels, five folds of whole channels five times; the null permutes the labels"
            " within channels, 199 times:"
        ),
        grid(["module", "index", "right", "chance", "95 % of the null", "p", "channels"], rows),
    ]
