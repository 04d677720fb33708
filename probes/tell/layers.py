"""The section of a report on noise on the outputs of layers: the study's table, drops by number, by depth, activations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from probes.tell import plots
from probes.tell.pages import grid

PUBLISHED = {
    "resnet34": {"clean, training images": 89.22, "clean": 85.13, "1": 85.02, "2": 84.94, "3": 82.85},
    "vgg19_bn_small": {"clean, training images": 88.72, "clean": 84.48, "1": 83.79, "2": 78.26, "3": 71.47},
}
"""Accuracy in percent as the study published it, for networks fine-tuned from ImageNet; strength and choice of layers unknown."""
KINDS = {"layers": "layers with noise", "fractions": "share of the layers with noise", "pixels": "noise σ on the image"}


def section(folder: Path) -> str:
    """Tables and figures from ``tables/drops.csv`` and those beside it; empty where there are none."""
    names = ("clean", "drops", "depth", "activations")
    if not all((folder / "tables" / f"{name}.csv").exists() for name in names):
        return ""
    clean, drops, depth, moved = (pd.read_csv(folder / "tables" / f"{name}.csv", dtype={"layers": str}) for name in names)
    strength = _judged(drops)
    draws = {
        "drops": by_number(drops, strength),
        "strengths": by_strength(drops),
        "depth": by_depth(depth, strength),
        "activations": activations(moved, strength),
    }
    if (path := folder / "tables" / "maps.csv").exists():
        draws["maps"] = maps(pd.read_csv(path), strength)
    captions = {
        "drops": "points of accuracy lost, by the number and the share of perturbed layers",
        "strengths": "points of accuracy lost against the strength of the noise, on layers and on the image",
        "depth": "points of accuracy lost by the layer that is perturbed alone",
        "activations": "how far noise moves the maps of the first and of the last stages",
        "maps": "maps of the first and of the last stages, clean and perturbed",
    }
    text = [
        "## Accuracy under noise on the outputs of layers",
        f"Gaussian noise on the outputs of layers, its standard deviation {strength:g} of that of the layer's clean outputs where"
        " nothing else is said. Each image draws its own layers; the draw is the same at every strength and in every network.",
        _study(clean, drops, strength),
        _all(drops),
    ]  # fmt: skip
    for name, figure in draws.items():
        plots.save(figure, folder / "figures" / f"{name}.png")
        text.append(f"![{captions[name]}](figures/{name}.png)")
    return "\n\n".join(text)


def _layers(n: str) -> str:
    return f"{n} layer{'s' * (n != '1')}"


def _judged(drops: pd.DataFrame) -> float:
    found = sorted(drops.loc[drops["kind"] == "layers", "level"].unique())
    return 0.5 if 0.5 in found else found[-1]


def _cell(mine: pd.DataFrame, value: str = "accuracy") -> str:
    """Mean and, of one run, the 90 % interval over images; of several, the range of the runs."""
    if mine.empty:
        return ""
    if len(mine) > 1:
        return f"{mine[value].mean():.2f} ({mine[value].min():.2f} to {mine[value].max():.2f})"
    row = mine.iloc[0]
    low, high = (f"{value}_low", f"{value}_high") if f"{value}_low" in mine.columns else ("low", "high")
    return f"{row[value]:.2f} [{row[low]:.2f}, {row[high]:.2f}]"


def _study(clean: pd.DataFrame, drops: pd.DataFrame, strength: float) -> str:
    """The study's table: accuracy on training and test images, and with 1, 2 and 3 perturbed layers, beside what it published."""
    nets = list(dict.fromkeys(clean["net"]))
    known = nets == list(PUBLISHED)
    rows = []
    for split, name in (("train", "clean, training images"), ("test", "clean")):
        cells = [_cell(clean[(clean["net"] == net) & (clean["split"] == split)]) for net in nets]
        rows.append([name, *cells, *([f"{PUBLISHED[net][name]:.2f}" for net in nets] if known else [])])
    at = drops[(drops["kind"] == "layers") & (drops["level"] == strength)]
    for n in dict.fromkeys(at["layers"]):
        cells = [_cell(at[(at["net"] == net) & (at["layers"] == n)]) for net in nets]
        published = [f"{PUBLISHED[net][n]:.2f}" if n in PUBLISHED[net] else "" for net in nets] if known else []
        rows.append([f"noise on {_layers(n)}", *cells, *published])
    runs = clean[clean["split"] == "test"].groupby("net").size().max()
    beside = f"mean of {runs} training runs and their range" if runs > 1 else "90 % interval over images in brackets"
    header = ["images", *nets, *(f"{net}, published" for net in nets if known)]
    text = f"**Accuracy in percent**, {beside}:\n\n" + grid(header, rows)
    if known:
        text += ("\n\nPublished are networks fine-tuned from ImageNet, the second without batch norm; the strength of their noise"
                 " and the choice of their layers are not known. So the sizes can't be compared, only the order.")  # fmt: skip
    return text


