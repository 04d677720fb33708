"""What a run over segments leaves: tables, maps of chosen channels, patterns beside those of other channels, and the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probes.store import write_text
from probes.tell import plots
from probes.tell.indexplots import COLOURS, MARKERS
from probes.tell.pages import grid, made_by, slug
from probes.tell.pictures import save_small
from probes.tell.report import manifest, replaceable, replacing_folder

WHOLE = "whole network"
COLUMNS = {
    "units": ("segment", "fed", "variable", "channel", "training", "index", "rank", "channels"),
    "likeness": ("segment", "fed", "channel", "rho", "p", "difference", "difference_p"),
    "means": ("segment", "fed", "variable", "index", "dead", "units"),
}
"""The columns of the tables; ``fed`` is H, S, V or the whole network."""
SURE = 0.05
Tables = Mapping[str, pd.DataFrame]
Maps = Mapping[str, Mapping[str, np.ndarray]]


def write(out: Path, tables: Tables, maps: Maps, facts: Mapping[str, Any], run: Mapping[str, Any]) -> Path:
    """Write the results of a run into a folder, which replaces the one of an earlier run; ProbesError for a folder of other files.

    ``maps`` are total indices (augmentations, channels, H, W) by segment and by what it was fed.
    """
    replaceable(out)
    with replacing_folder(out) as folder:
        for name, table in tables.items():
            table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")
        text = [_front(facts), _findings(tables), _likeness(tables["likeness"])]
        for name, figure, caption in (
            ("shares", shares(tables["means"], facts["subject"]), "mean total index by segment and by what it is fed"),
            ("likeness", likeness(tables["likeness"], facts["subject"]), "maps of a channel in a segment and in the network"),
        ):
            plots.save(figure, folder / f"{name}.png")
            text.append(f"![{caption}]({name}.png)")
        for segment, of in maps.items():
            text.append(f"### {segment}")
            units = tables["units"][(tables["units"]["segment"] == segment) & (tables["units"]["fed"] == WHOLE)]
            text.append(_chosen(tables["units"][tables["units"]["segment"] == segment]))
            for channel in dict.fromkeys(units["channel"].tolist()):
                mine = units[units["channel"] == channel]
                file = f"channels/{slug(segment)}-{channel}.png"
                reasons = ", ".join(mine["variable"])
                save_small(panel(of, channel, facts["augmentations"], f"{segment}, channel {channel}, chosen for {reasons}"),
                           folder / file)  # fmt: skip
                text.append(f"![channel {channel} of {segment}, inside the network and alone]({file})")
        write_text(folder / "run.json", json.dumps({**run, "design": dict(facts)}, indent=1, sort_keys=True) + "\n")
        write_text(folder / "segments.md", "\n\n".join([*text, WORDS, made_by(run)]) + "\n")
        manifest(folder)
    return out


def _front(facts: Mapping[str, Any]) -> str:
    rows = [
        [name, " x ".join(map(str, fed["shape"])), f"{fed['mean']:.2f} ± {fed['spread']:.2f}"] for name, fed in facts["fed"].items()
    ]
    without = "".join(f" {name} gave NaN throughout and is left out." for name in facts["without"])
    return "\n\n".join([
        f"# Segments of `{facts['subject']}` fed with one HSV channel",
        "Total Sobol indices of every unit of a segment, inside the network and cut out: then hue, saturation or value of the"
        " augmented image, taken before anything normalises it, is resized to the segment's own input and given to each of its"
        f" channels. {facts['images']:,} test images of {facts['dataset']}; {facts['scramblings']} scramblings of"
        f" {facts['rows']:,} base points; augmentations {', '.join(facts['augmentations'])}.{without}",
        grid(["segment", "its input inside the network", "mean and spread of that input"], rows),
    ])  # fmt: skip


def _findings(tables: Tables) -> str:
    like, units = tables["likeness"], tables["units"]
    own = units[units["fed"] == WHOLE]
    rows = []
    for fed, mine in like.groupby("fed", sort=False):
        told = mine.merge(units[units["fed"] == fed][["segment", "channel"]].drop_duplicates(), on=["segment", "channel"])
        rows.append([f"cut out and fed with {fed}, a chosen channel shows where it is sensitive inside the network",
                     f"rho of its maps {told['rho'].mean():.2f} on average",
                     f"more than 95 % of other channels do in {int((told['p'] <= SURE).sum())} of {len(told)}"])  # fmt: skip
    first = int((own["rank"] == 1).sum())
    rows.append(["a channel that is picked for a variable is the most sensitive one to it", "picked and shown on the same images",
                 f"on other images it still is in {first} of {len(own)}"])  # fmt: skip
    return "## Which findings survive the controls?\n\n" + grid(["finding", "as published", "with controls"], rows)


def _likeness(table: pd.DataFrame) -> str:
    rows = []
    for (segment, fed), mine in table.groupby(["segment", "fed"], sort=False):
        rows.append([segment, fed, len(mine), f"{mine['rho'].mean():.2f}", f"{(mine['p'] <= SURE).mean():.0%}",
                     f"{mine['difference'].mean():.2f}", f"{(mine['difference_p'] <= SURE).mean():.0%}"])  # fmt: skip
    head = ["segment", "fed with", "channels", "rho of maps, mean", f"p at most {SURE:g}", "difference of matrices, mean",
            f"p at most {SURE:g}"]  # fmt: skip
    return "All channels, cut out beside inside the network:\n\n" + grid(head, rows)


def _chosen(table: pd.DataFrame) -> str:
    feds = [fed for fed in dict.fromkeys(table["fed"]) if fed != WHOLE]
    rows = []
    for _, one in table[table["fed"] == WHOLE].iterrows():
        same = table[table["variable"] == one["variable"]].set_index("fed")
        rows.append([one["variable"], one["channel"], f"{one['training']:.2f}", f"{one['index']:.2f} ({one['rank']})",
                     *(f"{same.loc[fed, 'index']:.2f} ({same.loc[fed, 'rank']})" for fed in feds)])  # fmt: skip
    many = table["channels"].iloc[0]
    head = [
        "chosen for",
        "channel",
        "index where chosen",
        f"index on test images (rank of {many})",
        *(f"fed with {f}" for f in feds),
    ]
    return grid(head, rows)


def shares(table: pd.DataFrame, title: str) -> Any:
    """The mean total index of each augmentation over a segment's units: a panel per segment, a line per what it was fed."""
    segments, variables = (list(dict.fromkeys(table[name])) for name in ("segment", "variable"))
    figure, axes = plots.panels(len(segments), (3.1 * len(segments) + 0.6, 3.9), len(segments))
    for ax, segment in zip(axes, segments, strict=True):
        mine = table[table["segment"] == segment]
        for i, fed in enumerate(dict.fromkeys(mine["fed"])):
            one = mine[mine["fed"] == fed].set_index("variable").reindex(variables)
            ax.plot(range(len(variables)), one["index"], plots.STYLES[i], marker=MARKERS[i], color=COLOURS[i], ms=6,
                    label=fed if fed == WHOLE else f"alone, fed with {fed}")  # fmt: skip
        ax.set_xticks(range(len(variables)), variables, rotation=45, ha="right", fontsize=8)
        ax.set_title(segment, fontsize=9)
        ax.set_ylim(bottom=0)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("mean total index of units", fontsize=8)
    return plots.below(figure, axes[0], f"What moves segments of {title}", across=4)


