"""The results of a run over sensitivity: indices of every unit, their summary, shares by depth,
maps, histograms, and the page.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probes.atomic import write_text
from probes.measure.contrast import Contrast
from probes.measure.features import has_places
from probes.measure.indices import Replicates
from probes.studies.sensitivity import panels
from probes.studies.sensitivity import plots as indexplots
from probes.studies.sensitivity import together as indextogether
from probes.studies.sensitivity.summary import (
    COLUMNS,
    Moved,
    arrays,
    contrast_arrays,
    contrast_summary,
    summary,
)
from probes.studies.sensitivity.wording import WORDS, contrast_words, front, means
from probes.tell import plots
from probes.tell.closing import made_by
from probes.tell.markdown import slug
from probes.tell.plots import save_small
from probes.tell.reportfolder import manifest, replaceable, replacing_folder

Shapes = Mapping[str, Sequence[int]]


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
    """Write the results of a run into a folder, replacing those of an earlier run. Raises
    ProbesError for a folder with other files.

    ``found`` yields one module after the other, so that one is in memory at a time. ``moved`` are
    the contrasts by module and augmentation, ``sheets`` pictures and captions by augmentation.
    ``channels`` are the channels of each module that get a panel (None: the one that an
    augmentation moves most). ``analyse`` adds the analysis of the maps together
    (:mod:`probes.studies.sensitivity.together`).

    ``indices/MODULE.npz`` holds an array per index, (groups, *shape of the module), its half
    interval (``_half``), ``mean``, ``variance`` and ``dead``. ``contrasts/MODULE.npz`` holds arrays
    (augmentations, *shape).
    """
    replaceable(out)
    with replacing_folder(out) as folder:
        together: list[tuple[pd.DataFrame, pd.DataFrame]] = []
        tables, parts = [], {name: [f"### {name}"] for name in shapes}
        for name, one in found:
            _save(folder / "indices" / f"{name}.npz", arrays(one, shapes[name]))
            tables.append(summary(name, one))
            parts[name] += _pictures(
                folder, name, one, shapes[name], moved.get(name, {}), facts, channels
            )
            if analyse and has_places(shapes[name]) and len(facts["augmentations"]) > 1:
                text, *told = indextogether.analysed(
                    folder, name, one, shapes[name], facts["augmentations"]
                )
                parts[name] += text
                together.append((told[0], told[1]))
        for name, contrasts in moved.items():
            _save(folder / "contrasts" / f"{name}.npz", contrast_arrays(contrasts, shapes[name]))
            figure = indexplots.contrast_maps(contrasts, shapes[name], name)
            parts[name].append(
                _shown(
                    folder,
                    f"contrast_maps/{slug(name)}.png",
                    figure,
                    f"where augmentations alone move {name}",
                )
            )
        pages = []
        table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)
        if len(table):
            _csv(table, folder / "summary.csv")
            pages += means(table)
            figure = indexplots.by_depth(table, str(facts["subject"]))
            pages.append(_shown(folder, "shares.png", figure, "mean share of each group, by depth"))
        if together and len(
            identified := pd.concat([rows for rows, _ in together], ignore_index=True)
        ):
            _csv(identified, folder / "identify.csv")
            _csv(
                pd.concat([rows for _, rows in together], ignore_index=True),
                folder / "agreement.csv",
            )
            pages += indextogether.words(identified)
        if moved and len(contrast_table := contrast_summary(moved)):
            _csv(contrast_table, folder / "contrast.csv")
            figure = indexplots.contrasts(contrast_table, str(facts["subject"]))
            pages += [
                contrast_words(facts, contrast_table),
                _shown(folder, "contrast.png", figure, "contrast, by depth"),
            ]
        pages += [text for module in parts.values() if len(module) > 1 for text in module]
        if sheets:
            pages.append("### The augmentations")
        for name, (rows, captions) in (sheets or {}).items():
            figure = panels.sheet(rows, captions, name)
            pages.append(
                _shown(folder, f"augmentations/{slug(name)}.png", figure, f"{name} of three images")
            )
        write_text(
            folder / "run.json",
            json.dumps({**run, "design": dict(facts)}, indent=1, sort_keys=True) + "\n",
        )
        pages = [front(facts), *pages, WORDS, made_by(run)]
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
    folder: Path,
    name: str,
    one: Replicates,
    shape: Sequence[int],
    moved: Mapping[str, Contrast],
    facts: Mapping[str, Any],
    channels: Mapping[str, Sequence[int]] | None,
) -> list[str]:
    file = slug(name)
    maps = indexplots.maps(one, shape, name)
    text = [
        _shown(folder, f"maps/{file}.png", maps, f"indices of the units of {name}, where they are")
    ]
    text.append(
        _shown(
            folder,
            f"histograms/{file}.png",
            indexplots.histograms(one, name),
            f"how the indices of {name} are spread",
        )
    )
    if "second" in one.measured:
        text.append(
            _shown(
                folder,
                f"second/{file}.png",
                indexplots.pairs(one, name),
                f"second-order indices of {name}",
            )
        )
    if has_places(shape):
        names = facts["augmentations"]
        chosen = (
            channels.get(name, ())
            if channels is not None
            else [panels.strongest(one, shape, names)]
        )
        for channel in chosen:
            figure = panels.panel(one, shape, channel, name, moved)
            plots.save(
                figure, folder / "channels" / f"{file}-{channel}.png"
            )  # two scales of colours: all of them
            text.append(
                f"![channel {channel} of {name}, all indices](channels/{file}-{channel}.png)"
            )
    return text
