"""The words of a page on sensitivity: what was sampled, and how to read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from probes.studies.sensitivity.plots import MEASURES
from probes.studies.sensitivity.summary import CONVERGED, DISCOVERY
from probes.tell.markdown import grid

LAW = {
    "one": "all on, parameters uniform, switches even, in random order",
    "study": (
        "in random order; for Sobol indices all on, parameters uniform, switches even, for Shapley"
        " effects each on or off"
    ),
}


WITHIN = (
    " With the class a factor, the image is its place within the class: another class is another"
    " picture too."
)


TAKEN = {
    "factor": (
        "The image is a group of its own, so that no index of an augmentation holds the change from"
        " one image to another."
    ),
    "fixed": (
        "The image is held fixed within a base point: shares are of the variance that the groups"
        " make, for an average image."
    ),
    "fresh": (
        "Every row shows a fresh image, as in the published code: **what an image changes enters"
        " every total index.**"
    ),
}


def front(facts: Mapping[str, Any]) -> str:
    """The head of the page: what was sampled, how, and what was left out."""
    text = [f"# What moves the units of `{facts['subject']}`"]
    left = (
        f" Left out, since the images are grey: {', '.join(facts['left_out'])}."
        if facts["left_out"]
        else ""
    )
    lost = "".join(
        f" {n:,} base points of {m} were left out for NaN or infinity."
        for m, n in facts["lost"].items()
    )
    without = "".join(
        f" {m} gave NaN or infinity throughout and is left out." for m in facts["without"]
    )
    several = " or ".join(
        f"{p['images']:,} {split} images" for split, p in facts.get("partitions", {}).items()
    )
    about = f"one of {several} of {facts['dataset']}."
    if "groups" in facts:
        plan = facts["plan"]
        ways = " Every augmented image is stretched to [0, 1]." * plan["minmax"] + (
            " The published floor, cut at 0 and 1: **a unit that hardly varies may look most"
            " sensitive.**" * plan["absolute"]
        )
        channels = " A unit is the mean of a channel." * plan["pooled"]
        again = (
            f" The units did not fit in memory together: {facts['portions']} portions."
            if facts["portions"] > 1
            else ""
        )
        text.append(
            f"Augmentations {', '.join(facts['augmentations'])}:"
            f" {LAW[plan['law'] if plan['shapley'] else 'one']}, on {about} Groups:"
            f" {', '.join(facts['groups'])}."
            f" {TAKEN[plan['image']]}{WITHIN * ('class' in plan['factors'])}{ways}{channels}"
            f" {facts['scramblings']} scramblings of {facts['rows']:,} base"
            f" points.{left}{lost}{without}{again}"
        )
    else:
        text.append(
            f"Augmentations {', '.join(facts['augmentations'])}, each alone, on"
            f" {facts['dataset']}.{left}"
        )
    return "\n\n".join(text)


def means(table: pd.DataFrame) -> list[str]:
    """The mean index of each group in each module, as a table."""
    text = []
    for measure, (name, means) in MEASURES.items():
        mine = table[table["measure"] == measure]
        if mine.empty:
            continue
        groups = list(dict.fromkeys(mine["group"]))
        rows = []
        for module, part in mine.groupby("module", sort=False):
            means_of = [f"{v:.3f}" for v in part.set_index("group")["mean"].reindex(groups)]
            counts = [f"{part[name].iloc[0]:,}" for name in ("units", "dead")]
            rows.append(
                [
                    module,
                    *counts,
                    *means_of,
                    f"{part['half'].max():.3f}",
                    f"{part['converged'].min():.0%}",
                ]
            )
        head = ["module", "units", "dead", *groups, "± (median)", "converged"]
        text.append(
            f"**{name[0].upper()}{name[1:]}** ({means}), mean over units:\n\n" + grid(head, rows)
        )
    return text


def contrast_words(facts: Mapping[str, Any], table: pd.DataFrame) -> str:
    """What the contrasts say, in words and a table."""
    told = facts["contrast"]
    left = "".join(
        f" {n} images of {what} were left out for NaN or infinity."
        for what, n in told["left_out"].items()
    )
    names = list(dict.fromkeys(table["augmentation"]))
    rows = []
    for module, part in table.groupby("module", sort=False):
        mine = part.set_index("augmentation").reindex(names)
        rows.append(
            [
                module,
                *(
                    f"{r:.2f} ({d:.0%})"
                    for r, d in zip(mine["rank_biserial"], mine["discovered"], strict=True)
                ),
            ]
        )
    return (
        f"**Contrast**: each augmentation alone and always on, {told['images']} images,"
        f" {told['draws']} draws of the parameters averaged within the image. Mean size of the"
        " rank-biserial over units, and the share of units found to move at a false discovery rate"
        f" of {DISCOVERY:g} (Wilcoxon's signed ranks, Benjamini and Yekutieli):{left}\n\n"
        + grid(["module", *names], rows)
    )


WORDS = f"""## How to read it

- An index is a share of a unit's variance over all rows: *first order* what a group does alone, *total* what would be left if all
  others were held, *Shapley* its fair part. Estimates are signed and never clipped; maps show
  0 to 1, and histograms put what lies beyond -.1 and 1.1 into their last bins.
- ± is half of the 90 % interval over independent scramblings: the error of integration, for these images, not a statement about
  others. Converged: half at most {CONVERGED:g}. The page gives the median over units, for the group where it is largest.
- A unit is *dead* where its variance is at most 1e-8 of the mean variance of its module: left out, counted, grey in the maps.
- *Contrast* asks something else: does an augmentation alone move a unit the same way on most images? A unit that is moved far, up
  on one image and down on the next, has a large index and no contrast."""  # noqa: E501
