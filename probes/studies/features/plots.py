"""Pictures of feature maps: grids of grey maps, histograms by depth and by layer, a contact sheet.
Each picture states its scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from probes.tell.plots import COLOURS, STYLES, TWO_SIDED, below, panels, titled

PER_GRID = 64  # depths to a picture: 8 x 8


def groups(depths: int) -> list[range]:
    """The depths of a layer, 64 to a picture.

    >>> groups(96)
    [range(0, 64), range(64, 96)]
    """
    return [range(i, min(i + PER_GRID, depths)) for i in range(0, depths, PER_GRID)]


def tiled(maps: np.ndarray, gap: float = np.nan) -> np.ndarray:
    """Maps (depths, H, W) next to each other in a square, at their own resolution, separated by a
    pixel of ``gap``.
    """
    depths, high, wide = maps.shape
    across = math.ceil(math.sqrt(depths))
    down = math.ceil(depths / across)
    out = np.full((down * (high + 1) - 1, across * (wide + 1) - 1), gap, dtype=np.float32)
    for i, one in enumerate(maps):
        y, x = i // across * (high + 1), i % across * (wide + 1)
        out[y : y + high, x : x + wide] = one
    return out


def grid(
    maps: np.ndarray, title: str, first: int = 0, scale: str = "shared", signed: bool = False
) -> Any:
    """A figure of maps (depths, H, W), black to white. ``signed`` maps go from blue to red around
    0.

    ``scale="shared"`` uses one scale for all maps, with its bar. ``"per map"`` scales each map from
    its own smallest to its largest value. The picture says which.
    """
    figure, (ax,) = panels(1, (5.6, 5.8))
    if scale == "per map":
        low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
        maps = (maps - low) / np.where(high > low, high - low, 1)
    if signed:
        reach = float(np.abs(maps).max()) or 1.0
        shown = ax.imshow(
            tiled(maps), cmap=TWO_SIDED, vmin=-reach, vmax=reach, interpolation="nearest"
        )
    else:
        shown = ax.imshow(tiled(maps), cmap="gray", interpolation="nearest")
    # no map has this grey, so that gaps and empty places can be seen
    ax.set_facecolor("#f3d9b1")
    ax.set_xticks([])
    ax.set_yticks([])
    depths, high, wide = maps.shape
    ax.set_title(
        f"{title}\ndepths {first} to {first + depths - 1}, row by row; {high} x {wide} each",
        fontsize=9,
    )
    if scale == "shared":
        figure.colorbar(
            shown,
            ax=ax,
            shrink=0.7,
            label="difference to clean" if signed else "activation (one scale for all maps)",
        )
    else:
        ax.set_xlabel(
            "each map from its own smallest (black) to its largest value (white)", fontsize=8
        )
    return figure


FLOOR = 1e-4  # the smallest share that a histogram shows


def by_depth(
    histograms: Mapping[str, np.ndarray], edges: np.ndarray, title: str, first: int = 0
) -> Any:
    """A small histogram per depth, the levels overlaid: ``histograms`` maps a level's name to
    (depths, bins) shares.

    The panels are cells of one axis (64 axes would take seconds): across a cell the activation, up
    it the share, on a log scale.
    """
    depths = len(next(iter(histograms.values())))
    across = math.ceil(math.sqrt(depths))
    down = math.ceil(depths / across)
    figure, (ax,) = panels(1, (7.4, 7.4 * down / across + 0.9))
    inside = 0.06 + 0.88 * (edges - edges[0]) / (edges[-1] - edges[0])
    for i, (name, shares) in enumerate(histograms.items()):
        height = 0.9 * np.clip(1 - np.log10(np.maximum(shares, FLOOR)) / np.log10(FLOOR), 0, 1)
        x, y = [], []
        for depth in range(depths):
            column, row = depth % across, down - 1 - depth // across
            steps = np.concatenate([[0], np.repeat(height[depth], 2), [0]])
            x += [*(column + np.repeat(inside, 2)), np.nan]
            y += [*(row + steps), np.nan]
        ax.plot(x, y, STYLES[i % 4], color=COLOURS[i % 8], lw=0.8, label=name)
    for depth in range(depths):
        ax.text(
            depth % across + 0.93,
            down - 1 - depth // across + 0.93,
            str(first + depth),
            ha="right",
            va="top",
            fontsize=6,
        )
    ax.hlines(range(down + 1), 0, across, color="#999999", lw=0.6)
    ax.vlines(range(across + 1), 0, down, color="#999999", lw=0.6)
    ax.set_xlim(0, across)
    ax.set_ylim(0, down)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel(
        f"each panel is a depth: across, activation from {edges[0]:.2g} to {edges[-1]:.2g}; up,"
        f" share of positions from {FLOOR:g} to 1 (log)",
        fontsize=8,
    )
    names = list(histograms)
    moved = _moved(histograms[names[0]], histograms[names[-1]])
    depth = int(moved.argmax())
    return below(
        figure,
        ax,
        f"{title}: {names[-1]} changes depth {first + depth} most, {moved[depth]:.0%} of it",
        len(histograms),
        caption=MOVED,
    )


MOVED = "changed: the share of activations that are in another bin than without noise"


def _moved(clean: np.ndarray, noisy: np.ndarray) -> np.ndarray:
    """The total variation distance of two histograms, over the last axis."""
    return np.asarray(np.abs(clean - noisy).sum(-1) / 2)


def by_layer(
    histograms: Mapping[str, Mapping[str, np.ndarray]], edges: Mapping[str, np.ndarray], title: str
) -> Any:
    """A histogram per layer, the levels overlaid: layer -> level's name -> (bins,) shares."""
    figure, axes = panels(
        len(histograms), (3.6 * min(2, len(histograms)), 3.0 * math.ceil(len(histograms) / 2)), 2
    )
    for ax, (layer, levels) in zip(axes, histograms.items(), strict=False):
        for i, (name, shares) in enumerate(levels.items()):
            ax.stairs(
                shares, edges[layer], color=COLOURS[i % 8], ls=STYLES[i % 4], lw=1.2, label=name
            )
        ax.set_yscale("log")
        ax.set_title(layer, fontsize=9)
        ax.set_xlabel("activation", fontsize=8)
        ax.set_ylabel("share of positions (log)", fontsize=8)
        ax.grid(alpha=0.3)
    moved = {}
    for layer, levels in histograms.items():
        names = list(levels)
        moved[layer] = float(_moved(levels[names[0]], levels[names[-1]]))
    most = max(moved, key=lambda layer: moved[layer])
    return below(
        figure,
        axes[0],
        f"{title}: {names[-1]} changes {most} most, {moved[most]:.0%} of its activations",
        len(names),
        caption=MOVED,
    )


