"""The section of a report on noise on the outputs of layers: the study's table, drops by number and
by depth, activations.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from probes.studies.layer_noise.plots import (
    KINDS,
    activations,
    by_depth,
    by_number,
    by_strength,
    in_words,
    maps,
)
from probes.tell import plots
from probes.tell.markdown import grid

PUBLISHED = {
    "resnet34": {
        "clean, training images": 89.22,
        "clean": 85.13,
        "1": 85.02,
        "2": 84.94,
        "3": 82.85,
    },
    "vgg19_bn_small": {
        "clean, training images": 88.72,
        "clean": 84.48,
        "1": 83.79,
        "2": 78.26,
        "3": 71.47,
    },
}
"""Published accuracies in percent, for networks fine-tuned from ImageNet. The strength and the
choice of layers are unknown.
"""


def section(folder: Path) -> str:
    """Tables and figures from ``tables/drops.csv`` and the files beside it. Empty if there are
    none.
    """
    names = ("clean", "drops", "depth", "activations")
    if not all((folder / "tables" / f"{name}.csv").exists() for name in names):
        return ""
    clean, drops, depth, moved = (
        pd.read_csv(folder / "tables" / f"{name}.csv", dtype={"layers": str}) for name in names
    )
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
        "strengths": (
            "points of accuracy lost against the strength of the noise, on layers and on the image"
        ),
        "depth": "points of accuracy lost by the layer that is perturbed alone",
        "activations": "how far noise moves the maps of the first and of the last stages",
        "maps": "maps of the first and of the last stages, clean and perturbed",
    }
    text = [
        "## Accuracy under noise on the outputs of layers",
        (
            f"Gaussian noise on the outputs of layers, its standard deviation {strength:g} of that"
            " of the layer's clean outputs where nothing else is said. Each image draws its own"
            " layers; the draw is the same at every strength and in every network."
        ),
        _study(clean, drops, strength),
        _all(drops),
    ]
    for name, figure in draws.items():
        plots.save(figure, folder / "figures" / f"{name}.png")
        text.append(f"![{captions[name]}](figures/{name}.png)")
    return "\n\n".join(text)


def _judged(drops: pd.DataFrame) -> float:
    found = sorted(drops.loc[drops["kind"] == "layers", "level"].unique())
    return 0.5 if 0.5 in found else found[-1]


def _cell(mine: pd.DataFrame, value: str = "accuracy") -> str:
    """The mean. For one run its 90 % interval over images; for several runs their range."""
    if mine.empty:
        return ""
    if len(mine) > 1:
        return f"{mine[value].mean():.2f} ({mine[value].min():.2f} to {mine[value].max():.2f})"
    row = mine.iloc[0]
    low, high = (
        (f"{value}_low", f"{value}_high") if f"{value}_low" in mine.columns else ("low", "high")
    )
    return f"{row[value]:.2f} [{row[low]:.2f}, {row[high]:.2f}]"


def _study(clean: pd.DataFrame, drops: pd.DataFrame, strength: float) -> str:
    """The study's table: accuracy on training and test images, and with 1, 2 and 3 perturbed
    layers, next to the published values.
    """
    nets = list(dict.fromkeys(clean["net"]))
    known = nets == list(PUBLISHED)
    rows = []
    for split, name in (("train", "clean, training images"), ("test", "clean")):
        cells = [_cell(clean[(clean["net"] == net) & (clean["split"] == split)]) for net in nets]
        rows.append(
            [name, *cells, *([f"{PUBLISHED[net][name]:.2f}" for net in nets] if known else [])]
        )
    at = drops[(drops["kind"] == "layers") & (drops["level"] == strength)]
    for n in dict.fromkeys(at["layers"]):
        cells = [_cell(at[(at["net"] == net) & (at["layers"] == n)]) for net in nets]
        published = (
            [f"{PUBLISHED[net][n]:.2f}" if n in PUBLISHED[net] else "" for net in nets]
            if known
            else []
        )
        rows.append([f"noise on {in_words(n)}", *cells, *published])
    runs = clean[clean["split"] == "test"].groupby("net").size().max()
    beside = (
        f"mean of {runs} training runs and their range"
        if runs > 1
        else "90 % interval over images in brackets"
    )
    header = ["images", *nets, *(f"{net}, published" for net in nets if known)]
    text = f"**Accuracy in percent**, {beside}:\n\n" + grid(header, rows)
    if known:
        text += (
            "\n\nPublished are networks fine-tuned from ImageNet, the second without batch norm;"
            " the strength of their noise and the choice of their layers are not known. So the"
            " sizes can't be compared, only the order."
        )
    return text


def _all(drops: pd.DataFrame) -> str:
    """Points lost at every strength: a row per kind, number and strength."""
    nets = list(dict.fromkeys(drops["net"]))
    rows = []
    for (kind, layers, level), part in drops.fillna({"layers": ""}).groupby(
        ["kind", "layers", "level"], sort=False
    ):
        rows.append(
            [
                KINDS[str(kind)],
                layers,
                f"{level:g}",
                *(_cell(part[part["net"] == net], "drop") for net in nets),
            ]
        )
    return "**Points of accuracy lost**, every condition:\n\n" + grid(
        ["noise", "how many", "strength", *nets], rows
    )
