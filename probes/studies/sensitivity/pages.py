"""What a run over sensitivity leaves: indices of every unit, their summary, shares by depth, maps, histograms, and the page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probes.measure.contrast import Contrast
from probes.measure.features import has_places
from probes.measure.indices import Replicates
from probes.store import write_text
from probes.studies.sensitivity import plots as indexplots
from probes.studies.sensitivity import together as indextogether
from probes.studies.sensitivity.plots import MEASURES
from probes.tell import plots
from probes.tell.closing import made_by
from probes.tell.pages import grid, slug
from probes.tell.plots import save_small
from probes.tell.report import manifest, replaceable, replacing_folder

CONVERGED = 0.05
"""A unit's index has converged where half of its 90 % interval over scramblings is at most this."""
DISCOVERY = 0.05
"""The false discovery rate at which a unit counts as moved."""
Shapes = Mapping[str, Sequence[int]]
Moved = Mapping[str, Mapping[str, Contrast]]
COLUMNS = ["module", "measure", "group", "units", "dead", "mean", "q05", "median", "q95", "half", "converged"]


def write(
    out: Path,
    found: Iterable[tuple[str, Replicates]],
    moved: Moved,
    shapes: Shapes,
    facts: Mapping[str, Any],
    run: Mapping[str, Any],
    sheets: Mapping[str, tuple[np.ndarray, Sequence[str]]] | None = None,
    channels: Mapping[str, Sequence[int]] | None = None,
    analyse: bool = False,
) -> Path:
    """Write the results of a run into a folder, which replaces the one of an earlier run; ProbesError for a folder of other files.

    ``found`` gives one module after the other, so that one is held at a time, and ``facts`` may fill until the last. ``moved`` are
    the contrasts by module and augmentation, ``sheets`` pictures and captions by augmentation, ``channels`` those of each module
    that get a panel (None: the one that an augmentation moves most). ``analyse`` adds what the maps say together
    (:mod:`probes.studies.sensitivity.together`).

    ``indices/MODULE.npz`` holds an array per index, (groups, *shape of the module), its half interval (``_half``), ``mean``,
    ``variance`` and ``dead``; ``contrasts/MODULE.npz`` arrays (augmentations, *shape).
    """
    replaceable(out)
    with replacing_folder(out) as folder:
        together: list[tuple[pd.DataFrame, pd.DataFrame]] = []
        tables, parts = [], {name: [f"### {name}"] for name in shapes}
        for name, one in found:
            _save(folder / "indices" / f"{name}.npz", arrays(one, shapes[name]))
            tables.append(summary(name, one))
            parts[name] += _pictures(folder, name, one, shapes[name], moved.get(name, {}), facts, channels)
            if analyse and has_places(shapes[name]) and len(facts["augmentations"]) > 1:
                text, *told = indextogether.analysed(folder, name, one, shapes[name], facts["augmentations"])
                parts[name] += text
                together.append((told[0], told[1]))
        for name, contrasts in moved.items():
            _save(folder / "contrasts" / f"{name}.npz", contrast_arrays(contrasts, shapes[name]))
            figure = indexplots.contrast_maps(contrasts, shapes[name], name)
            parts[name].append(_shown(folder, f"contrast_maps/{slug(name)}.png", figure, f"where augmentations alone move {name}"))
        pages = []
        table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)
        if len(table):
            _csv(table, folder / "summary.csv")
            pages += _means(table)
            figure = indexplots.by_depth(table, str(facts["subject"]))
            pages.append(_shown(folder, "shares.png", figure, "mean share of each group, by depth"))
        if together and len(identified := pd.concat([rows for rows, _ in together], ignore_index=True)):
            _csv(identified, folder / "identify.csv")
            _csv(pd.concat([rows for _, rows in together], ignore_index=True), folder / "agreement.csv")
            pages += indextogether.words(identified)
        if moved and len(contrast_table := contrast_summary(moved)):
            _csv(contrast_table, folder / "contrast.csv")
            figure = indexplots.contrasts(contrast_table, str(facts["subject"]))
            pages += [_contrast_words(facts, contrast_table), _shown(folder, "contrast.png", figure, "contrast, by depth")]
        pages += [text for module in parts.values() if len(module) > 1 for text in module]
        if sheets:
            pages.append("### The augmentations")
        for name, (rows, captions) in (sheets or {}).items():
            figure = indexplots.sheet(rows, captions, name)
            pages.append(_shown(folder, f"augmentations/{slug(name)}.png", figure, f"{name} of three images"))
        write_text(folder / "run.json", json.dumps({**run, "design": dict(facts)}, indent=1, sort_keys=True) + "\n")
        pages = [_front(facts), *pages, WORDS, made_by(run)]
        write_text(folder / "sensitivity.md", "\n\n".join(pages) + "\n")
        manifest(folder)
    return out