def contact(
    images: Mapping[str, np.ndarray],
    mean_maps: Mapping[str, Mapping[str, np.ndarray]],
    captions: Mapping[str, str],
    title: str,
) -> Any:
    """One image at all levels: a row per level, the noisy image and the mean map of each layer (one
    scale per layer).
    """
    layers = list(next(iter(mean_maps.values())))
    across = 1 + len(layers)
    figure, axes = panels(
        across * len(images), (1.6 * across + 0.4, 1.7 * len(images) + 0.6), across
    )
    reach = {
        layer: (
            min(m[layer].min() for m in mean_maps.values()),
            max(m[layer].max() for m in mean_maps.values()),
        )
        for layer in layers
    }
    for row, (name, image) in enumerate(images.items()):
        ax = axes[row * across]
        picture = np.clip(np.moveaxis(image, 0, 2), 0, 1)
        ax.imshow(
            picture[..., 0] if picture.shape[2] == 1 else picture,
            cmap="gray",
            vmin=0,
            vmax=1,
            interpolation="nearest",
        )
        ax.set_ylabel(name, fontsize=8)
        ax.set_xlabel(captions[name], fontsize=7)
        for column, layer in enumerate(layers, 1):
            ax = axes[row * across + column]
            ax.imshow(
                mean_maps[name][layer],
                cmap="gray",
                vmin=reach[layer][0],
                vmax=reach[layer][1],
                interpolation="nearest",
            )
            if row == 0:
                ax.set_title(f"{layer}\n{reach[layer][0]:.2g} to {reach[layer][1]:.2g}", fontsize=8)
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
    axes[0].set_title("image", fontsize=8)
    answers = {name: caption.split(" (")[0] for name, caption in captions.items()}
    first = answers[next(iter(answers))]
    other = [f"{said} under {name}" for name, said in answers.items() if said != first]
    told = f"named {first}{', ' + ', '.join(other) if other else ' at every level'}"
    return titled(figure, f"{title}: {told}", "maps: mean over depths, one grey scale per layer")


def moved(table: Any, title: str) -> Any:
    """How far the maps move: distance, cosine and CKA against the noise level, a line per layer
    with its 90 % interval.
    """
    wanted = [
        (name, label)
        for name, label in (
            ("distance", "||f - f0|| / ||f0||"),
            ("cosine", "cosine with the clean maps"),
            ("cka", "unbiased linear CKA"),
        )
        if table[name].notna().any()
    ]
    figure, axes = panels(len(wanted), (3.6 * len(wanted), 3.4), len(wanted))
    for ax, (name, label) in zip(axes, wanted, strict=True):
        for i, (layer, rows) in enumerate(table.groupby("layer", sort=False, observed=True)):
            if f"{name}_low" in rows:
                ax.fill_between(
                    rows["level"],
                    rows[f"{name}_low"],
                    rows[f"{name}_high"],
                    color=COLOURS[i % 8],
                    alpha=0.2,
                    lw=0,
                )
            ax.plot(
                rows["level"],
                rows[name],
                STYLES[i % 4],
                marker="osD^vP*X"[i % 8],
                color=COLOURS[i % 8],
                ms=4,
                label=str(layer),
            )
        ax.set_xlabel("noise level")
        ax.set_title(label)
        ax.grid(alpha=0.3)
    top = table[table["level"] == table["level"].max()].set_index("layer")[wanted[0][0]]
    found = (
        f"{top.idxmax()} moves farthest, {top.max():.2f} at noise level {table['level'].max():g}"
    )
    return below(
        figure, axes[0], f"{title}: {found}", caption="band: 90 % interval of the mean over images"
    )


def save_image(image: np.ndarray, path: Path) -> None:
    """Write an image (C, H, W) as PNG, clamped to [0, 1]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.round(np.clip(np.moveaxis(image, 0, 2), 0, 1) * 255).astype(np.uint8)
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path, optimize=True)


def names_of(levels: Sequence[float]) -> dict[float, str]:
    """The name of a level in files and legends: ``original``, ``noised_0.2``.

    >>> names_of([0.0, 0.2])
    {0.0: 'original', 0.2: 'noised_0.2'}
    """
    return {level: f"noised_{level:g}" if level else "original" for level in levels}
