"""Figures of sensitivity: shares by depth, maps, histograms, pairs of groups, single channels,
contrasts, contact sheets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from probes.measure.contrast import Contrast
from probes.measure.indices import Replicates
from probes.tell import plots

MEASURES = {
    "first": ("first-order Sobol index", "alone"),
    "total": ("total Sobol index", "alone and with others"),
    "shapley": ("Shapley effect", "shared out: the groups sum to 1"),
}


COLOURS = (*plots.COLOURS, "#8B4513", "#888888", "#4B0082")
"""The number of groups of the study's second set: seven augmentations, order, class, partition,
image.
"""
MARKERS = plots.MARKERS + "<>h"


def _line(i: int) -> dict[str, Any]:
    return {"color": COLOURS[i % len(COLOURS)], "ls": plots.STYLES[i % 4]}


def by_depth(table: pd.DataFrame, title: str) -> Any:
    """The mean share of each group over the units of a module, by depth: a panel per index."""
    measures = [m for m in MEASURES if (table["measure"] == m).any()]
    modules = list(dict.fromkeys(table["module"]))
    figure, axes = plots.panels(len(measures), (4.4 * len(measures), 4.4), len(measures))
    for ax, measure in zip(axes, measures, strict=True):
        mine = table[table["measure"] == measure]
        for i, group in enumerate(dict.fromkeys(table["group"])):
            rows = mine[mine["group"] == group].set_index("module").reindex(modules)
            ax.plot(
                range(len(modules)),
                rows["mean"],
                marker=MARKERS[i % len(MARKERS)],
                ms=5,
                label=group,
                **_line(i),
            )
        ax.set_xticks(range(len(modules)), modules, rotation=40, ha="right", fontsize=8)
        ax.set_title(MEASURES[measure][0], fontsize=9)
        ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("mean share of the variance over units")
    leading = table[table["measure"] == ("total" if "total" in measures else measures[0])]
    most = leading.iloc[int(leading["mean"].to_numpy().argmax())]
    found = (
        f"{plots.capital(most['group'])} moves the units of {title} most:"
        f" {MEASURES[most['measure']][0]} {most['mean']:.2f} in {most['module']}"
    )
    return plots.below(figure, axes[0], found, across=min(table["group"].nunique(), 6))


def maps(one: Replicates, shape: Sequence[int], title: str) -> Any:
    """Where in a module: indices averaged over channels, a row per index and a column per group. A
    linear layer is a strip.
    """
    measures = [m for m in MEASURES if m in one.measured]
    n_groups = len(one.groups)
    figure, axes = plots.panels(
        len(measures) * n_groups, (1.35 * n_groups + 1.6, 1.5 * len(measures) + 0.9), n_groups
    )
    shown = None
    for row, measure in enumerate(measures):
        value = one.estimate(measure).value.numpy().reshape(n_groups, *shape)
        for j, group in enumerate(one.groups):
            ax = axes[row * n_groups + j]
            shown = _place(ax, value[j], plots.FROM_ZERO)
            if row == 0:
                ax.set_title(group.replace("_", "\n"), fontsize=7)
            if j == 0:
                ax.set_ylabel(measure, fontsize=8)
    if shown is not None:
        figure.colorbar(shown, ax=axes, shrink=0.7, label="share of variance")
    how = "mean over channels, place by place" if len(shape) == 3 else "units sorted by share"
    return plots.titled(
        figure,
        f"{title} ({' x '.join(map(str, shape))}): {_leading(one)}",
        f"{how}; dead units left out: {int(one.dead.sum()):,}",
    )


def _leading(one: Replicates) -> str:
    """The group with the largest mean index over the units that are not dead, in words."""
    measure = "total" if "total" in one.measured else next(m for m in MEASURES if m in one.measured)
    alive = ~one.dead.numpy()
    means = one.estimate(measure).value.numpy()[:, alive].mean(1) if alive.any() else np.array([])
    if not means.size:
        return "no unit varies"
    return f"{one.groups[means.argmax()]} moves it most, {MEASURES[measure][0]} {means.max():.2f}"


def histograms(one: Replicates, title: str) -> Any:
    """The distribution of an index over the units of a module: a panel per index, a line per
    group.
    """
    alive = ~one.dead.numpy()
    measures = [m for m in MEASURES if m in one.measured]
    figure, axes = plots.panels(len(measures), (4.0 * len(measures), 3.4), len(measures))
    edges = np.linspace(-0.1, 1.1, 49)
    for ax, measure in zip(axes, measures, strict=True):
        value = one.estimate(measure).value.numpy()
        for j, group in enumerate(one.groups):
            shares = np.histogram(value[j][alive].clip(-0.1, 1.1), edges)[0] / max(alive.sum(), 1)
            ax.stairs(shares, edges, lw=1.3, label=group, **_line(j))
        if alive.any():
            ax.set_yscale("log")
        ax.set_xlabel(MEASURES[measure][0])
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("share of units (log)")
    return plots.below(
        figure,
        axes[0],
        f"{title}, {int(alive.sum()):,} units: {_leading(one)}",
        min(len(one.groups), 6),
        caption="what lies beyond an end is in the last bin",
    )


def pairs(one: Replicates, title: str) -> Any:
    """Second-order indices, the mean over units for each pair of groups, as a triangle with its
    numbers.
    """
    value = one.estimate("second").value.numpy()[:, ~one.dead.numpy()].mean(1)
    n_groups = len(one.groups)
    table = np.full((n_groups, n_groups), np.nan)
    table[np.triu_indices(n_groups, 1)] = value
    figure, (ax,) = plots.panels(1, (0.62 * n_groups + 2.2, 0.5 * n_groups + 1.6))
    reach = max(float(np.abs(value).max()), 0.01)
    shown = ax.imshow(table, cmap=plots.TWO_SIDED, vmin=-reach, vmax=reach)
    plots.numbers(ax, table, ".3f", reach, 7)
    ax.set_xticks(range(n_groups), one.groups, rotation=40, ha="right", fontsize=8)
    ax.set_yticks(range(n_groups), one.groups, fontsize=8)
    figure.colorbar(shown, ax=ax, shrink=0.8, label="second-order index, mean over units")
    y, x = plots.largest(table)
    pair = f"{one.groups[y]} and {one.groups[x]}"
    return plots.titled(figure, f"{title}: {pair} act together most, {table[y, x]:.3f}")


def contrasts(table: pd.DataFrame, title: str) -> Any:
    """Contrast by depth: how consistently units move, and the share of units found to move, a line
    per augmentation.
    """
    modules = list(dict.fromkeys(table["module"]))
    shown = {
        "rank_biserial": (
            "mean size of the rank-biserial\n(1: every image moves the unit the same way)"
        ),
        "discovered": "share of units found to move\n(false discovery rate .05)",
    }
    figure, axes = plots.panels(2, (9.4, 4.4), 2)
    for ax, (column, label) in zip(axes, shown.items(), strict=True):
        for i, group in enumerate(dict.fromkeys(table["augmentation"])):
            rows = table[table["augmentation"] == group].set_index("module").reindex(modules)
            ax.plot(
                range(len(modules)),
                rows[column],
                marker=MARKERS[i % len(MARKERS)],
                ms=5,
                label=group,
                **_line(i),
            )
        ax.set_xticks(range(len(modules)), modules, rotation=40, ha="right", fontsize=8)
        ax.set_ylim(0, 1.02)
        ax.set_title(label, fontsize=9)
        ax.grid(alpha=0.3)
    most = table.iloc[int(np.nanargmax(table["rank_biserial"].to_numpy(float)))]
    return plots.below(
        figure,
        axes[0],
        f"Alone on {title}, {most['augmentation']} moves units most alike: rank-biserial"
        f" {most['rank_biserial']:.2f} in {most['module']}",
        across=min(table["augmentation"].nunique(), 6),
    )


def contrast_maps(found: Mapping[str, Contrast], shape: Sequence[int], title: str) -> Any:
    """Where an augmentation alone moves the units of a module: the size of the rank-biserial,
    averaged over channels.
    """
    figure, axes = plots.panels(len(found), (1.35 * len(found) + 1.6, 2.3), len(found))
    shown: Any = None
    for ax, (name, one) in zip(axes, found.items(), strict=True):
        shown = _place(ax, np.abs(one.rank_biserial).reshape(*shape), "Purples")
        ax.set_title(name.replace("_", "\n"), fontsize=7)
    figure.colorbar(shown, ax=axes, shrink=0.8, label="|rank-biserial|")
    sizes = {name: float(np.nanmean(np.abs(one.rank_biserial))) for name, one in found.items()}
    most = max(sizes, key=lambda name: sizes[name])
    return plots.titled(
        figure,
        f"{title} ({' x '.join(map(str, shape))}): alone, {most} moves units most alike,"
        f" |rank-biserial| {sizes[most]:.2f}",
    )


def _place(ax: Any, value: np.ndarray, colours: str) -> Any:
    """A module's values as a picture: the mean over channels place by place; of a linear layer its
    units, sorted, as a strip.
    """
    maps = value.ndim == 3
    if maps:
        counts = np.isfinite(value).sum(0)
        value = np.where(counts > 0, np.nansum(value, 0) / np.maximum(counts, 1), np.nan)
    else:
        value = np.sort(value.ravel())[::-1][None]
    ax.set_facecolor("#bbbbbb")
    ax.set_xticks([])
    ax.set_yticks([])
    return ax.imshow(
        value,
        cmap=colours,
        vmin=0,
        vmax=1,
        interpolation="nearest",
        aspect="equal" if maps else "auto",
    )
