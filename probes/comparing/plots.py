"""Figures of a comparison: differences by condition, where the networks part, flipped images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from probes import table as tables
from probes.tell import plots

LOOK = {
    "worse": ("#D55E00", "v"),
    "open": ("#777777", "o"),
    "not worse": ("#009E73", "s"),
    "better": ("#0072B2", "^"),
}
"""The colour and the marker of each answer."""


def differences(rows: pd.DataFrame, margin: float, title: str, cover: str) -> Any:
    """The difference under each condition with its interval, the margin on both sides, and the
    answer; ``rows`` are those of one metric, ``margin`` in working units.
    """
    metric = str(rows["metric"].iloc[0])
    kind = tables.kind_of(metric)
    figure, (ax,) = plots.panels(1, (7.6, 0.34 * len(rows) + 2.0))
    for y, row in enumerate(rows.itertuples()):
        colour, marker = LOOK[str(row.answer)]
        low, mid, high = plots.display([row.low, row.difference, row.high], kind)
        wide = plots.display([row.low_wide, row.high_wide], kind)
        ax.plot(wide, [y, y], color=colour, lw=1)
        ax.plot([low, high], [y, y], color=colour, lw=3.5, solid_capstyle="butt")
        ax.plot(mid, y, marker, color=colour, ms=7, mec="white", mew=0.7)
    edge = float(plots.display(margin, kind))
    ax.axvline(0, color="black", lw=0.8)
    for at in {-edge, edge} - {0.0}:
        ax.axvline(at, color="black", lw=1, ls="--")
    ax.set_yticks(range(len(rows)), list(rows["condition"]))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    right = ax.secondary_yaxis("right")
    right.set_yticks(range(len(rows)), list(rows["answer"]))
    right.tick_params(length=0)
    for tick, answer in zip(right.get_yticklabels(), rows["answer"], strict=True):
        tick.set_color(LOOK[answer][0])
        tick.set_fontweight("bold")
    unit = {"hit": "points", "share": "points"}.get(kind, "")
    ax.set_xlabel(
        f"{tables.label_of(metric)}: difference{f' ({unit})' if unit else ''}, right of 0 the new"
        f" network is better\nbars: {cover} intervals" + ("; dashed: the margin" if margin else ""),
        fontsize=8,
    )
    ax.grid(alpha=0.3, axis="x")
    counts = rows["answer"].value_counts(sort=False)
    told = ", ".join(f"{n} {answer}" for answer, n in counts.items())
    return plots.titled(figure, f"{title}: {told}")


def profile(found: pd.DataFrame, title: str) -> Any:
    """Where the networks part, by layer: distance of features, CKA, and the ratio of the norms of
    h. Bands are quartiles over images; what is not known of any layer has no panel.
    """
    kinds = [
        ("distance", "distance of features\n(relative to the old one's norm)", None),
        ("cka", "linear CKA\n(1: alike up to rotation and scale)", 1.0),
        ("norm", "norm of h\n(new / old)", 1.0),
    ]
    kinds = [one for one in kinds if found[one[0]].notna().any()]
    wide = max(3.3, 0.34 * len(found) + 1)
    figure, axes = plots.panels(len(kinds), (wide * len(kinds), 3.9), len(kinds))
    x = np.arange(len(found))
    for i, (ax, (name, label, alike)) in enumerate(zip(axes, kinds, strict=True)):
        colour = plots.COLOURS[i]
        if f"{name}_low" in found:
            ax.fill_between(
                x, found[f"{name}_low"], found[f"{name}_high"], color=colour, alpha=0.2, lw=0
            )
        ax.plot(x, found[name], plots.STYLES[0], marker=plots.MARKERS[i], color=colour, ms=4)
        if alike is not None:
            ax.axhline(alike, color="black", lw=0.8, ls="--")
        if name == "distance":
            ax.set_ylim(bottom=0)
        ax.set_title(label, fontsize=9)
        ax.set_xticks(x, list(found["layer"]), rotation=90, fontsize=7)
        ax.grid(alpha=0.3)
    return plots.titled(figure, title, "layer, from input to output; bands: quartiles over images")


def flipped(images: np.ndarray, told: pd.DataFrame, title: str) -> Any:
    """Flipped images, a row per condition: the label, what the old network says and what the new
    one says. Lost ones are framed in orange with ✗, won ones in blue with ✓.
    """
    names = list(dict.fromkeys(told["condition"]))
    across = int(told.groupby("condition").size().max())
    figure, axes = plots.panels(
        len(names) * across, (1.15 * across + 0.5, 1.62 * len(names) + 0.7), across
    )
    for ax in axes:
        ax.set_axis_off()
    for y, name in enumerate(names):
        for x, (place, row) in enumerate(told[told["condition"] == name].iterrows()):
            ax, image = axes[y * across + x], np.moveaxis(images[int(str(place))], 0, -1)
            ax.set_axis_on()
            grey = image.shape[-1] == 1
            ax.imshow(image[..., 0] if grey else image, cmap="gray", vmin=0, vmax=255)
            colour, sign = ("#D55E00", "✗ lost") if row["lost"] else ("#0072B2", "✓ won")
            for spine in ax.spines.values():
                spine.set(color=colour, linewidth=2)
            ax.set(xticks=[], yticks=[])
            ax.set_title(sign, fontsize=8, color=colour)
            ax.set_xlabel(
                f"is {row['label']}\n{row['old']} → {row['new']}", fontsize=7.5, color="black"
            )
            if x == 0:
                ax.set_ylabel(plots.wrapped(name, 1.2, 8), fontsize=7.5)
    return plots.titled(figure, title)