def _all(drops: pd.DataFrame) -> str:
    """Points lost at every strength: a row per kind, number and strength."""
    nets = list(dict.fromkeys(drops["net"]))
    rows = []
    for (kind, layers, level), part in drops.fillna({"layers": ""}).groupby(["kind", "layers", "level"], sort=False):
        rows.append([KINDS[str(kind)], layers, f"{level:g}", *(_cell(part[part["net"] == net], "drop") for net in nets)])
    return "**Points of accuracy lost**, every condition:\n\n" + grid(["noise", "how many", "strength", *nets], rows)


def _lines(ax: Any, x: Sequence[float], part: pd.DataFrame, order: Sequence[Any], key: str, i: int, label: str) -> None:
    """One network: the mean over runs with their range as a band; of one run the estimate with its interval."""
    groups = [part[part[key] == value] for value in order]
    mean = [g["drop"].mean() for g in groups]
    many = max((len(g) for g in groups), default=0) > 1
    low = [g["drop"].min() if many else g["low"].iloc[0] for g in groups]
    high = [g["drop"].max() if many else g["high"].iloc[0] for g in groups]
    ax.fill_between(x, low, high, color=plots.COLOURS[i], alpha=0.2, lw=0)
    ax.plot(x, mean, plots.STYLES[i % 4], marker=plots.MARKERS[i], color=plots.COLOURS[i], ms=5, label=label)


def _band(drops: pd.DataFrame) -> str:
    many = drops.groupby("net")["train_seed"].nunique().max()
    return f"mean over {many} training runs, band: their range" if many > 1 else "band: 90 % interval over images"


def by_number(drops: pd.DataFrame, strength: float) -> Any:
    """Points lost against the number (left) and the share (right) of perturbed layers, a line per network."""
    kinds = [k for k in ("layers", "fractions") if (drops["kind"] == k).any()]
    figure, axes = plots.panels(len(kinds), (4.2 * len(kinds), 3.8), len(kinds))
    for ax, kind in zip(axes, kinds, strict=True):
        at = drops[(drops["kind"] == kind) & (drops["level"] == strength)]
        order = sorted(set(at["layers"]), key=float)
        for i, net in enumerate(dict.fromkeys(drops["net"])):
            _lines(ax, range(len(order)), at[at["net"] == net], order, "layers", i, net)
        ax.set_xticks(range(len(order)), [n if float(n) >= 1 else f"1/{1 / float(n):g}" for n in order])
        ax.set_xlabel(KINDS[kind])
        ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("points of accuracy lost")
    return plots.below(figure, axes[0], f"Noise of {strength:g} of each layer's spread; {_band(drops)}")


def by_strength(drops: pd.DataFrame) -> Any:
    """Points lost against the strength of the noise: on 1, 2, 3 layers, and on the image; a line per network."""
    layers = drops[drops["kind"] == "layers"]
    parts = [(_layers(n), layers[layers["layers"] == n]) for n in sorted(set(layers["layers"]), key=float)]
    parts.append(("the image", drops[drops["kind"] == "pixels"]))
    figure, axes = plots.panels(len(parts), (3.1 * len(parts), 3.6), len(parts))
    for ax, (title, part) in zip(axes, parts, strict=True):
        order = sorted(set(part["level"]))
        for i, net in enumerate(dict.fromkeys(drops["net"])):
            _lines(ax, order, part[part["net"] == net], order, "level", i, net)
        ax.set_title(f"noise on {title}", fontsize=9)
        ax.set_xlabel("σ (pixel range 0 to 1)" if title == "the image" else "strength (of the layer's spread)", fontsize=8)
        ax.set_xlim(left=0)
        ax.grid(alpha=0.3)
    ends = [ax.get_ylim() for ax in axes[:-1]]
    for ax in axes[:-1]:
        ax.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
    axes[0].set_ylabel("points of accuracy lost")
    return plots.below(figure, axes[0], f"Accuracy lost by the strength of the noise; {_band(drops)}")