def _save(path: Path, found: Mapping[str, np.ndarray]) -> None:
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **found)  # type: ignore[arg-type]


def _csv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")


def _shown(folder: Path, name: str, figure: Any, words: str) -> str:
    save_small(figure, folder / name)
    return f"![{words}]({name})"


def _pictures(
    folder: Path, name: str, one: Replicates, shape: Sequence[int], moved: Mapping[str, Contrast], facts: Mapping[str, Any],
    channels: Mapping[str, Sequence[int]] | None,
) -> list[str]:  # fmt: skip
    file = slug(name)
    maps = indexplots.maps(one, shape, name)
    text = [_shown(folder, f"maps/{file}.png", maps, f"indices of the units of {name}, where they are")]
    text.append(_shown(folder, f"histograms/{file}.png", indexplots.histograms(one, name), f"how the indices of {name} are spread"))
    if "second" in one.measured:
        text.append(_shown(folder, f"second/{file}.png", indexplots.pairs(one, name), f"second-order indices of {name}"))
    if has_places(shape):
        names = facts["augmentations"]
        chosen = channels.get(name, ()) if channels is not None else [indexplots.strongest(one, shape, names)]
        for channel in chosen:
            figure = indexplots.panel(one, shape, channel, name, moved)
            plots.save(figure, folder / "channels" / f"{file}-{channel}.png")  # two scales of colours: all of them
            text.append(f"![channel {channel} of {name}, all indices](channels/{file}-{channel}.png)")
    return text


def arrays(one: Replicates, shape: Sequence[int]) -> dict[str, np.ndarray]:
    """Every index of a module by name, in the shape of the module; float32 to 3 decimals, NaN where a unit is dead.

    Mean and variance, which have a unit of their own, to 3 significant digits.
    """
    out = {"groups": np.array(one.groups), "dead": one.dead.numpy().reshape(*shape)}
    for name in one.measured:
        found = one.estimate(name)
        own = name in ("mean", "variance")
        for end, value in (("", found.value), ("_half", found.half)):
            short = _significant(value.numpy()) if own else np.round(value.numpy(), 3)
            out[name + end] = short.astype(np.float32).reshape(*(() if own else (-1,)), *shape)
    return out


def _significant(values: np.ndarray, digits: int = 3) -> np.ndarray:
    """Values rounded to significant digits: what is beyond them takes half of a compressed file."""
    size = np.abs(values)
    scale = 10.0 ** (digits - 1 - np.floor(np.log10(np.where(size > 0, size, 1.0))))
    return np.round(values * scale) / scale


def contrast_arrays(found: Mapping[str, Contrast], shape: Sequence[int]) -> dict[str, np.ndarray]:
    """The contrasts of a module by name, (augmentations, *shape); NaN where a unit is dead.

    Effects to 3 decimals and p-values to 2 significant digits, float32; a p-value below 1e-38 is 0 there.
    """
    out = {"augmentations": np.array(list(found))}
    for field in ("share", "rank_biserial", "point_biserial", "p", "adjusted"):
        values = np.stack([getattr(one, field).reshape(*shape) for one in found.values()])
        short = _significant(np.where(values < 1e-38, 0, values), 2) if field in ("p", "adjusted") else np.round(values, 3)
        out[field] = short.astype(np.float32)
    return out


def summary(module: str, one: Replicates) -> pd.DataFrame:
    """A row per index and group: mean and quantiles over the units that are not dead, and how many have converged.

    Columns ``module, measure, group, units, dead, mean, q05, median, q95, half, converged``; ``half`` is the median half interval.
    """
    rows = []
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
    return pd.DataFrame(rows, columns=COLUMNS)


def contrast_summary(moved: Moved) -> pd.DataFrame:
    """A row per module and augmentation: mean sizes of the two effects over units that are not dead, and the share discovered."""
    rows = []
    for module, contrasts in moved.items():
        for name, one in contrasts.items():
            alive = ~one.dead
            if alive.any():
                sizes = [float(np.abs(v[alive]).mean()) for v in (one.rank_biserial, one.point_biserial)]
                up, found = float((one.share[alive] > 0.5).mean()), float((one.adjusted[alive] <= DISCOVERY).mean())
                rows.append((module, name, one.images, len(alive), int((~alive).sum()), *sizes, up, found))
    columns = ["module", "augmentation", "images", "units", "dead", "rank_biserial", "point_biserial", "up", "discovered"]
    return pd.DataFrame(rows, columns=columns)


