"""Figures of accuracy under noise on the outputs of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from probes.tell import plots

KINDS = {
    "layers": "layers with noise",
    "fractions": "share of the layers with noise",
    "pixels": "noise σ on the image",
}


def _lines(
    ax: Any,
    x: Sequence[float],
    part: pd.DataFrame,
    order: Sequence[Any],
    key: str,
    i: int,
    label: str,
) -> None:
    """One network: the mean over runs with their range as a band. For one run the estimate with its
    interval.
    """
    groups = [part[part[key] == value] for value in order]
    mean = [g["drop"].mean() for g in groups]
    several_runs = max((len(g) for g in groups), default=0) > 1
    low = [g["drop"].min() if several_runs else g["low"].iloc[0] for g in groups]
    high = [g["drop"].max() if several_runs else g["high"].iloc[0] for g in groups]
    ax.fill_between(x, low, high, color=plots.COLOURS[i], alpha=0.2, lw=0)
    ax.plot(
        x,
        mean,
        plots.STYLES[i % 4],
        marker=plots.MARKERS[i],
        color=plots.COLOURS[i],
        ms=5,
        label=label,
    )


def by_number(drops: pd.DataFrame, strength: float) -> Any:
    """Points lost against the number (left) and the share (right) of perturbed layers, a line per
    network.
    """
    kinds = [k for k in ("layers", "fractions") if (drops["kind"] == k).any()]
    figure, axes = plots.panels(len(kinds), (4.2 * len(kinds), 3.8), len(kinds))
    for ax, kind in zip(axes, kinds, strict=True):
        at = drops[(drops["kind"] == kind) & (drops["level"] == strength)]
        order = sorted(set(at["layers"]), key=float)
        for i, net in enumerate(dict.fromkeys(drops["net"])):
            _lines(ax, range(len(order)), at[at["net"] == net], order, "layers", i, net)
        ax.set_xticks(
            range(len(order)), [n if float(n) >= 1 else f"1/{1 / float(n):g}" for n in order]
        )
        ax.set_xlabel(KINDS[kind])
        ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("points of accuracy lost")
    some = drops[(drops["kind"] == kinds[0]) & (drops["level"] == strength)]
    most = max(set(some["layers"]), key=float)
    lost = some[some["layers"] == most].groupby("net", sort=False)["drop"].mean()
    where = f"noise on {in_words(most)}" if kinds[0] == "layers" else f"noise on {most} of layers"
    return plots.below(
        figure,
        axes[0],
        f"Points lost to {where}: {_told(lost)}",
        caption=f"noise of {strength:g} of each layer's spread; {band(drops)}",
    )


def by_strength(drops: pd.DataFrame) -> Any:
    """Points lost against the strength of the noise: on 1, 2, 3 layers, and on the image; a line
    per network.
    """
    layers = drops[drops["kind"] == "layers"]
    parts = [
        (in_words(n), layers[layers["layers"] == n])
        for n in sorted(set(layers["layers"]), key=float)
    ]
    parts.append(("the image", drops[drops["kind"] == "pixels"]))
    figure, axes = plots.panels(len(parts), (3.1 * len(parts), 3.6), len(parts))
    for ax, (title, part) in zip(axes, parts, strict=True):
        order = sorted(set(part["level"]))
        for i, net in enumerate(dict.fromkeys(drops["net"])):
            _lines(ax, order, part[part["net"] == net], order, "level", i, net)
        ax.set_title(f"noise on {title}", fontsize=9)
        ax.set_xlabel(
            (
                "noise σ (pixel range 0 to 1)"
                if title == "the image"
                else "strength (of the layer's spread)"
            ),
            fontsize=8,
        )
        ax.set_xlim(left=0)
        ax.grid(alpha=0.3)
    ends = [ax.get_ylim() for ax in axes[:-1]]
    for ax in axes[:-1]:
        ax.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
    axes[0].set_ylabel("points of accuracy lost")
    name, part = parts[-2] if len(parts) > 1 else parts[-1]
    lost = part[part["level"] == part["level"].max()].groupby("net", sort=False)["drop"].mean()
    finding = f"Points lost to noise of {part['level'].max():g} on {name}: {_told(lost)}"
    return plots.below(figure, axes[0], finding, caption=band(drops))


def by_depth(depth: pd.DataFrame, strength: float) -> Any:
    """Points lost by perturbing one layer alone, a panel per network. Thin lines are runs, the
    thick line is their mean.
    """
    nets = list(dict.fromkeys(depth["net"]))
    wide = min(plots.WIDEST, max(4.6, 0.2 * depth["place"].max() + 2))
    across = max(1, min(len(nets), int(plots.WIDEST // wide)))
    down = -(-len(nets) // across)
    figure, axes = plots.panels(len(nets), (wide * across, 3.6 * down + 0.6), across)
    worst = {}
    top = depth["drop"].max()
    for i, (ax, net) in enumerate(zip(axes, nets, strict=True)):
        found = depth[depth["net"] == net].pivot(index="place", columns="train_seed", values="drop")
        mean = found.mean(axis=1)
        names = depth[depth["net"] == net].drop_duplicates("place").sort_values("place")["layer"]
        worst[net] = f"{list(names)[int(mean.argmax())]} ({mean.max():.1f} points)"
        if found.shape[1] > 1:
            ax.plot(found.index, found, "-", color=plots.COLOURS[i], lw=0.7, alpha=0.45)
        ax.plot(
            found.index,
            mean,
            plots.STYLES[i % 4],
            marker=plots.MARKERS[i],
            ms=4,
            color=plots.COLOURS[i],
            lw=2,
        )
        ax.set_xticks(range(len(names)), list(names), rotation=90, fontsize=6)
        ax.set_ylim(min(-0.05 * top, depth["drop"].min()), 1.05 * top)
        n_runs = found.shape[1]
        runs = f", {n_runs} runs (thin) and their mean" if n_runs > 1 else ""
        ax.set_title(f"{net}{runs}", fontsize=9)
        ax.axhline(0, color="black", lw=0.8)
        ax.grid(alpha=0.3)
        if i % across == 0:
            ax.set_ylabel("points of accuracy lost")
    told = ", ".join(f"{layer} in {net}" for net, layer in worst.items())
    return plots.titled(
        figure,
        f"The layer where noise costs most: {told}",
        f"the layer that is perturbed alone, from input to output; noise of {strength:g} of its"
        " spread",
    )


def activations(moved: pd.DataFrame, strength: float) -> Any:
    """The distance of perturbed from clean maps at the first and the last two stages, a panel per
    network, a line per number.
    """
    nets = list(dict.fromkeys(moved["net"]))
    figure, axes = plots.panels(len(nets), (4.2 * len(nets), 3.8), len(nets))
    for ax, net in zip(axes, nets, strict=True):
        mine = moved[moved["net"] == net]
        stages = mine.drop_duplicates("place").sort_values("place")["stage"]
        for i, (n, part) in enumerate(mine.groupby("layers")):
            found = part.groupby("place")[["distance", "low", "high"]].mean()
            ax.fill_between(
                found.index, found["low"], found["high"], color=plots.COLOURS[i], alpha=0.15, lw=0
            )
            ax.plot(
                found.index,
                found["distance"],
                plots.STYLES[i % 4],
                marker=plots.MARKERS[i],
                color=plots.COLOURS[i],
                label=f"noise on {in_words(n)}",
            )
        ax.set_xticks(range(len(stages)), list(stages))
        ax.set_title(f"{net}, {mine['images'].iloc[0]:,} images", fontsize=9)
        ax.set_ylim(0, 1.05 * moved["high"].max())
        ax.set_xlabel("stage")
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("||f - f0|| / ||f0||")
    last = moved[moved["place"] == moved.groupby("net")["place"].transform("max")]
    most = max(set(last["layers"]), key=float)
    ends = last[last["layers"] == most].groupby("net", sort=False)["distance"].mean()
    return plots.below(
        figure,
        axes[0],
        f"How far the last maps move under noise on {in_words(most)}: {_told(ends, '.2f')}",
        caption=f"noise of {strength:g} of a layer's spread; median over images, band: quartiles",
    )


def maps(table: pd.DataFrame, strength: float) -> Any:
    """Maps of one image, clean above perturbed for each network: a column per stage and channel,
    one scale for the two.
    """
    nets = list(dict.fromkeys(table["net"]))
    columns = max(
        part[["stage", "channel"]].drop_duplicates().shape[0] for _, part in table.groupby("net")
    )
    figure, axes = plots.panels(
        2 * len(nets) * columns, (0.95 * columns + 1, 1.0 * 2 * len(nets) + 1), columns
    )
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
    for row, net in enumerate(nets):
        mine = table[table["net"] == net]
        for column, (_, part) in enumerate(mine.groupby(["stage", "channel"], sort=False)):
            low, high = part["value"].min(), part["value"].max()
            for state, name in enumerate(("clean", "perturbed")):
                ax = axes[(2 * row + state) * columns + column]
                picture = (
                    part[part["state"] == name]
                    .pivot(index="y", columns="x", values="value")
                    .to_numpy()
                )
                ax.imshow(
                    picture,
                    cmap="gray",
                    vmin=low,
                    vmax=high if high > low else low + 1,
                    interpolation="nearest",
                )
                if column == 0:
                    ax.set_ylabel(f"{net}\n{name}", fontsize=8)
                if state == 0:
                    ax.set_title(f"{part['stage'].iloc[0]}, {part['channel'].iloc[0]}", fontsize=7)
    return plots.titled(
        figure,
        f"Maps of one image, clean and with noise of {strength:g} on three layers",
        "a column: stage and channel; black to white is one scale for the clean and the perturbed"
        " map",
    )


def _told(values: pd.Series[float], form: str = ".1f") -> str:
    """Values of networks, as a title tells them."""
    return ", ".join(f"{net} {plots.spelt(float(v), form)}" for net, v in values.items())


def in_words(n: str) -> str:
    """A number of layers as tables spell it."""
    return f"{n} layer{'s' * (n != '1')}"


def band(drops: pd.DataFrame) -> str:
    """What the band of a figure shows."""
    n_runs = drops.groupby("net")["train_seed"].nunique().max()
    return (
        f"mean over {n_runs} training runs, band: their range"
        if n_runs > 1
        else "band: 90 % interval over images"
    )
