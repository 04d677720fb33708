"""Figures of networks under corruptions, noise, attacks and low precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from probes.perturb.precision import FULL
from probes.tell import plots


def spelt(name: str) -> str:
    """A corruption as figures and tables spell it."""
    return name.replace("_", " ")


def level_of(kind: str, level: float) -> str:
    """A level as figures and tables show it: for low precision the bits that are left.

    >>> level_of("quantised", 29.0), level_of("noise", 0.05)
    ('3', '0.05')
    """
    return f"{FULL - level:g}" if kind == "quantised" else f"{level:.3g}"


def lost(table: pd.DataFrame, judged: float) -> Any:
    """Points of accuracy that each corruption costs, as a map with its numbers: a row per network,
    their mean over severities; of one network a row per severity.
    """
    at = table[(table["kind"] == "corruptions") & (table["level"] > 0)]
    nets = list(dict.fromkeys(at["net"]))
    rows = "net" if len(nets) > 1 else "level"
    columns = list(dict.fromkeys(at["perturbation"]))
    wide = at.pivot_table(index=rows, columns="perturbation", values="drop", sort=False)[columns]
    wide = wide.loc[nets] if rows == "net" else wide.sort_index()
    values = wide.to_numpy(float)
    figure, (ax,) = plots.panels(1, (0.62 * len(columns) + 2.6, 0.42 * len(wide) + 2.4))
    top = max(1.0, float(values.max()))
    image = ax.imshow(
        values, cmap=plots.FROM_ZERO, vmin=min(0.0, float(values.min())), vmax=top, aspect="auto"
    )
    plots.numbers(ax, values, ".0f", top, dark=0.55)
    ax.set_xticks(
        range(len(columns)), [spelt(c) for c in columns], rotation=45, ha="right", fontsize=8
    )
    names = [str(v) if rows == "net" else f"severity {v:g}" for v in wide.index]
    ax.set_yticks(range(len(names)), names, fontsize=9)
    figure.colorbar(image, ax=ax, fraction=0.03, label="points lost")
    severities = ", ".join(f"{v:g}" for v in sorted(at["level"].unique()))
    what = f"mean over severities {severities}" if rows == "net" else f"{nets[0]}, by severity"
    mean = wide.mean(axis=0)
    finding = f"Points of accuracy lost: most under {spelt(str(mean.idxmax()))}, {mean.max():.0f}"
    return plots.titled(figure, finding, f"{what}; the title has the mean over rows")


def curves(table: pd.DataFrame, kinds: Sequence[str], axes_of: Mapping[str, str]) -> Any:
    """Accuracy (solid) and mean confidence (thin, dashed) against the level, a panel for each
    perturbation of some kinds, a colour per network.

    A band is the 90 % interval of accuracy over images; of several runs it is their range.
    """
    some = table[table["kind"].isin(kinds)]
    shown = list(dict.fromkeys(zip(some["kind"], some["perturbation"], strict=True)))
    nets = list(dict.fromkeys(some["net"]))
    across = min(5, len(shown))
    down = -(-len(shown) // across)
    figure, axes = plots.panels(len(shown), (2.45 * across + 0.7, 2.25 * down + 0.9), across)
    for place, (ax, (kind, name)) in enumerate(zip(axes, shown, strict=True)):
        part = some[(some["kind"] == kind) & (some["perturbation"] == name)]
        levels = sorted(part["level"].unique())
        x = range(len(levels))
        for i, net in enumerate(nets):
            groups = part[part["net"] == net].groupby("level")
            found = groups[["accuracy", "confidence"]].mean()
            runs = groups.size().max() > 1
            low = groups["accuracy"].min() if runs else groups["accuracy_low"].first()
            high = groups["accuracy"].max() if runs else groups["accuracy_high"].first()
            colour = plots.COLOURS[i % len(plots.COLOURS)]
            ax.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
            ax.plot(
                x,
                found["accuracy"],
                "-",
                marker=plots.MARKERS[i % 8],
                ms=4,
                color=colour,
                label=f"{net}, accuracy",
            )
            ax.plot(
                x,
                found["confidence"],
                "--",
                lw=1,
                color=colour,
                label=f"{net}, mean confidence",
            )
        ax.set_xticks(x, [level_of(kind, v) for v in levels])
        ax.set_ylim(0, 103)
        ax.set_title(spelt(name), fontsize=9)
        ax.grid(alpha=0.3)
        ax.tick_params(labelsize=8)
        last = place >= len(shown) - across
        if last or len({axes_of[k] for k, _ in shown}) > 1:
            ax.set_xlabel(axes_of[kind], fontsize=8)
        if place % across == 0:
            ax.set_ylabel("percent", fontsize=8)
    several = some.groupby("net")["train_seed"].nunique().max() > 1
    band = "range of the training runs" if several else "90 % interval over images"
    row = some.iloc[int(some["accuracy"].to_numpy().argmin())]
    title = (
        f"Accuracy is lowest in {row['net']} under {spelt(str(row['perturbation']))}:"
        f" {row['accuracy']:.0f} %, mean confidence {row['confidence']:.0f} %"
    )
    how = (
        f"band: {band}; where confidence (dashed) stays above accuracy, the network does not know"
        " that it errs"
    )
    return plots.below(figure, axes[0], title, 2 * min(2, len(nets)), caption=how)


def diagrams(table: pd.DataFrame) -> Any:
    """Reliability diagrams: accuracy against confidence in bins, a panel per network; a line for
    the clean images and one for each severity, all corruptions together.
    """
    nets = list(dict.fromkeys(table["net"]))
    across = min(4, len(nets))
    down = -(-len(nets) // across)
    figure, axes = plots.panels(len(nets), (3.3 * across + 0.4, 3.2 * down + 1.2), across)
    levels = sorted(table["level"].unique())
    for place, (ax, net) in enumerate(zip(axes, nets, strict=True)):
        ax.plot([0, 1], [0, 1], color="black", lw=0.8, label="calibrated")
        for i, level in enumerate(levels):
            part = table[(table["net"] == net) & (table["level"] == level)].sort_values("bin")
            part = part[part["answers"] >= 20]
            name = "clean" if level == 0 else f"severity {level:g}"
            ax.plot(
                part["confidence"],
                part["accuracy"],
                plots.STYLES[i % 4],
                marker=plots.MARKERS[i % 8],
                ms=4,
                lw=1.3,
                color=plots.COLOURS[i % len(plots.COLOURS)],
                label=name,
            )
        ax.set_xlim(0, 1.02)
        ax.set_ylim(0, 1.02)
        ax.set_title(net, fontsize=9)
        ax.set_xlabel("confidence", fontsize=9)
        ax.grid(alpha=0.3)
        if place % across == 0:
            ax.set_ylabel("share of right answers", fontsize=9)
    weighed = table.assign(
        over=100 * (table["confidence"] - table["accuracy"]) * table["answers"]
    ).groupby(["level", "net"], sort=False)[["over", "answers"]]
    summed = weighed.sum()
    over = (summed["over"] / summed["answers"])[levels[-1]]
    told = ", ".join(f"{net} by {plots.spelt(v, '.0f')} points" for net, v in over.items())
    where = f"At severity {levels[-1]:g}" if levels[-1] else "On clean images"
    return plots.below(
        figure,
        axes[0],
        f"{where} confidence exceeds accuracy: {told}",
        min(5, len(levels) + 1),
        caption="below the diagonal a network is surer than right; bins of 20 answers or more",
    )


def flipped(table: pd.DataFrame) -> Any:
    """The images whose answers change most often: clean above, and below where it changed first."""
    n = len(table)
    figure, axes = plots.panels(2 * n, (1.25 * n + 0.5, 3.6), n)
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
    for i, row in enumerate(table.to_dict("records")):
        shape = row["channels"], row["height"], row["width"]
        for ax, pixels in ((axes[i], row["clean_pixels"]), (axes[n + i], row["pixels"])):
            values = np.frombuffer(bytes.fromhex(pixels), np.uint8).reshape(shape)
            image = np.moveaxis(values, 0, -1)
            ax.imshow(
                image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255
            )
        axes[i].set_title(
            f"image {row['image']}\nis {row['label']}, named {row['clean_answer']}", fontsize=7
        )
        axes[n + i].set_title(
            plots.wrapped(f"{spelt(row['corruption'])} {row['severity']:g}", 1.2, 7)
            + f"\nnamed {row['answer']}",
            fontsize=7,
        )
        axes[n + i].set_xlabel(f"changed in\n{100 * row['share']:.0f} %", fontsize=7)
    most = table.iloc[0]
    return plots.titled(
        figure,
        f"Image {most['image']} changes its answer most often, under {100 * most['share']:.0f} % of"
        " the corruptions",
        "above: clean; below: the mildest corruption that changes the answer",
    )
