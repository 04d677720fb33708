"""The files of a run over feature maps: values, aggregates, statistics and pictures of an image,
and the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from torch import Tensor

from probes.axes import folded
from probes.measure.mapstats import STATISTICS, MapStatistics
from probes.studies.features import plots as pictures
from probes.tell.markdown import grid
from probes.tell.plots import save_small


def described(layer: str, level: float, found: MapStatistics) -> pd.DataFrame:
    """The statistics of a layer at a level as a table, a row per depth."""
    table = pd.DataFrame(found.summary())[list(STATISTICS)]
    table.insert(0, "depth", np.arange(len(table)))
    table.insert(0, "level", level)
    table.insert(0, "layer", layer)
    return table


def tables(statistics: Mapping[tuple[str, float], MapStatistics]) -> dict[str, pd.DataFrame]:
    """The statistics by layer and level as tables, by depth and by layer, in the order given."""
    return {
        "statistics_by_depth": pd.concat([described(*key, s) for key, s in statistics.items()]),
        "statistics_by_layer": (
            pd.concat([described(*key, s.layer()) for key, s in statistics.items()]).drop(
                columns="depth"
            )
        ),
    }


# --- files of one image
# --------------------------------------------------------------------------------------------------


def one_image(
    folder: Path,
    maps: Mapping[float, Mapping[str, Tensor]],
    images: Mapping[float, np.ndarray],
    captions: Mapping[float, str],
    title: str,
    scale: str,
    values: str,
) -> None:
    """The folder of one image: values, aggregates, statistics, noisy images, pictures."""
    folder.mkdir(parents=True)
    names = pictures.names_of(list(maps))
    arrays = {
        level: {layer: m.float().cpu().numpy() for layer, m in by.items()}
        for level, by in maps.items()
    }
    for level, name in names.items():
        pictures.save_image(images[level], folder / f"image_{name}.png")
        if values in ("both", "csv"):
            write_wide(arrays[level], folder / f"features_{name}.csv")
    if values in ("both", "parquet"):
        write_long(arrays, folder / "features.parquet")
    statistics = {
        (layer, level): MapStatistics.of(m[None])
        for level, by in maps.items()
        for layer, m in by.items()
    }
    for name, table in tables(statistics).items():
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")
    (folder / "aggregated").mkdir()
    layers = list(arrays[0.0])
    for layer in layers:
        summed = pd.DataFrame(
            {name: arrays[level][layer].sum(0).ravel() for level, name in names.items()}
        )
        summed.to_csv(
            folder / "aggregated" / f"{layer}.csv",
            index=False,
            float_format="%.6g",
            lineterminator="\n",
        )
    for layer in layers:
        for depths in pictures.groups(len(arrays[0.0][layer])):
            part = slice(depths.start, depths.stop)
            place = f"{layer}_{depths.start:03}-{depths.stop - 1:03}"
            for level, name in names.items():
                clean, here = (folded(arrays[at][layer][part]) for at in (0.0, level))
                what = f"{title}, {layer}, {'clean' if not level else f'noise {level:g}'}"
                save_small(
                    pictures.grid(here, what, depths.start, scale),
                    folder / "maps" / f"{place}_{name}.png",
                )
                if level:
                    figure = pictures.grid(
                        here - clean, f"{what}: difference to clean", depths.start, signed=True
                    )
                    save_small(figure, folder / "difference" / f"{place}_{name}.png")
    histograms(folder / "histograms", statistics, list(maps), title)
    means = {
        names[level]: {layer: folded(m).mean(0) for layer, m in by.items()}
        for level, by in arrays.items()
    }
    sheet = pictures.contact(
        {names[level]: image for level, image in images.items()},
        means,
        {names[lv]: text for lv, text in captions.items()},
        title,
    )
    save_small(sheet, folder / "contact_sheet.png")


def write_wide(maps: Mapping[str, np.ndarray], path: Path) -> None:
    """A CSV in the format of the study: a column per layer and depth, a row per position. Shorter
    columns end in empty cells.
    """
    longest = max(m[0].size for m in maps.values())
    columns, names = [], []
    for layer, m in maps.items():
        flat = m.reshape(len(m), -1)
        empty = pa.nulls(longest - flat.shape[1], pa.float32())
        for depth, row in enumerate(flat):
            columns.append(pa.chunked_array([pa.array(row), empty]).combine_chunks())
            names.append(f"{layer}_{depth}")
    pyarrow.csv.write_csv(pa.table(columns, names=names), path)


def write_long(maps: Mapping[float, Mapping[str, np.ndarray]], path: Path) -> None:
    """A Parquet file without padding: a row per level, layer and depth, with the values of its map
    as a list.
    """
    found: dict[str, list[Any]] = {
        name: [] for name in ("level", "layer", "depth", "height", "width", "values")
    }
    for level, by in maps.items():
        for layer, m in by.items():
            for depth, one in enumerate(m):
                for name, value in zip(
                    found, (level, layer, depth, *one.shape, one.ravel()), strict=True
                ):
                    found[name].append(value)
    pyarrow.parquet.write_table(pa.table(found), path, compression="zstd")


def histograms(
    folder: Path,
    statistics: Mapping[tuple[str, float], MapStatistics],
    levels: Sequence[float],
    title: str,
    by_depth: bool = True,
) -> None:
    """Histograms by layer and (with ``by_depth``) by depth: 64 depths to a picture, the levels
    overlaid.
    """
    names = pictures.names_of(levels)
    layers = list(dict.fromkeys(layer for layer, _ in statistics))
    edges, whole = {}, {}
    for layer in layers:
        by = {level: statistics[layer, level] for level in levels}
        every = [s.layer() for s in by.values()]
        low, high = (
            min(s.quantile(0.001)[0] for s in every),
            max(s.quantile(0.999)[0] for s in every),
        )
        edges[layer] = np.linspace(low, high if high > low else low + 1, 41)
        whole[layer] = {
            names[lv]: (s.histogram(edges[layer]) / s.n[:, None])[0]
            for lv, s in zip(by, every, strict=True)
        }
        for depths in pictures.groups(len(by[levels[0]].n)) if by_depth else ():
            part = slice(depths.start, depths.stop)
            coarse = edges[layer][::2]
            shares = {names[lv]: (s.histogram(coarse) / s.n[:, None])[part] for lv, s in by.items()}
            figure = pictures.by_depth(shares, coarse, f"{title}, {layer}", depths.start)
            save_small(
                figure, folder / f"{layer}_by_depth_{depths.start:03}-{depths.stop - 1:03}.png", 110
            )
    save_small(pictures.by_layer(whole, edges, title), folder / "by_layer.png")


def page(
    run: Mapping[str, Any],
    moved: pd.DataFrame,
    layer: pd.DataFrame,
    title: str,
    names: Sequence[str],
    each: int,
    judged: Sequence[str] = (),
) -> str:
    """The page of a run: its settings, how far the maps move, statistics by layer, and a contact
    sheet per image.
    """
    how = "normalised image" if run["space"] == "normalised" else "pixel range"
    text = [
        f"# Feature maps of `{run['net']}` under noise",
        f"`{run['command']}`",
        (
            f"{len(names):,} image{'s' * (len(names) > 1)} of {title}; weights {run['weights']},"
            f" SHA-256 {run['sha256'][:12]}; noise of standard deviation"
            f" {', '.join(f'{v:g}' for v in run['levels'][1:]) or 0} in units of the {how},"
            f" {'clamped' if run['clamp'] else 'not clamped'}, seed {run['seed']}."
        ),
        "![activations by layer](histograms/by_layer.png)",
    ]
    if len(moved):
        shown = moved[["layer", "level", "images", "distance", "cosine", "cka"]]
        text += [
            "## How far the maps move",
            (
                "Means over images of ||f - f0|| / ||f0|| and of the cosine; f0: clean maps."
                " Unbiased linear CKA from 4 images."
            ),
            "![distance, cosine and CKA against noise](moved.png)",
            grid(
                list(shown.columns),
                [[_number(v) for v in row] for row in shown.itertuples(index=False)],
            ),
        ]
    if judged:
        text.append(
            "Claims, judged on the dataset with noise in pixel space"
            f" ([claims/report.md](claims/report.md)): {'; '.join(judged)}."
        )
    columns = [c for c in layer.columns if c != "n"]
    text += [
        "## Statistics by layer",
        (
            "Over all images, depths and positions; quantiles from counts on edges 3 % apart. By"
            " depth: `statistics_by_depth`."
        ),
        grid(
            columns, [[_number(v) for v in row] for row in layer[columns].itertuples(index=False)]
        ),
    ]
    if each:
        text.append(
            "## Images\n\nEach has a folder: values, sums over depths (`aggregated/`), statistics,"
            " maps, differences, histograms."
        )
        text += [f"![{name} at every level]({name}/contact_sheet.png)" for name in names[:each]]
    return "\n\n".join(text) + "\n"


def _number(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if np.isnan(value) else f"{value:.4g}"
