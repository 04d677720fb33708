"""The page that compares the study's method of sensitivity with ours: the same units and rows, with
its steps added one by one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probes.atomic import write_text
from probes.measure.indices import Replicates
from probes.perturb.composed import ORDER
from probes.tell import plots
from probes.tell.closing import made_by
from probes.tell.markdown import grid
from probes.tell.reportfolder import manifest, replaceable, replacing_folder

OTHERS = (ORDER, "class", "partition", "image")
"""Groups that are not augmentations."""
Found = Mapping[str, Mapping[str, Replicates]]
Stretched = tuple[Sequence[float], Mapping[str, Mapping[str, Sequence[float]]]]


def write(
    out: Path,
    found: Found,
    few: Found,
    stretched: Stretched,
    facts: Mapping[str, Any],
    run: Mapping[str, Any],
) -> Path:
    """Write the comparison. ``found`` and ``few`` are variant -> module -> indices; the first
    variant is ours.

    ``totals.csv`` has the mean total index of every group. ``top.csv`` has the share of units whose
    most important augmentation differs from ours. ``floor.csv`` has the total indices above 1 with
    few rows.
    """
    replaceable(out)
    with replacing_folder(out) as folder:
        tables = {"totals": totals(found), "top": top(found), "floor": floor(few)}
        for name, table in tables.items():
            table.to_csv(
                folder / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n"
            )
        write_text(
            folder / "run.json",
            json.dumps({**run, "design": dict(facts)}, indent=1, sort_keys=True) + "\n",
        )
        plots.save(_totals(tables["totals"], facts), folder / "totals.png")
        plots.save(_stretched(stretched), folder / "minmax.png")
        plots.save(_floor(few, facts), folder / "floor.png")
        write_text(folder / "method.md", _page(tables, stretched, facts, run))
        manifest(folder)
    return out


def totals(found: Found) -> pd.DataFrame:
    """The mean total index over units that are not dead: columns ``variant, module, group, total,
    half``.
    """
    rows = []
    for variant, modules in found.items():
        for module, one in modules.items():
            alive, estimate = ~one.dead.numpy(), one.estimate("total")
            for j, group in enumerate(one.groups):
                if alive.any():
                    means = (
                        float(t[j].numpy()[alive].mean()) for t in (estimate.value, estimate.half)
                    )
                    rows.append((variant, module, group, *means))
    return pd.DataFrame(rows, columns=["variant", "module", "group", "total", "half"])


def top(found: Found) -> pd.DataFrame:
    """The share of units whose most important augmentation differs from that of the first variant:
    ``variant, module, another``.
    """
    first, *others = found
    rows = []
    for variant in others:
        for module, one in found[variant].items():
            ours = found[first][module]
            alive = ~(ours.dead | one.dead).numpy()
            which = [i for i, g in enumerate(ours.groups) if g not in OTHERS]
            which_there = [one.groups.index(ours.groups[i]) for i in which]
            a = ours.estimate("total").value.numpy()[which][:, alive].argmax(0)
            b = one.estimate("total").value.numpy()[which_there][:, alive].argmax(0)
            rows.append((variant, module, float((a != b).mean()) if alive.any() else float("nan")))
    return pd.DataFrame(rows, columns=["variant", "module", "another"])


def floor(few_rows: Found) -> pd.DataFrame:
    """Largest total indices of augmentations with few rows: ``variant, module, units, dead, beyond
    (share above 1), largest``.
    """
    rows = []
    for variant, modules in few_rows.items():
        for module, one in modules.items():
            largest = _largest(one)
            beyond_and_largest = (
                (float((largest > 1).mean()), float(largest.max()))
                if largest.size
                else (0.0, np.nan)
            )
            rows.append((variant, module, len(one.dead), int(one.dead.sum()), *beyond_and_largest))
    return pd.DataFrame(rows, columns=["variant", "module", "units", "dead", "beyond", "largest"])


def _largest(one: Replicates) -> np.ndarray:
    which = [i for i, g in enumerate(one.groups) if g not in OTHERS]
    return one.estimate("total").value.numpy()[which][:, ~one.dead.numpy()].max(0, initial=-np.inf)


def _totals(table: pd.DataFrame, facts: Mapping[str, Any]) -> Any:
    modules, variants = list(dict.fromkeys(table["module"])), list(dict.fromkeys(table["variant"]))
    groups = list(dict.fromkeys(table["group"]))
    figure, axes = plots.panels(
        len(modules),
        (3.7 * min(len(modules), 3), 3.3 * -(-len(modules) // 3) + 0.6),
        min(len(modules), 3),
    )
    for ax, module in zip(axes, modules, strict=True):
        mine = table[table["module"] == module]
        for i, variant in enumerate(variants):
            rows = mine[mine["variant"] == variant].set_index("group").reindex(groups)
            ax.plot(
                np.arange(len(groups)) + (i - 2) * 0.12,
                rows["total"],
                plots.MARKERS[i % 8],
                ms=5,
                color=plots.COLOURS[i % 8],
                label=variant,
            )
        ax.set_xticks(range(len(groups)), groups, rotation=55, ha="right", fontsize=7)
        ax.set_title(module, fontsize=9)
        ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("mean total index over units")
    alone = table[~table["group"].isin(OTHERS)]
    ranges = alone.groupby("variant", sort=False)["total"].agg(["min", "max"])
    ours, theirs = ranges.iloc[0], ranges.iloc[-1]
    found = (
        f"Total indices of augmentations on {facts['subject']}: {ours['min']:.2f} to"
        f" {ours['max']:.2f} our way, {theirs['min']:.2f} to {theirs['max']:.2f} the study's way"
    )
    return plots.below(
        figure, axes[0], found, across=5, caption=f"the study's way: {ranges.index[-1]}"
    )


def _stretched(stretched: Stretched) -> Any:
    factors, moved = stretched
    figure, axes = plots.panels(len(moved), (4.2 * len(moved), 3.5), len(moved))
    for ax, (name, ways) in zip(axes, moved.items(), strict=True):
        for i, (way, values) in enumerate(ways.items()):
            ax.plot(
                factors,
                values,
                plots.STYLES[i],
                marker=plots.MARKERS[i],
                ms=4,
                color=plots.COLOURS[i],
                label=way,
            )
        ax.set_xlabel("place in the factor's range (0 to 1)")
        ax.set_title(name, fontsize=9)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("how far the input moves\n(median of relative distance)")
    return plots.below(
        figure, axes[0], "Min-max after augmenting takes brightness and contrast back"
    )


def _floor(few: Found, facts: Mapping[str, Any]) -> Any:
    figure, (ax,) = plots.panels(1, (6.4, 3.8))
    for i, (variant, modules) in enumerate(few.items()):
        values = np.sort(np.concatenate([_largest(one) for one in modules.values()]).clip(min=1e-3))
        ax.step(
            values,
            1 - np.arange(len(values)) / len(values),
            color=plots.COLOURS[i],
            ls=plots.STYLES[i],
            label=variant,
        )
    ax.axvline(1, color="#999999", lw=0.8)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("largest total index of an augmentation (1 is all of the variance)", fontsize=8)
    ax.set_ylabel("share of units at or above", fontsize=8)
    ax.grid(alpha=0.3)
    beyond = {
        variant: np.concatenate([_largest(one) for one in modules.values()]) > 1
        for variant, modules in few.items()
    }
    told = ", ".join(f"{share.mean():.1%} {variant}" for variant, share in beyond.items())
    return plots.below(figure, ax, f"Units above 1, {facts['few']} base points: {told}")


def _page(
    tables: Mapping[str, pd.DataFrame],
    stretched: Stretched,
    facts: Mapping[str, Any],
    run: Mapping[str, Any],
) -> str:
    table = tables["totals"]
    variants, groups = list(dict.fromkeys(table["variant"])), list(dict.fromkeys(table["group"]))
    means = (
        table.groupby(["variant", "group"], sort=False)["total"]
        .mean()
        .unstack("group")
        .reindex(variants)[groups]
    )
    rows = [[v, *("" if np.isnan(x) else f"{x:.3f}" for x in means.loc[v])] for v in variants]
    modules = list(dict.fromkeys(table["module"]))
    another = (
        tables["top"]
        .pivot(index="variant", columns="module", values="another")
        .reindex(variants[1:])[modules]
    )
    few = tables["floor"]
    plan, left = (
        facts["plan"],
        (
            f" (left out on grey images: {', '.join(facts['left_out'])})"
            if facts["left_out"]
            else ""
        ),
    )
    lost = "".join(
        f" Up to {n:,} base points of {m} were left out for NaN or infinity."
        for m, n in facts["lost"].items()
    )
    factors, moved = stretched
    still = [
        f"{name}: {sum(v < 1e-6 for v in ways['min-max'])} of {len(factors)} factors leave the"
        f" input where it is ({sum(v < 1e-6 for v in ways['constants'])} with constants)"
        for name, ways in moved.items()
    ]
    another_rows = [[v, *(f"{x:.0%}" for x in another.loc[v])] for v in another.index]
    few_rows = [
        [r.variant, r.module, f"{r.units:,}", f"{r.dead:,}", f"{r.beyond:.1%}", f"{r.largest:.3g}"]
        for r in few.itertuples()
    ]
    names = f"{', '.join(facts['augmentations'])}{left}"
    parts = [
        f"# The study's method beside ours, on `{facts['subject']}`",
        (
            "Kharyuk, Matveev and Oseledets (2023) show a fresh image at every row, stretch every"
            " augmented image to [0, 1], and divide by an absolute floor. Here are the same units,"
            f" augmentations ({names}) and numbers of rows, with class, partition and image as"
            f" factors, and those steps switched on one by one: {plan['rows']:,} base points a"
            f" scrambling, images of {facts['dataset']}. With class a factor, *image* is the place"
            f" within the class: another class is another picture too.{lost}"
        ),
        "## A fresh image at every row",
        (
            "A total index is what changes when a factor changes and *all else is held*. With a"
            " fresh image in every row nothing is held: the change from image to image is charged"
            " to every factor, also to inert ones. Mean total index over units, then over modules:"
        ),
        grid(["", *groups], rows),
        "![mean total index of every group, by module and variant](totals.png)",
        (
            "Share of units whose most important augmentation is another than with ours (the first"
            " row is what chance alone changes):"
        ),
        grid(["", *modules], another_rows),
        "## Min-max after augmenting",
        (
            "An image that was made darker, or given less contrast, is stretched back."
            f" {'; '.join(still)}."
        ),
        "![how far the input moves with constants and with min-max](minmax.png)",
        "## An absolute floor",
        (
            f"With {facts['few']} base points, as in the study's small configuration, some units"
            " vary in few rows or in none. Divided by the variance of rows A and B and a fixed"
            " 1e-7, their total indices pass 1 and are then cut to 1, which reads as most"
            " sensitive. A floor relative to the module's units, and the variance of all rows,"
            " leaves them out instead:"
        ),
        grid(["", "module", "units", "dead", "beyond 1", "largest"], few_rows),
        "![how the largest total index of a unit is spread](floor.png)",
        made_by(run),
    ]
    return "\n\n".join(parts) + "\n"
