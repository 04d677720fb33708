"""The report of a comparison: its folder, and its section at the top of the page."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probes import studies
from probes import table as tables
from probes.comparing import plots as drawn
from probes.comparing.answers import Row, margin_of
from probes.comparing.telling import effect_of, in_words, p_of, value_of
from probes.judge.wording import counted, cover
from probes.tell import plots, report
from probes.tell.markdown import grid
from probes.tell.reportfolder import Sections

PICTURES = "aside/flipped.npy"
CLASSES = 12
"""Classes that have a column each; of more, those that lose most are named."""


def sections() -> Sections:
    """What comparisons and studies add to a report."""
    every = studies.sections()
    return dataclasses.replace(every, front=(("tables/compare.csv", section), *every.front))


def write(
    lines: Sequence[Mapping[str, Any]],
    tables: Mapping[str, pd.DataFrame],
    pictures: np.ndarray | None,
    folder: Path,
    run: Mapping[str, Any],
) -> Path:
    """Write the report of a comparison from its evidence lines, its tables and the pictures of
    flipped images; the path of its page.
    """
    files: dict[str, bytes] = {}
    if pictures is not None:
        kept = io.BytesIO()
        np.save(kept, pictures)
        files[PICTURES] = kept.getvalue()
    report.assemble(lines, run, folder, tables, files, sections())
    return folder / "report.md"


def section(folder: Path) -> str:
    """The answer, the table, flips and the profile, from the files of a report."""
    place = folder / "tables"
    table = pd.read_csv(place / "compare.csv", keep_default_na=False, na_values=["nan"])
    table["margin"] = table["margin"].astype(str)
    first = table.iloc[0]
    names = [field.name for field in dataclasses.fields(Row)]
    rows = [Row(*values) for values in table[names].itertuples(index=False)]
    answer = in_words(first["overall"], rows)
    old, new = first["old_network"], first["new_network"]
    text = [
        f"## Is the new one worse? **{first['overall'].capitalize()}**",
        f"Old: `{old}`. New: `{new}`. {answer[:1].upper()}{answer[1:]}.",
        *(f"{note[:1].upper()}{note[1:]}." for note in first["notes"].split("; ") if note),
        _table(rows, table["margin"].tolist(), table["level"].tolist()),
        "Both networks see the same images and the same draws; the difference is taken image by"
        " image and turned so that above 0 the new network is better. *Worse*: it lies below minus"
        " the margin; *not worse*: above that; *better*: above the margin; *open*: none of these is"
        " shown. Any false *worse* or *better* has at most the chance"
        f" {first['alpha']:g}.",
    ]
    for metric, mine in table.groupby("metric", sort=False):
        name = f"figures/difference-{metric}.png"
        value, unit = margin_of(mine["margin"].iloc[0], str(metric))
        edge = value / 100 if unit else value
        title = f"{tables.label_of(str(metric))}: {new} against {old}"
        covered = cover(mine["level"].iloc[0])
        plots.save(drawn.differences(mine, edge, title, covered), folder / name)
        text.append(f"![the difference under each condition, with the margin]({name})")
    text += _flips(folder, place)
    if (place / "insides.csv").exists():
        found = pd.read_csv(place / "insides.csv")
        many = counted(int(found["images"][0]), "clean image")
        title = f"Where they part: {new} against {old}, {many}"
        plots.save(drawn.profile(found, title), folder / "figures" / "insides.png")
        text += [
            "### Where the two part",
            _parting(found),
            "![distance, CKA and norm of h by layer](figures/insides.png)",
        ]
    else:
        text += [
            "### Where the two part",
            "Not told: it needs both networks, with layers of the same names.",
        ]
    return "\n\n".join(text)


def _table(rows: Sequence[Row], margins: Sequence[str], levels: Sequence[float]) -> str:
    covers = [cover(level) for level in levels]
    one = len(set(covers)) == 1
    head = ["condition", "answer", f"difference [{covers[0]}]" if one else "difference", "old"]
    head += ["new", "margin", "n", "p", ""]
    body = [
        [
            row.condition,
            f"**{row.answer}**",
            effect_of(row) + ("" if one else f" ({covered})"),
            value_of(row, row.old),
            value_of(row, row.new),
            margin,
            counted(row.n, row.unit),
            p_of(row),
            row.why,
        ]
        for row, margin, covered in zip(rows, margins, covers, strict=True)
    ]
    if len({row.metric for row in rows}) > 1:
        head.insert(0, "metric")
        body = [
            [tables.label_of(row.metric), *cells] for row, cells in zip(rows, body, strict=True)
        ]
    return grid(head, body)


def _both(lost: int, won: int) -> str:
    """Images of a class that were lost and won; nothing where there are none."""
    return " ".join([*([f"-{lost}"] if lost else []), *([f"+{won}"] if won else [])])


def _flips(folder: Path, place: Path) -> list[str]:
    found = pd.read_csv(place / "flips.csv", dtype={"class": str}, keep_default_na=False)
    classes = list(dict.fromkeys(found["class"]))
    order = list(dict.fromkeys(found["condition"]))
    rows = []
    for name in order:
        mine = found[found["condition"] == name].set_index("class")
        total = [name, f"{mine['lost'].sum():,}", f"{mine['won'].sum():,}"]
        if len(classes) <= CLASSES:
            cells = [_both(mine["lost"].get(c, 0), mine["won"].get(c, 0)) for c in classes]
        else:
            worst = (mine["lost"] - mine["won"]).sort_values(ascending=False, kind="stable")
            cells = [", ".join(f"{c} ({n:+d})" for c, n in (-worst[worst > 0][:5]).items())]
        rows.append([*total, *cells])
    head = classes if len(classes) <= CLASSES else ["classes that lose most (won less lost)"]
    text = [
        "### Images that flipped",
        "*Lost*: named right by the old network and wrong by the new one (with several draws or"
        " runs: right less often). *Won*: the other way round. By class -lost +won.",
        grid(["condition", "lost", "won", *head], rows),
    ]
    if (place / "flipped.csv").exists() and (folder / PICTURES).exists():
        told = pd.read_csv(
            place / "flipped.csv",
            dtype={"label": str, "old": str, "new": str},
            keep_default_na=False,
        )
        images = np.load(folder / PICTURES)
        figure = drawn.flipped(
            images, told, "The first images that flip; below each its class, and old → new"
        )
        plots.save(figure, folder / "figures" / "flipped.png")
        text.append(
            "![the first images that flip, with what the old and the new network say]"
            "(figures/flipped.png)"
        )
    return text


def _parting(found: pd.DataFrame) -> str:
    """The layer after which the two differ most, in words."""
    if not found["cka"].notna().any():
        return "Features by layer, on the clean images."
    cka = found.set_index("layer")["cka"]
    falls = cka.shift(1, fill_value=1.0) - cka
    return (
        f"Features of both networks on the clean images, layer by layer. CKA falls most at"
        f" `{falls.idxmax()}` (by {falls.max():.3f}) and is lowest at `{cka.idxmin()}`"
        f" ({cka.min():.3f}). Distance depends on how channels are numbered, CKA does not."
    )
