"""Figures of the segments of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from probes.studies.sensitivity.plots import COLOURS, MARKERS
from probes.tell import plots

WHOLE = "whole network"


SURE = 0.05


def shares(table: pd.DataFrame, title: str) -> Any:
    """The mean total index of each augmentation over a segment's units: a panel per segment, a line
    per input.
    """
    segments, variables = (list(dict.fromkeys(table[name])) for name in ("segment", "variable"))
    figure, axes = plots.panels(len(segments), (3.1 * len(segments) + 0.6, 3.9), len(segments))
    for ax, segment in zip(axes, segments, strict=True):
        mine = table[table["segment"] == segment]
        for i, fed in enumerate(dict.fromkeys(mine["fed"])):
            one = mine[mine["fed"] == fed].set_index("variable").reindex(variables)
            ax.plot(  # augmentations have no order: no line joins them
                np.arange(len(variables)) + 0.13 * (i - 1.5),
                one["index"],
                ls="none",
                marker=MARKERS[i],
                color=COLOURS[i],
                ms=6,
                label=fed if fed == WHOLE else f"alone, fed with {fed}",
            )
        ax.set_xticks(range(len(variables)), variables, rotation=45, ha="right", fontsize=8)
        ax.set_title(segment, fontsize=9)
        ax.set_ylim(bottom=0)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("mean total index of units")
    whole = table["fed"] == WHOLE
    inside, cut = (table[rows].groupby("variable")["index"].mean() for rows in (whole, ~whole))
    found = (
        f"Segments of {title}: {inside.idxmax()} moves them most inside the network"
        f" ({inside.max():.2f}), {cut.idxmax()} cut out ({cut.max():.2f})"
    )
    return plots.below(
        figure, axes[0], found, across=4, caption="the title has means over segments and inputs"
    )


def likeness(table: pd.DataFrame, title: str) -> Any:
    """How similar the maps of a channel are, cut out and inside, channel by channel. A mark is
    filled if few other channels are as similar.
    """
    segments, feds = (list(dict.fromkeys(table[name])) for name in ("segment", "fed"))
    figure, (ax,) = plots.panels(1, (1.6 * len(segments) * len(feds) ** 0.6 + 2.4, 3.8))
    at = 0
    ticks = []
    for segment in segments:
        for i, fed in enumerate(feds):
            mine = table[(table["segment"] == segment) & (table["fed"] == fed)]
            offsets = np.linspace(-0.3, 0.3, len(mine)) if len(mine) > 1 else np.zeros(len(mine))
            sure = (mine["p"] <= SURE).to_numpy()
            for which, face in ((~sure, "white"), (sure, COLOURS[i])):
                ax.plot(
                    at + offsets[which],
                    mine["rho"].to_numpy()[which],
                    MARKERS[i],
                    ms=4,
                    mec=COLOURS[i],
                    mfc=face,
                    mew=0.7,
                )
            ticks.append((at, f"{segment}\n{fed}"))
            at += 1
    ax.axhline(0, color="black", lw=0.8)
    ax.set_xticks([t for t, _ in ticks], [word for _, word in ticks], fontsize=8)
    ax.set_ylabel("Spearman's rho of maps,\nalone and inside the network", fontsize=8)
    ax.grid(alpha=0.3, axis="y")
    sure = int((table["p"] <= SURE).sum())
    return plots.titled(
        figure,
        f"{title}: {sure:,} of {len(table):,} maps are alike, cut out and inside the network, more"
        f" than {1 - SURE:.0%} of channels are",
        f"a mark per channel and input; filled: at most {SURE:.0%} of channels are as much like it",
    )


def panel(of: Mapping[str, np.ndarray], channel: int, variables: list[str], title: str) -> Any:
    """The maps of one channel: a row per input of the segment, a column per augmentation."""
    n_variables = len(variables)
    figure, axes = plots.panels(
        len(of) * n_variables, (1.35 * n_variables + 1.7, 1.45 * len(of) + 0.9), n_variables
    )
    shown: Any = None
    for row, (fed, maps) in enumerate(of.items()):
        for j, variable in enumerate(variables):
            ax = axes[row * n_variables + j]
            ax.set_facecolor("#bbbbbb")
            shown = ax.imshow(
                maps[j, channel], cmap=plots.FROM_ZERO, vmin=0, vmax=1, interpolation="nearest"
            )
            ax.set_xticks([])
            ax.set_yticks([])
            if row == 0:
                ax.set_title(variable.replace("_", "\n"), fontsize=7)
        axes[row * n_variables].set_ylabel(fed if fed == WHOLE else f"alone, {fed}", fontsize=8)
    figure.colorbar(shown, ax=axes, shrink=0.7, label="total index")
    return plots.titled(figure, title)