def by_depth(depth: pd.DataFrame, strength: float) -> Any:
    """Points lost by the layer that is perturbed alone, a panel per network; thin lines are runs, the thick one their mean."""
    nets = list(dict.fromkeys(depth["net"]))
    figure, axes = plots.panels(len(nets), (max(4.6, 0.2 * depth["place"].max() + 2) * len(nets), 4.2), len(nets))
    top = depth["drop"].max()
    for i, (ax, net) in enumerate(zip(axes, nets, strict=True)):
        wide = depth[depth["net"] == net].pivot(index="place", columns="train_seed", values="drop")
        names = depth[depth["net"] == net].drop_duplicates("place").sort_values("place")["layer"]
        if wide.shape[1] > 1:
            ax.plot(wide.index, wide, "-", color=plots.COLOURS[i], lw=0.7, alpha=0.45)
        ax.plot(wide.index, wide.mean(axis=1), plots.STYLES[i % 4], marker=plots.MARKERS[i], ms=4, color=plots.COLOURS[i], lw=2)
        ax.set_xticks(range(len(names)), list(names), rotation=90, fontsize=6)
        ax.set_ylim(min(-0.05 * top, depth["drop"].min()), 1.05 * top)
        runs = f", {wide.shape[1]} runs (thin) and their mean" if wide.shape[1] > 1 else ""
        ax.set_title(f"{net}{runs}", fontsize=9)
        ax.axhline(0, color="black", lw=0.8)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("points of accuracy lost")
    figure.supxlabel("the layer that is perturbed alone, from input to output", fontsize=9)
    figure.suptitle(f"Where does it matter? Noise of {strength:g} of the layer's spread", fontsize=10)
    return figure


def activations(moved: pd.DataFrame, strength: float) -> Any:
    """The distance of perturbed from clean maps at the first and the last two stages, a panel per network, a line per number."""
    nets = list(dict.fromkeys(moved["net"]))
    figure, axes = plots.panels(len(nets), (4.2 * len(nets), 3.8), len(nets))
    for ax, net in zip(axes, nets, strict=True):
        mine = moved[moved["net"] == net]
        stages = mine.drop_duplicates("place").sort_values("place")["stage"]
        for i, (n, part) in enumerate(mine.groupby("layers")):
            found = part.groupby("place")[["distance", "low", "high"]].mean()
            ax.fill_between(found.index, found["low"], found["high"], color=plots.COLOURS[i], alpha=0.15, lw=0)
            ax.plot(found.index, found["distance"], plots.STYLES[i % 4], marker=plots.MARKERS[i], color=plots.COLOURS[i],
                    label=f"noise on {_layers(n)}")  # fmt: skip
        ax.set_xticks(range(len(stages)), list(stages))
        ax.set_title(f"{net}, {mine['images'].iloc[0]:,} images", fontsize=9)
        ax.set_ylim(0, 1.05 * moved["high"].max())
        ax.set_xlabel("stage")
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("||f - f0|| / ||f0||")
    return plots.below(figure, axes[0], f"How far the maps move, noise of {strength:g}; median over images, band: quartiles")


def maps(table: pd.DataFrame, strength: float) -> Any:
    """Maps of one image, clean above perturbed for each network: a column per stage and channel, one scale for the two."""
    nets = list(dict.fromkeys(table["net"]))
    columns = max(part[["stage", "channel"]].drop_duplicates().shape[0] for _, part in table.groupby("net"))
    figure, axes = plots.panels(2 * len(nets) * columns, (0.95 * columns + 1, 1.0 * 2 * len(nets) + 1), columns)
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
    for row, net in enumerate(nets):
        mine = table[table["net"] == net]
        for column, (_, part) in enumerate(mine.groupby(["stage", "channel"], sort=False)):
            low, high = part["value"].min(), part["value"].max()
            for state, name in enumerate(("clean", "perturbed")):
                ax = axes[(2 * row + state) * columns + column]
                picture = part[part["state"] == name].pivot(index="y", columns="x", values="value").to_numpy()
                ax.imshow(picture, cmap="gray", vmin=low, vmax=high if high > low else low + 1, interpolation="nearest")
                if column == 0:
                    ax.set_ylabel(f"{net}\n{name}", fontsize=8)
                if state == 0:
                    ax.set_title(f"{part['stage'].iloc[0]}, {part['channel'].iloc[0]}", fontsize=7)
    figure.suptitle(f"One image: stage and channel; noise of {strength:g} on three layers; black to white is one scale for the"
                    " clean and the perturbed map", fontsize=9)  # fmt: skip
    return figure
