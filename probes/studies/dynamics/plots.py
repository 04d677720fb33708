"""Figures of how blocks respond to noise: levels, stages, and the published way step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probes import table as tables
from probes.judge.wording import counted
from probes.tell.plots import (
    AXIS,
    COLOURS,
    MARKERS,
    STYLES,
    UNIT,
    below,
    capital,
    display,
    new_axes,
    spelt,
    titled,
)

ACROSS = "noise σ (pixel range 0 to 1)"


def levels(
    summary: pd.DataFrame,
    metric: str,
    sites: Sequence[str],
    ax: Axes | None = None,
    across: str = ACROSS,
) -> Axes:
    """A metric against the level, which ``across`` names, a line per block: mean over images, band:
    its 90 % interval.
    """
    ax = new_axes(ax)
    for i, site in enumerate(sites):
        rows = summary[(summary["metric"] == metric) & (summary["site"] == site)].sort_values(
            "level"
        )
        colour = COLOURS[i % len(COLOURS)]
        ax.fill_between(rows["level"], rows["low"], rows["high"], color=colour, alpha=0.2, lw=0)
        ax.plot(
            rows["level"],
            rows["mean"],
            STYLES[i % 4],
            marker=MARKERS[i % 8],
            color=colour,
            ms=5,
            label=site,
        )
    ax.set_xlabel(across)
    ax.legend(title="block", fontsize=8)
    ax.grid(alpha=0.3)
    return ax


def stages(summary: pd.DataFrame, metric: str, title: str, across: str = ACROSS) -> Figure:
    """The study's figure of one metric: a panel per stage of the network (2 x 2 for four), a line
    per block.
    """
    sites = list(dict.fromkeys(summary["site"]))
    by_stage: dict[str, list[str]] = {}
    for site in sites:
        by_stage.setdefault(site.rpartition(".")[0] or site, []).append(site)
    columns = 2 if len(by_stage) == 4 else min(3, len(by_stage))
    rows = math.ceil(len(by_stage) / columns)
    figure = Figure((3.6 * columns + 0.6, 3.1 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, (stage, members) in zip(panels, by_stage.items(), strict=False):
        levels(summary, metric, members, ax, across)
        ax.set_title(stage, fontsize=10)
    for ax in panels[len(by_stage) :]:
        ax.remove()
    label = tables.label_of(metric)
    figure.supylabel(label)
    ends = summary[summary["metric"] == metric].sort_values("level").groupby("site")["mean"]
    rise = int((ends.last() > ends.first()).sum())
    found = f"{capital(label)} of {title}: higher at the highest level than at 0 in {rise} of"
    return titled(
        figure,
        f"{found} {counted(len(sites), 'block')}",
        "mean over images; band: its 90 % interval",
    )


def steps(chosen: pd.DataFrame, metric: str, title: str) -> Figure:
    """One metric by block at the highest level, and by level in the first and last block: a line
    per step.
    """
    kind = tables.kind_of(metric)
    sites = list(dict.fromkeys(chosen["site"]))
    top = chosen["level"].max()
    figure = Figure((11.5, 3.9), layout="constrained")
    depth, first, last = figure.subplots(1, 3, width_ratios=[1.5, 1, 1])
    for i, (step, part) in enumerate(chosen.groupby("step", sort=False)):
        look: dict[str, Any] = {
            "color": COLOURS[i],
            "marker": MARKERS[i],
            "ls": STYLES[i % 4],
            "label": step,
            "ms": 5,
        }
        at = part[part["level"] == top].set_index("site")["change"].reindex(sites)
        depth.plot(range(len(sites)), display(at, kind), **look)
        for ax, site in ((first, sites[0]), (last, sites[-1])):
            line = part[part["site"] == site].sort_values("level")
            ax.plot([0, *line["level"]], [0, *display(line["change"], kind)], **look)
            ax.set_title(f"{site}, by level")
            ax.set_xlabel("noise σ")
    depth.set_xticks(range(len(sites)), sites, rotation=45, fontsize=8)
    depth.set_title(f"σ = {top:g}, by block", fontsize=9)
    depth.set_ylabel(f"{tables.label_of(metric)}: {AXIS[kind]}", fontsize=9)
    for ax in (depth, first, last):
        ax.axhline(0, color="black", lw=0.8)
        ax.grid(alpha=0.3)
    at = chosen[chosen["level"] == top].set_index(["step", "site"])["change"].unstack("step")
    shown = at.apply(lambda one: display(one, kind))
    ways = list(dict.fromkeys(chosen["step"]))
    site = str((shown[ways[0]] - shown[ways[-1]]).abs().idxmax())
    label = tables.label_of(metric)
    said = " and ".join(
        f"{_signed(shown.loc[site, way])}{UNIT[kind]} {way}" for way in ways[:: len(ways) - 1 or 1]
    )
    return below(figure, depth, f"{capital(label)} of {title} in {site}: {said}", 6)


def _signed(value: float) -> str:
    return spelt(value, f"+.{1 if abs(value) >= 0.1 else 3}f")
