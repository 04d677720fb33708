"""What a run over sensitivity leaves: indices of every unit, their summary, shares by depth, maps, histograms, and the page."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probes.measure.sensitivity import Replicates
from probes.store import write_text
from probes.tell import plots
from probes.tell.pages import grid, made_by
from probes.tell.pictures import save_small
from probes.tell.report import manifest, replacing_folder

MEASURES = {
    "first": ("first-order Sobol index", "alone"),
    "total": ("total Sobol index", "alone and with others"),
    "shapley": ("Shapley effect", "shared out: the groups sum to 1"),
}
CONVERGED = 0.05
"""A unit's index has converged where half of its 90 % interval over scramblings is at most this."""
Shapes = Mapping[str, Sequence[int]]


def write(out: Path, found: Mapping[str, Replicates], shapes: Shapes, facts: Mapping[str, Any], run: Mapping[str, Any]) -> Path:
    """Write the results of a run into a folder, which replaces the one of an earlier run; ProbesError for a folder of other files.

    ``indices/MODULE.npz`` holds an array per index, (groups, *shape of the module), its half interval (``_half``), ``mean``,
    ``variance`` and ``dead``.
    """
    with replacing_folder(out) as folder:
        table = summary(found)
        for name, one in found.items():
            path = folder / "indices" / f"{name}.npz"
            path.parent.mkdir(exist_ok=True)
            np.savez_compressed(path, **arrays(one, shapes[name]))  # type: ignore[arg-type]
        table.to_csv(folder / "summary.csv", index=False, float_format="%.6g", lineterminator="\n")
        write_text(folder / "run.json", json.dumps({**run, "design": dict(facts)}, indent=1, sort_keys=True) + "\n")
        plots.save(by_depth(table, str(facts["subject"])), folder / "shares.png")
        pages = [_front(facts, table), "![mean share of each group, by depth](shares.png)"]
        for name, one in found.items():
            slug = re.sub(r"[^\w.]+", "-", name)
            save_small(maps(one, shapes[name], name), folder / "maps" / f"{slug}.png")
            plots.save(histograms(one, name), folder / "histograms" / f"{slug}.png")
            pages.append(f"### {name}\n\n![indices of the units of {name}, where they are](maps/{slug}.png)\n\n"
                         f"![how the indices of the units of {name} are spread](histograms/{slug}.png)")  # fmt: skip
            if "second" in one.measured:
                save_small(pairs(one, name), folder / "second" / f"{slug}.png")
                pages.append(f"![second-order indices of {name}, pair by pair](second/{slug}.png)")
        pages += [WORDS, made_by(run)]
        write_text(folder / "sensitivity.md", "\n\n".join(pages) + "\n")
        manifest(folder)
    return out


def arrays(one: Replicates, shape: Sequence[int]) -> dict[str, np.ndarray]:
    """Every index of a module by name, in the shape of the module; float32, NaN where a unit is dead."""
    out = {"groups": np.array(one.groups), "dead": one.dead.numpy().reshape(*shape)}
    for name in one.measured:
        found = one.estimate(name)
        lead = () if name in ("mean", "variance") else (-1,)
        out[name] = found.value.float().numpy().reshape(*lead, *shape)
        out[f"{name}_half"] = found.half.float().numpy().reshape(*lead, *shape)
    return out


def summary(found: Mapping[str, Replicates]) -> pd.DataFrame:
    """A row per module, index and group: mean and quantiles over the units that are not dead, and how many have converged.

    Columns ``module, measure, group, units, dead, mean, q05, median, q95, half, converged``; ``half`` is the median half interval.
    """
    rows = []
    for module, one in found.items():
        alive = ~one.dead.numpy()
        for measure in MEASURES:
            if measure not in one.measured or not alive.any():
                continue
            estimate = one.estimate(measure)
            for j, group in enumerate(one.groups):
                value, half = (t[j].numpy()[alive] for t in (estimate.value, estimate.half))
                low, median, high = np.quantile(value, (0.05, 0.5, 0.95))
                rows.append((module, measure, group, len(alive), int((~alive).sum()), value.mean(), low, median, high,
                             np.median(half), float((half <= CONVERGED).mean())))  # fmt: skip
    columns = ["module", "measure", "group", "units", "dead", "mean", "q05", "median", "q95", "half", "converged"]
    return pd.DataFrame(rows, columns=columns)


