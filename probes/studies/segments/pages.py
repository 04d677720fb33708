"""The results of a run over segments: tables, maps of chosen channels, their similarity compared
with other channels, and the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probes.atomic import write_text
from probes.studies.segments.plots import SURE, WHOLE, likeness, panel, shares
from probes.tell import plots
from probes.tell.closing import made_by
from probes.tell.markdown import grid, slug
from probes.tell.plots import save_small
from probes.tell.reportfolder import manifest, replaceable, replacing_folder

COLUMNS = {
    "units": ("segment", "fed", "variable", "channel", "training", "index", "rank", "channels"),
    "likeness": ("segment", "fed", "channel", "rho", "p", "difference", "difference_p"),
    "means": ("segment", "fed", "variable", "index", "dead", "units"),
}
"""The columns of the tables. ``fed`` is H, S, V or the whole network."""
Tables = Mapping[str, pd.DataFrame]
Maps = Mapping[str, Mapping[str, np.ndarray]]


def write(
    out: Path, tables: Tables, maps: Maps, facts: Mapping[str, Any], run: Mapping[str, Any]
) -> Path:
    """Write the results of a run into a folder, replacing those of an earlier run. Raises
    ProbesError for a folder with other files.

    ``maps`` are total indices (augmentations, channels, H, W) by segment and by its input.
    """
    replaceable(out)
    with replacing_folder(out) as folder:
        for name, table in tables.items():
            table.to_csv(
                folder / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n"
            )
        text = [_front(facts), _findings(tables), _likeness(tables["likeness"])]
        for name, figure, caption in (
            (
                "shares",
                shares(tables["means"], facts["subject"]),
                "mean total index by segment and by what it is fed",
            ),
            (
                "likeness",
                likeness(tables["likeness"], facts["subject"]),
                "maps of a channel in a segment and in the network",
            ),
        ):
            plots.save(figure, folder / f"{name}.png")
            text.append(f"![{caption}]({name}.png)")
        for segment, of in maps.items():
            text.append(f"### {segment}")
            units = tables["units"][
                (tables["units"]["segment"] == segment) & (tables["units"]["fed"] == WHOLE)
            ]
            text.append(_chosen(tables["units"][tables["units"]["segment"] == segment]))
            for channel in dict.fromkeys(units["channel"].tolist()):
                mine = units[units["channel"] == channel]
                file = f"channels/{slug(segment)}-{channel}.png"
                reasons = ", ".join(mine["variable"])
                save_small(
                    panel(
                        of,
                        channel,
                        facts["augmentations"],
                        f"{segment}, channel {channel}, chosen for {reasons}",
                    ),
                    folder / file,
                )
                text.append(
                    f"![channel {channel} of {segment}, inside the network and alone]({file})"
                )
        write_text(
            folder / "run.json",
            json.dumps({**run, "design": dict(facts)}, indent=1, sort_keys=True) + "\n",
        )
        write_text(folder / "segments.md", "\n\n".join([*text, WORDS, made_by(run)]) + "\n")
        manifest(folder)
    return out


def _front(facts: Mapping[str, Any]) -> str:
    rows = [
        [name, " x ".join(map(str, fed["shape"])), f"{fed['mean']:.2f} ± {fed['spread']:.2f}"]
        for name, fed in facts["fed"].items()
    ]
    without = "".join(f" {name} gave NaN throughout and is left out." for name in facts["without"])
    return "\n\n".join(
        [
            f"# Segments of `{facts['subject']}` fed with one HSV channel",
            (
                "Total Sobol indices of every unit of a segment, inside the network and cut out:"
                " then hue, saturation or value of the augmented image, taken before anything"
                " normalises it, is resized to the segment's own input and given to each of its"
                f" channels. {facts['images']:,} test images of {facts['dataset']};"
                f" {facts['scramblings']} scramblings of {facts['rows']:,} base points;"
                f" augmentations {', '.join(facts['augmentations'])}.{without}"
            ),
            grid(
                ["segment", "its input inside the network", "mean and spread of that input"], rows
            ),
        ]
    )


def _findings(tables: Tables) -> str:
    like, units = tables["likeness"], tables["units"]
    own = units[units["fed"] == WHOLE]
    rows = []
    for fed, mine in like.groupby("fed", sort=False):
        told = mine.merge(
            units[units["fed"] == fed][["segment", "channel"]].drop_duplicates(),
            on=["segment", "channel"],
        )
        rows.append(
            [
                (
                    f"cut out and fed with {fed}, a chosen channel shows where it is sensitive"
                    " inside the network"
                ),
                f"rho of its maps {told['rho'].mean():.2f} on average",
                (
                    f"more than 95 % of other channels do in {int((told['p'] <= SURE).sum())} of"
                    f" {len(told)}"
                ),
            ]
        )
    first = int((own["rank"] == 1).sum())
    rows.append(
        [
            "a channel that is picked for a variable is the most sensitive one to it",
            "picked and shown on the same images",
            f"on other images it still is in {first} of {len(own)}",
        ]
    )
    return "## Which findings survive the controls?\n\n" + grid(
        ["finding", "as published", "with controls"], rows
    )


def _likeness(table: pd.DataFrame) -> str:
    rows = []
    for (segment, fed), mine in table.groupby(["segment", "fed"], sort=False):
        rows.append(
            [
                segment,
                fed,
                len(mine),
                f"{mine['rho'].mean():.2f}",
                f"{(mine['p'] <= SURE).mean():.0%}",
                f"{mine['difference'].mean():.2f}",
                f"{(mine['difference_p'] <= SURE).mean():.0%}",
            ]
        )
    head = [
        "segment",
        "fed with",
        "channels",
        "rho of maps, mean",
        f"p at most {SURE:g}",
        "difference of matrices, mean",
        f"p at most {SURE:g}",
    ]
    return "All channels, cut out beside inside the network:\n\n" + grid(head, rows)


def _chosen(table: pd.DataFrame) -> str:
    feds = [fed for fed in dict.fromkeys(table["fed"]) if fed != WHOLE]
    rows = []
    for _, one in table[table["fed"] == WHOLE].iterrows():
        same = table[table["variable"] == one["variable"]].set_index("fed")
        rows.append(
            [
                one["variable"],
                one["channel"],
                f"{one['training']:.2f}",
                f"{one['index']:.2f} ({one['rank']})",
                *(f"{same.loc[fed, 'index']:.2f} ({same.loc[fed, 'rank']})" for fed in feds),
            ]
        )
    many = table["channels"].iloc[0]
    head = [
        "chosen for",
        "channel",
        "index where chosen",
        f"index on test images (rank of {many})",
        *(f"fed with {f}" for f in feds),
    ]
    return grid(head, rows)


WORDS = f"""## How to read it

- Channels are chosen on training images, the one with the largest mean total index for each augmentation, and shown on test images:
  a channel that is picked and shown on the same images looks more special than it is.
- *rho of maps*: Spearman's, over the places of a channel, between an augmentation's map inside the network and cut out; the mean
  over augmentations. Maps of any two channels may be alike, since all share borders and middle: p is the share of channels whose
  maps, cut out, are as much like its maps inside, counting the channel itself; with fewer than 20 channels no p is at most
  {SURE:g}.
- *difference of matrices*: how far the rank correlations between augmentations over places, cut out and inside, lie apart.
- Grey in a panel: a unit that hue, saturation or value leave constant."""  # noqa: E501
