"""Pictures of single channels, and sheets of augmented images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from probes.measure.contrast import Contrast
from probes.measure.indices import Replicates
from probes.studies.sensitivity.plots import MEASURES
from probes.tell import plots

RATIO = "spread / |mean|"


def mean_and_std(one: Replicates) -> dict[str, np.ndarray]:
    """The mean of every unit, its standard deviation and their ratio (NaN if the mean is 0), by
    their labels in figures.
    """
    mean, variance = (one.estimate(n).value.numpy() for n in ("mean", "variance"))
    std = np.sqrt(variance)
    ratio = np.divide(std, np.abs(mean), out=np.full_like(mean, np.nan), where=np.abs(mean) > 0)
    return {"mean": mean, "spread": std, RATIO: ratio}


def strongest(one: Replicates, shape: Sequence[int], groups: Sequence[str]) -> int:
    """The channel with the largest mean total index for one of ``groups``."""
    rows = [one.groups.index(g) for g in groups]
    value = one.estimate("total").value.numpy()[rows].reshape(len(rows), shape[0], -1)
    return int(np.nan_to_num(value).mean(2).max(0).argmax())


def panel(
    one: Replicates, shape: Sequence[int], channel: int, title: str, moved: Mapping[str, Contrast]
) -> Any:
    """All values of one channel: a row per index and a column per group, then contrasts, then mean,
    standard deviation and their ratio.
    """
    measures = [m for m in MEASURES if m in one.measured]
    columns = max(len(one.groups), 3)
    down = len(measures) + bool(moved) + 1
    figure, axes = plots.panels(down * columns, (1.3 * columns + 1.4, 1.45 * down + 0.7), columns)
    grid = np.array(axes).reshape(down, columns)
    shown: Any = None
    for row, measure in enumerate(measures):
        value = one.estimate(measure).value.numpy().reshape(len(one.groups), *shape)[:, channel]
        for j, group in enumerate(one.groups):
            shown = _cell(grid[row, j], value[j], plots.FROM_ZERO, 0, 1)
            grid[0, j].set_title(group.replace("_", "\n"), fontsize=7)
        grid[row, 0].set_ylabel(measure, fontsize=8)
    figure.colorbar(
        shown, ax=grid[: len(measures)].ravel().tolist(), shrink=0.6, label="share of variance"
    )
    if moved:
        row = len(measures)
        for j, group in enumerate(one.groups):
            if group in moved:
                signed = _cell(
                    grid[row, j],
                    moved[group].rank_biserial.reshape(*shape)[channel],
                    plots.TWO_SIDED,
                    -1,
                    1,
                )
        figure.colorbar(signed, ax=grid[row].tolist(), shrink=0.9, label="rank-biserial")
        grid[row, 0].set_ylabel("contrast", fontsize=8)
    for ax, (name, units) in zip(grid[-1], mean_and_std(one).items(), strict=False):
        value = units.reshape(*shape)[channel]
        _cell(ax, value, "gray", None, None)
        ax.set_title(
            (
                f"{name}\n{np.nanmin(value):.2g} to {np.nanmax(value):.2g}"
                if np.isfinite(value).any()
                else name
            ),
            fontsize=7,
        )
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
        if not ax.has_data():
            ax.set_axis_off()
    total = one.estimate(measures[-1]).value.numpy().reshape(len(one.groups), *shape)[:, channel]
    means = np.nan_to_num(total.reshape(len(one.groups), -1)).mean(1)
    return plots.titled(
        figure,
        f"{title}, channel {channel} ({shape[1]} x {shape[2]} units): {one.groups[means.argmax()]}"
        f" moves it most, {MEASURES[measures[-1]][0]} {means.max():.2f}",
        "grey: mean, spread and their ratio, each from its smallest to its largest value",
    )


def _cell(ax: Any, value: np.ndarray, colours: str, low: float | None, high: float | None) -> Any:
    ax.set_facecolor("#bbbbbb")
    return ax.imshow(value, cmap=colours, vmin=low, vmax=high, interpolation="nearest")


def sheet(rows: np.ndarray, captions: Sequence[str], title: str) -> Any:
    """A contact sheet: ``rows`` (images, columns, C, H, W) in [0, 1], a caption over each
    column."""
    figure, axes = plots.panels(
        rows.shape[0] * rows.shape[1],
        (1.15 * rows.shape[1], 1.2 * rows.shape[0] + 0.7),
        rows.shape[1],
    )
    for ax, picture in zip(axes, rows.reshape(-1, *rows.shape[2:]), strict=True):
        seen = np.moveaxis(picture, 0, 2)
        ax.imshow(
            seen[..., 0] if seen.shape[2] == 1 else seen,
            cmap="gray",
            vmin=0,
            vmax=1,
            interpolation="nearest",
        )
        ax.set_xticks([])
        ax.set_yticks([])
    for ax, caption in zip(axes, captions, strict=False):
        ax.set_title(caption, fontsize=7)
    return plots.titled(figure, title)
