"""Figures of training runs, of looks, and of many claims together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from probes import table as tables
from probes.judge import effects
from probes.judge.verdict import Verdict
from probes.judge.wording import counted, cover
from probes.table import Kind
from probes.tell.plots import (
    AXIS,
    COLOURS,
    MARKERS,
    OUTCOME,
    STYLES,
    UNIT,
    capital,
    display,
    new_axes,
    titled,
    wrapped,
)


def by_depth(
    frame: pd.DataFrame, metric: str, kind: Kind, ax: Axes | None = None, varied: str = "level"
) -> Axes:
    """The response of each block to the highest level, by depth: thin lines are training runs,
    thick their median.
    """
    ax = new_axes(ax, (7, 4))
    wide = effects.averaged(frame, metric, "train_seed", "site", "net")
    found = effects.response(wide, kind, float(wide.columns[-1]))
    medians: dict[str, np.ndarray] = {}
    for i, net in enumerate(found.index.unique("net")):
        runs = effects.per_unit(
            found.xs(net, level="net", drop_level=False), kind, "train_seed", "site", None
        )
        values = pd.DataFrame({site: effect.droplevel("net") for site, effect in runs.items()})
        y = display(values.to_numpy(), kind)
        medians[net] = np.median(y, axis=0)
        ax.plot(range(y.shape[1]), y.T, STYLES[i % 4], color=COLOURS[i], lw=0.8, alpha=0.45)
        ax.plot(
            range(y.shape[1]),
            medians[net],
            STYLES[i % 4],
            marker=MARKERS[i],
            color=COLOURS[i],
            lw=2.5,
            label=f"{net} ({counted(len(y), 'run')})",
        )
        ax.set_xticks(range(y.shape[1]), list(values.columns), rotation=45, fontsize=8)
    ax.axhline(0, color="black", lw=0.8)
    ax.set_xlabel("block, from input to output\nthin: a training run; thick: their median")
    ax.set_ylabel(f"{tables.label_of(metric)}: {AXIS[kind]}")
    last = {net: float(middle[-1]) for net, middle in medians.items()}
    unit = UNIT[kind]
    told = ", ".join(f"{value:+.1f}{unit} in {net}" for net, value in last.items())
    where = f"{values.columns[-1]}, {varied} {wide.columns[-1]:g}"
    ax.set_title(f"{capital(tables.label_of(metric))} at {where}: {told}")
    ax.legend()
    ax.grid(alpha=0.3)
    return ax


def runs(verdict: Verdict, ax: Axes | None = None, varied: str = "level") -> Axes:
    """The effect of each training run, with the Hodges-Lehmann estimate and its interval, against
    the SESOI.
    """
    ax = new_axes(ax, (7.4, 2.3))
    values = display(verdict.notes["runs"], verdict.kind)
    colour, marker, word = OUTCOME[verdict.outcome]
    low, high = np.asarray(display([verdict.low, verdict.high], verdict.kind), dtype=float)
    ax.plot(
        values,
        np.zeros(len(values)),
        "|",
        color="black",
        ms=16,
        label=f"a run or pair of runs ({len(values)})",
    )
    if np.isfinite([low, high]).all():  # too few runs have no interval, and are shown all the same
        ax.plot([low, high], [-0.35, -0.35], color=colour, lw=3.5)
    ax.plot(
        display(verdict.estimate, verdict.kind),
        -0.35,
        marker,
        color=colour,
        ms=8,
        label=f"estimate: {word}",
    )
    ax.axvline(0, color="black", lw=0.8)
    at = float(display(verdict.sesoi, verdict.kind))
    ax.axvline(at, color="#0072B2", ls="--", lw=1, label="SESOI")
    ax.set_ylim(-0.8, 0.5)
    ax.set_yticks([])
    unit = UNIT[verdict.kind].strip()
    left, right = ax.get_xlim()
    span = {1: (at, right), -1: (left, at), 0: (-abs(at), abs(at))}[verdict.direction]
    ax.axvspan(*span, color="#0072B2", alpha=0.07, lw=0, label="claimed side", gid="claimed")
    ax.set_xlim(left, right)
    ax.set_xlabel(
        wrapped(f"{verdict.asked(varied)}{f' ({unit})' if unit else ''}", 4.5), fontsize=9
    )
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    ax.set_title(f"{capital(word)}: {verdict.effect()}")
    return ax


def looks(line: Mapping[str, Any], members: Sequence[Verdict]) -> Figure:
    """The path of a claim that was judged as soon as it was decided: the interval of each part of
    each block at each number of images, at that look's level, against the SESOI.

    A row is a block, a column a part of the question. What is decided at a look is drawn in the
    colour of the verdict from there on.
    """
    until, path = line["until"]["images"], line["until"]["looks"]
    parts = members[0].leaves
    figure = Figure((4.2 * len(parts) + 1.2, 1.25 * len(members) + 1.6), layout="constrained")
    axes = figure.subplots(len(members), len(parts), squeeze=False, sharex=True)
    n = [look["n"] for look in path]
    for i, member in enumerate(members):
        for j, leaf in enumerate(member.leaves):
            ax, kind = axes[i][j], leaf.kind
            at = np.array([look["blocks"][i][j] for look in path], float)
            middle, low, high = display(at, kind).T
            edge = float(display([leaf.sesoi], kind)[0])
            edges = [edge, -edge] if leaf.direction == 0 else [edge]
            colour, marker, _ = OUTCOME[leaf.outcome if len(parts) > 1 else member.outcome]
            shown = [np.isfinite([a, b]).all() for a, b in zip(low, high, strict=True)]
            for x, m, a, b, ok in zip(n, middle, low, high, shown, strict=True):
                settled = ok and all(b < e or a > e for e in edges)
                tone = colour if settled else "#777777"
                if ok:
                    ax.plot([x, x], [a, b], color=tone, lw=3, solid_capstyle="butt")
                ax.plot(x, m, marker if settled else "o", color=tone, ms=6, mec="white", mew=0.7)
            for e in edges:
                ax.axhline(e, color="#0072B2", lw=1, ls="--")
            ax.axhline(0, color="black", lw=0.6)
            ax.set_xscale("log")
            ax.set_xlim(n[0] / 1.3, until * 1.15)
            ax.axvline(until, color="black", lw=0.8, ls=":")
            ax.set_xticks(n, [f"{v:,}" for v in n], fontsize=8)
            ax.minorticks_off()
            ax.tick_params(labelsize=8)
            ax.grid(alpha=0.3, axis="y")
            if j == 0:
                ax.set_ylabel(member.label or "all", fontsize=9)
            if i == 0:
                title = f"{tables.label_of(leaf.metric)}: {AXIS[kind]}"
                ax.set_title(wrapped(title, 4.0), fontsize=9)
    levels = "  ".join(f"{look['n']:,}: {cover(look['level'])}" for look in path)
    return titled(
        figure,
        f"{line['id']} on {line['subject']}: judged at {n[-1]:,} of at most {until:,} images",
        f"images looked at (dotted: the most there may be, {until:,}); dashed: SESOI; coloured"
        f" from the look on at which the interval lies beyond it; intervals: {levels}",
    )


def training(history: pd.DataFrame, title: str) -> Figure:
    """Loss and accuracy per epoch, from the card of trained weights."""
    figure = Figure((8, 2.8), layout="constrained")
    loss, hits = figure.subplots(1, 2)
    loss.plot(history["epoch"], history["train_loss"], "-", marker="o", ms=3, color=COLOURS[0])
    loss.set_ylabel("training loss")
    for i, (name, word) in enumerate(
        (("train_accuracy", "training images"), ("test_accuracy", "test images"))
    ):
        hits.plot(
            history["epoch"],
            history[name] * 100,
            STYLES[i],
            marker=MARKERS[i],
            ms=3,
            color=COLOURS[i],
            label=word,
        )
    hits.set_ylabel("accuracy (%)")
    hits.legend(fontsize=8)
    for ax in (loss, hits):
        ax.set_xlabel("epoch")
        ax.grid(alpha=0.3)
    right = f"{100 * float(history['test_accuracy'].iloc[-1]):.1f} % of the test images right"
    return titled(figure, f"{title} after {counted(len(history), 'epoch')}: {right}")


def overview(lines: Sequence[Mapping[str, Any]]) -> Figure:
    """The verdict of each block of many claims: a row a claim, a column a block from input to
    output.
    """
    rows = [[member["outcome"] for member in line["verdicts"]] for line in lines]
    known = [*OUTCOME]
    values = np.full((len(rows), max(map(len, rows))), np.nan)
    for y, row in enumerate(rows):
        values[y, : len(row)] = [known.index(outcome) for outcome in row]
    colours = ListedColormap([OUTCOME[outcome][0] for outcome in known])
    tall = min(40.0, 0.14 * len(rows) + 1.6)
    figure = Figure((min(20.0, 0.3 * values.shape[1] + 5.5), tall), layout="constrained")
    ax = figure.subplots()
    ax.imshow(values, cmap=colours, vmin=-0.5, vmax=len(known) - 0.5, aspect="auto")
    blocks = range(values.shape[1])
    ax.set_xticks(blocks, [str(block + 1) for block in blocks], fontsize=7)
    ax.set_xticks(np.arange(values.shape[1] - 1) + 0.5, minor=True)
    ax.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
    ax.grid(which="minor", color="white", lw=0.6)
    ax.tick_params(which="minor", length=0)
    step = -(-len(rows) // 250)
    names = [f"{line['id']}  {line['subject']}" for line in lines]
    ax.set_yticks(range(0, len(rows), step), names[::step], fontsize=6)
    ax.set_xlabel("block (1: the first one)", fontsize=9)
    found = {outcome for row in rows for outcome in row}
    for outcome in (o for o in known if o in found):
        many = sum(row.count(outcome) for row in rows)
        colour, _, words = OUTCOME[outcome]
        ax.scatter([], [], marker="s", color=colour, label=f"{words} ({many})")
    figure.legend(fontsize=8, loc="outside lower center", ncols=len(found))
    judged = sum(len(set(row)) == 1 for row in rows)
    every = f"{judged} of {counted(len(rows), 'claim')} have one verdict in every block"
    return titled(figure, every)