def by_depth(table: pd.DataFrame, title: str) -> Any:
    """The mean share of each group over the units of a module, by depth: a panel per index."""
    measures = [m for m in MEASURES if (table["measure"] == m).any()]
    modules = list(dict.fromkeys(table["module"]))
    figure, axes = plots.panels(len(measures), (4.4 * len(measures), 4.4), len(measures))
    for ax, measure in zip(axes, measures, strict=True):
        mine = table[table["measure"] == measure]
        for i, group in enumerate(dict.fromkeys(table["group"])):
            rows = mine[mine["group"] == group].set_index("module").reindex(modules)
            ax.plot(range(len(modules)), rows["mean"], plots.STYLES[i % 4], marker=plots.MARKERS[i % 8], ms=5,
                    color=plots.COLOURS[i % 8], label=group)  # fmt: skip
        ax.set_xticks(range(len(modules)), modules, rotation=40, ha="right", fontsize=8)
        ax.set_title(MEASURES[measure][0], fontsize=9)
        ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("mean share of the variance over units")
    return plots.below(figure, axes[0], f"What moves the units of {title}", across=min(table["group"].nunique(), 5))


def maps(one: Replicates, shape: Sequence[int], title: str) -> Any:
    """Where in a module: indices averaged over channels, a row per index and a column per group; a strip for linear layers."""
    measures = [m for m in MEASURES if m in one.measured]
    many = len(one.groups)
    figure, axes = plots.panels(len(measures) * many, (1.35 * many + 1.6, 1.5 * len(measures) + 0.9), many)
    shown = None
    for row, measure in enumerate(measures):
        value = one.estimate(measure).value.numpy().reshape(many, *shape)
        for j, group in enumerate(one.groups):
            ax = axes[row * many + j]
            counts = np.isfinite(value[j]).sum(0) if len(shape) == 3 else None
            flat = np.sort(value[j].ravel())[::-1]
            place = flat[None]
            if counts is not None:
                place = np.where(counts > 0, np.nansum(value[j], 0) / np.maximum(counts, 1), np.nan)
            shown = ax.imshow(
                place, cmap="Reds", vmin=0, vmax=1, interpolation="nearest", aspect="auto" if counts is None else "equal"
            )
            ax.set_facecolor("#bbbbbb")
            ax.set_xticks([])
            ax.set_yticks([])
            if row == 0:
                ax.set_title(group.replace("_", "\n"), fontsize=7)
            if j == 0:
                ax.set_ylabel(measure, fontsize=8)
    if shown is not None:
        figure.colorbar(shown, ax=axes, shrink=0.7, label="share of variance")
    how = "mean over channels, place by place" if len(shape) == 3 else "units sorted by share"
    figure.suptitle(f"{title} ({' x '.join(map(str, shape))}): {how}; dead units left out: {int(one.dead.sum()):,}", fontsize=9)
    return figure


def histograms(one: Replicates, title: str) -> Any:
    """How an index is spread over the units of a module: a panel per index, a line per group."""
    alive = ~one.dead.numpy()
    measures = [m for m in MEASURES if m in one.measured]
    figure, axes = plots.panels(len(measures), (4.0 * len(measures), 3.4), len(measures))
    edges = np.linspace(-0.1, 1.1, 49)
    for ax, measure in zip(axes, measures, strict=True):
        value = one.estimate(measure).value.numpy()
        for j, group in enumerate(one.groups):
            shares = np.histogram(value[j][alive].clip(-0.1, 1.1), edges)[0] / max(alive.sum(), 1)
            ax.stairs(shares, edges, color=plots.COLOURS[j % 8], ls=plots.STYLES[j % 4], lw=1.3, label=group)
        ax.set_yscale("log")
        ax.set_xlabel(MEASURES[measure][0], fontsize=8)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("share of units (log)", fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, loc="outside lower center", ncols=min(len(labels), 5))
    figure.suptitle(f"{title}: the indices of {int(alive.sum()):,} units", fontsize=9)
    return figure