LAW = {
    "one": "all on, parameters uniform, switches even, in random order",
    "study": "in random order; for Sobol indices all on, parameters uniform, switches even, for Shapley effects each on or off",
}
WITHIN = " With the class a factor, the image is its place within the class: another class is another picture too."
TAKEN = {
    "factor": "The image is a group of its own, so that no index of an augmentation holds the change from one image to another.",
    "fixed": "The image is held fixed within a base point: shares are of the variance that the groups make, for an average image.",
    "fresh": "Every row shows a fresh image, as in the published code: **what an image changes enters every total index.**",
}


def _front(facts: Mapping[str, Any]) -> str:
    text = [f"# What moves the units of `{facts['subject']}`"]
    left = f" Left out, since the images are grey: {', '.join(facts['left_out'])}." if facts["left_out"] else ""
    lost = "".join(f" {n:,} base points of {m} were left out for NaN or infinity." for m, n in facts["lost"].items())
    without = "".join(f" {m} gave NaN or infinity throughout and is left out." for m in facts["without"])
    several = " or ".join(f"{p['images']:,} {split} images" for split, p in facts.get("partitions", {}).items())
    about = f"one of {several} of {facts['dataset']}."
    if "groups" in facts:
        plan = facts["plan"]
        ways = " Every augmented image is stretched to [0, 1]." * plan["minmax"] + (
            " The published floor, cut at 0 and 1: **a unit that hardly varies may look most sensitive.**" * plan["absolute"]
        )  # fmt: skip
        channels = " A unit is the mean of a channel." * plan["pooled"]
        again = f" The units did not fit in memory together: {facts['portions']} portions." if facts["portions"] > 1 else ""
        text.append(
            f"Augmentations {', '.join(facts['augmentations'])}: {LAW[plan['law'] if plan['shapley'] else 'one']}, on {about}"
            f" Groups: {', '.join(facts['groups'])}. {TAKEN[plan['image']]}{WITHIN * ('class' in plan['factors'])}{ways}{channels}"
            f" {facts['scramblings']} scramblings of {facts['rows']:,} base points.{left}{lost}{without}{again}"
        )
    else:
        text.append(f"Augmentations {', '.join(facts['augmentations'])}, each alone, on {facts['dataset']}.{left}")
    return "\n\n".join(text)


def _means(table: pd.DataFrame) -> list[str]:
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
            rows.append([module, *counts, *means_of, f"{part['half'].max():.3f}", f"{part['converged'].min():.0%}"])
        head = ["module", "units", "dead", *groups, "± (median)", "converged"]
        text.append(f"**{name[0].upper()}{name[1:]}** ({means}), mean over units:\n\n" + grid(head, rows))
    return text


def _contrast_words(facts: Mapping[str, Any], table: pd.DataFrame) -> str:
    told = facts["contrast"]
    left = "".join(f" {n} images of {what} were left out for NaN or infinity." for what, n in told["left_out"].items())
    names = list(dict.fromkeys(table["augmentation"]))
    rows = []
    for module, part in table.groupby("module", sort=False):
        mine = part.set_index("augmentation").reindex(names)
        rows.append([module, *(f"{r:.2f} ({d:.0%})" for r, d in zip(mine["rank_biserial"], mine["discovered"], strict=True))])
    return (
        f"**Contrast**: each augmentation alone and always on, {told['images']} images, {told['draws']} draws of the parameters"
        f" averaged within the image. Mean size of the rank-biserial over units, and the share of units found to move at a false"
        f" discovery rate of {DISCOVERY:g} (Wilcoxon's signed ranks, Benjamini and Yekutieli):{left}\n\n"
        + grid(["module", *names], rows)
    )  # fmt: skip


WORDS = f"""## How to read it

- An index is a share of a unit's variance over all rows: *first order* what a group does alone, *total* what would be left if all
  others were held, *Shapley* its fair part. Estimates are signed and never clipped; maps show
  0 to 1, and histograms put what lies beyond -.1 and 1.1 into their last bins.
- ± is half of the 90 % interval over independent scramblings: the error of integration, for these images, not a statement about
  others. Converged: half at most {CONVERGED:g}. The page gives the median over units, for the group where it is largest.
- A unit is *dead* where its variance is at most 1e-8 of the mean variance of its module: left out, counted, grey in the maps.
- *Contrast* asks something else: does an augmentation alone move a unit the same way on most images? A unit that is moved far, up
  on one image and down on the next, has a large index and no contrast."""
