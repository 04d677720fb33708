"""The section of a report on guided masks: their cost compared with controls, and the findings of
the study that survive these.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from probes.errors import BadInput
from probes.studies.masking import plots as maskplots
from probes.studies.masking import responses
from probes.studies.masking.findings import WORDS, findings_of, own_masks
from probes.studies.masking.treeplot import tree as drawn_tree
from probes.tell.markdown import grid, slug
from probes.tell.plots import capital, save_small

TEXT = {"kind": str, "variable": str, "measure": str, "module": str, "input": str, "set": str}


def section(folder: Path) -> str:
    """Tables and figures from ``tables/responses.csv`` and the files beside it. Empty if there are
    none.
    """
    if not (folder / "tables" / "responses.csv").exists():
        return ""
    tables = {
        name: _read(folder / "tables" / f"{name}.csv")
        for name in ("responses", "classes", "decay", "ties")
    }
    table = tables["responses"]
    q, alpha = primary(table)
    text = [
        "## What guided masks cost",
        (
            "A mask scales units of every module that is masked, the same share of each: those"
            " with the largest index for a variable (*guided*), as many at random (*random*, the"
            " same draws for all images, variables and measures), or as many at random of each of"
            " 20 classes of magnitude (*matched*). Indices were measured on training images,"
            f" accuracy on test images. Where nothing else is said, the {1 - q:.0%} of the units"
            f" beyond the quantile {q:g} are multiplied by {alpha:g}."
        ),
    ]
    rows: list[list[str]] = []
    for name, part in table.groupby("set", sort=False):
        beside = responses.beside(part)
        others = {
            key: t[t["set"] == name] if len(t) else t
            for key, t in tables.items()
            if key != "responses"
        }
        text += [f"### {name}", *_costs(part, beside, (q, alpha))]
        others["alike"] = responses.response_similarity(part)
        try:
            tree: responses.Tree | BadInput = responses.tree(part)
        except BadInput as few:  # too few masks: the findings say so
            tree = few
        text += _figures(folder, str(name), part, beside, others, tree, (q, alpha))
        rows += findings_of(str(name), part, beside, others, tree, (q, alpha))
    head = ["augmentations", "finding", "as published", "with controls"]
    return "\n\n".join(
        [*text, "### Which of the study's findings survive the controls?", WORDS, grid(head, rows)]
    )


def _read(path: Path) -> pd.DataFrame:
    return (
        pd.read_csv(path, dtype=TEXT, keep_default_na=False, na_values=[""]).fillna(
            {"variable": "", "module": ""}
        )
        if path.exists()
        else pd.DataFrame()
    )


def primary(table: pd.DataFrame) -> tuple[float, float]:
    """The q and alpha that a report is about: .8 and 0 if they are there, else the first."""
    found = table[table["kind"] == "guided"]
    return tuple(
        want if want in set(found[name]) else found[name].iloc[0]
        for name, want in (("q", 0.8), ("alpha", 0.0))
    )  # type: ignore[return-value]


def _costs(table: pd.DataFrame, beside: pd.DataFrame, at: tuple[float, float]) -> list[str]:
    none = table[table["kind"] == "none"].set_index("input")
    own = own_masks(beside, at).set_index("input")
    rows = []
    for name in dict.fromkeys(table["input"]):
        row = [name, f"{none.loc[name, 'top1']:.1%}", f"{none.loc[name, 'top5']:.1%}"]
        if name in own.index:
            one = own.loc[name]
            row += [
                f"{one['top1']:.1%}",
                f"{one['random']:.1%} ({one['low']:.1%} to {one['high']:.1%})",
                f"{one['matched']:.1%} ({one['matched_low']:.1%} to {one['matched_high']:.1%})",
                f"{100 * one['excess']:+.1f}",
                f"{one['p']:.2g}",
            ]
        rows.append(row + [""] * (8 - len(row)))
    head = [
        "input",
        "top-1",
        "top-5",
        f"guided by its own {beside['measure'].iloc[0]} index",
        "random (90 % of draws)",
        "matched (90 % of draws)",
        "guided less random, points",
        "share of random masks that cost as much",
    ]
    return [grid(head, rows)]


def _figures(
    folder: Path,
    name: str,
    table: pd.DataFrame,
    beside: pd.DataFrame,
    others: dict[str, pd.DataFrame],
    tree: responses.Tree | BadInput,
    at: tuple[float, float],
) -> list[str]:
    file, title = slug(name), capital(name)
    draws = {
        "curves": (
            maskplots.curves(table, beside, title),
            "accuracy against the share of masked units, guided and at random",
        ),
        "excesses": (
            maskplots.excesses(beside, at, title),
            "guided less random accuracy, for every input and mask",
        ),
        "alike": (
            maskplots.alike(others["alike"], title),
            "responses on inputs and on clean images",
        ),
    }
    if isinstance(tree, responses.Tree):
        draws["tree"] = (
            drawn_tree(tree, title),
            "which masks respond alike",
        )
    if (beside["module"] != "").any():
        draws["alone"] = (
            maskplots.alone(beside, title),
            "one module masked at a time",
        )
    if len(others["decay"]):
        draws["decay"] = (
            maskplots.decay(others["decay"], title),
            "the largest indices of the last layer's units",
        )
        inputs = list(dict.fromkeys(table["input"]))
        draws["classes"] = (
            maskplots.classes(others["classes"], inputs, title),
            "how often the most sensitive classes are named, less chance",
        )
    text = []
    for kind, (figure, caption) in draws.items():
        save_small(figure, folder / "figures" / f"{kind}-{file}.png", 256, rare=True)
        text.append(f"![{caption}](figures/{kind}-{file}.png)")
    return text