def pairs(one: Replicates, title: str) -> Any:
    """Second-order indices, the mean over units for each pair of groups, as a triangle with its numbers."""
    value = one.estimate("second").value.numpy()[:, ~one.dead.numpy()].mean(1)
    many = len(one.groups)
    table = np.full((many, many), np.nan)
    table[np.triu_indices(many, 1)] = value
    figure, (ax,) = plots.panels(1, (0.62 * many + 2.2, 0.5 * many + 1.6))
    reach = max(float(np.abs(value).max()), 0.01)
    shown = ax.imshow(table, cmap="PuOr", vmin=-reach, vmax=reach)
    for (y, x), v in np.ndenumerate(table):
        if np.isfinite(v):
            ax.text(x, y, f"{v:.3f}", ha="center", va="center", fontsize=7, color="white" if abs(v) > 0.65 * reach else "black")
    ax.set_xticks(range(many), one.groups, rotation=40, ha="right", fontsize=8)
    ax.set_yticks(range(many), one.groups, fontsize=8)
    figure.colorbar(shown, ax=ax, shrink=0.8, label="second-order index, mean over units")
    ax.set_title(title, fontsize=9)
    return figure


def _front(facts: Mapping[str, Any], table: pd.DataFrame) -> str:
    left = f" Left out, since the images are grey: {', '.join(facts['left_out'])}." if facts["left_out"] else ""
    lost = "".join(f" {n:,} base points of {m} were left out for NaN or infinity." for m, n in facts["base_points_lost"].items())
    text = [
        f"# What moves the units of `{facts['subject']}`",
        f"Augmentations {', '.join(facts['augmentations'])}: all on, parameters uniform, switches even, in random order, on one of"
        f" {facts['images']:,} images of {facts['dataset']}. The groups are the augmentations, their order, and the image."
        f" {facts['scramblings']} scramblings of {facts['rows']:,} base points.{left}{lost}",
    ]
    for measure, (name, means) in MEASURES.items():
        mine = table[table["measure"] == measure]
        if mine.empty:
            continue
        groups = list(dict.fromkeys(mine["group"]))
        rows = []
        for module, part in mine.groupby("module", sort=False):
            means_of = [f"{v:.3f}" for v in part.set_index("group")["mean"].reindex(groups)]
            counts = [f"{part[name].iloc[0]:,}" for name in ("units", "dead")]
            rows.append([module, *counts, *means_of, f"{part['half'].max():.3f}", f"{part['converged'].min():.0%}"])
        head = ["module", "units", "dead", *groups, "± (median)", "converged"]
        text.append(f"**{name[0].upper()}{name[1:]}** ({means}), mean over units:\n\n" + grid(head, rows))
    return "\n\n".join(text)


WORDS = f"""## How to read it

- An index is a share of a unit's variance over all rows: *first order* what a group does alone, *total* what would be left if all
  others were held, *Shapley* its fair part. Estimates are signed and never clipped; maps show 0 to 1.
- ± is half of the 90 % interval over independent scramblings: the error of integration, for these images, not a statement about
  others. Converged: half at most {CONVERGED:g}. The page gives the median over units, for the group where it is largest.
- A unit is *dead* where its variance is at most 1e-8 of the mean variance of its module: left out, counted, grey in the maps.
- The image is a group of its own, so no index of an augmentation holds the change from one image to another."""