def likeness(table: pd.DataFrame, title: str) -> Any:
    """How alike the maps of a channel are, cut out and inside, channel by channel; filled where other channels seldom are."""
    segments, feds = (list(dict.fromkeys(table[name])) for name in ("segment", "fed"))
    figure, (ax,) = plots.panels(1, (1.6 * len(segments) * len(feds) ** 0.6 + 2.4, 3.8))
    at = 0
    ticks = []
    for segment in segments:
        for i, fed in enumerate(feds):
            mine = table[(table["segment"] == segment) & (table["fed"] == fed)]
            spread = np.linspace(-0.3, 0.3, len(mine)) if len(mine) > 1 else np.zeros(len(mine))
            sure = (mine["p"] <= SURE).to_numpy()
            for which, face in ((~sure, "white"), (sure, COLOURS[i])):
                ax.plot(at + spread[which], mine["rho"].to_numpy()[which], MARKERS[i], ms=4, mec=COLOURS[i], mfc=face, mew=0.7)
            ticks.append((at, f"{segment}\n{fed}"))
            at += 1
    ax.axhline(0, color="black", lw=0.8)
    ax.set_xticks([t for t, _ in ticks], [word for _, word in ticks], fontsize=8)
    ax.set_ylabel("Spearman's rho of maps,\nalone and inside the network", fontsize=8)
    ax.set_title(f"{title}: a mark per channel; filled: at most {SURE:.0%} of channels are as much like it", fontsize=9)
    ax.grid(alpha=0.3, axis="y")
    return figure


def panel(of: Mapping[str, np.ndarray], channel: int, variables: list[str], title: str) -> Any:
    """The maps of one channel: a row per what the segment was fed, a column per augmentation."""
    many = len(variables)
    figure, axes = plots.panels(len(of) * many, (1.35 * many + 1.7, 1.45 * len(of) + 0.9), many)
    shown: Any = None
    for row, (fed, maps) in enumerate(of.items()):
        for j, variable in enumerate(variables):
            ax = axes[row * many + j]
            ax.set_facecolor("#bbbbbb")
            shown = ax.imshow(maps[j, channel], cmap="Reds", vmin=0, vmax=1, interpolation="nearest")
            ax.set_xticks([])
            ax.set_yticks([])
            if row == 0:
                ax.set_title(variable.replace("_", "\n"), fontsize=7)
        axes[row * many].set_ylabel(fed if fed == WHOLE else f"alone, {fed}", fontsize=8)
    figure.colorbar(shown, ax=axes, shrink=0.7, label="total index")
    figure.suptitle(title, fontsize=9)
    return figure


WORDS = f"""## How to read it

- Channels are chosen on training images, the one with the largest mean total index for each augmentation, and shown on test images:
  a channel that is picked and shown on the same images looks more special than it is.
- *rho of maps*: Spearman's, over the places of a channel, between an augmentation's map inside the network and cut out; the mean
  over augmentations. Maps of any two channels may be alike, since all share borders and middle: p is the share of channels whose
  maps, cut out, are as much like its maps inside, counting the channel itself; with fewer than 20 channels no p is at most
  {SURE:g}.
- *difference of matrices*: how far the rank correlations between augmentations over places, cut out and inside, lie apart.
- Grey in a panel: a unit that hue, saturation or value leave constant."""
