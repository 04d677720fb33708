"""The section of a report on guided masks: what they cost beside their controls, and which findings of the study survive these."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from probes.errors import BadInput
from probes.studies.masking import plots as maskplots
from probes.studies.masking import responses
from probes.studies.masking.plots import CLEAN
from probes.tell.pages import grid, slug
from probes.tell.plots import save_small

TEXT = {"kind": str, "variable": str, "measure": str, "module": str, "input": str, "set": str}
SURE = 0.05


def section(folder: Path) -> str:
    """Tables and figures from ``tables/responses.csv`` and those beside it; empty where there are none."""
    if not (folder / "tables" / "responses.csv").exists():
        return ""
    tables = {name: _read(folder / "tables" / f"{name}.csv") for name in ("responses", "classes", "decay", "ties")}
    table = tables["responses"]
    q, alpha = primary(table)
    text = [
        "## What guided masks cost",
        "A mask scales units of every module that is masked, the same share of each: those with the largest index for a variable"
        " (*guided*), as many at random (*random*, the same draws for all images, variables and measures), or as many at random of"
        " each of 20 classes of magnitude (*matched*). Indices were measured on training images, accuracy on test images."
        f" Where nothing else is said, the {1 - q:.0%} of the units beyond the quantile {q:g} are multiplied by {alpha:g}.",
    ]
    rows: list[list[str]] = []
    for name, part in table.groupby("set", sort=False):
        beside = responses.beside(part)
        others = {key: t[t["set"] == name] if len(t) else t for key, t in tables.items() if key != "responses"}
        text += [f"### {name}", *_costs(part, beside, (q, alpha))]
        others["alike"] = responses.alike(part)
        try:
            tree: responses.Tree | BadInput = responses.tree(part)
        except BadInput as few:  # too few masks: the findings say so
            tree = few
        text += _figures(folder, str(name), part, beside, others, tree, (q, alpha))
        rows += _findings(str(name), part, beside, others, tree, (q, alpha))
    head = ["augmentations", "finding", "as published", "with controls"]
    return "\n\n".join([*text, "### Which of the study's findings survive the controls?", WORDS, grid(head, rows)])


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=TEXT, keep_default_na=False, na_values=[""]).fillna(
        {"variable": "", "module": ""}) if path.exists() else pd.DataFrame()  # fmt: skip


def primary(table: pd.DataFrame) -> tuple[float, float]:
    """The q and alpha that a report is about: .8 and 0 where they are there, else the first."""
    found = table[table["kind"] == "guided"]
    return tuple(want if want in set(found[name]) else found[name].iloc[0] for name, want in (("q", 0.8), ("alpha", 0.0)))  # type: ignore[return-value]


def _own(beside: pd.DataFrame, at: tuple[float, float]) -> pd.DataFrame:
    """Masks of an input's own augmentation by the first measure, of all modules, at one q and alpha."""
    first = beside["measure"].iloc[0]
    here = (beside["q"] == at[0]) & (beside["alpha"] == at[1]) & (beside["module"] == "") & (beside["measure"] == first)
    return beside[here & (beside["input"] == beside["variable"])]


def _costs(table: pd.DataFrame, beside: pd.DataFrame, at: tuple[float, float]) -> list[str]:
    none = table[table["kind"] == "none"].set_index("input")
    own = _own(beside, at).set_index("input")
    rows = []
    for name in dict.fromkeys(table["input"]):
        row = [name, f"{none.loc[name, 'top1']:.1%}", f"{none.loc[name, 'top5']:.1%}"]
        if name in own.index:
            one = own.loc[name]
            row += [f"{one['top1']:.1%}", f"{one['random']:.1%} ({one['low']:.1%} to {one['high']:.1%})",
                    f"{one['matched']:.1%} ({one['matched_low']:.1%} to {one['matched_high']:.1%})",
                    f"{100 * one['excess']:+.1f}", f"{one['p']:.2g}"]  # fmt: skip
        rows.append(row + [""] * (8 - len(row)))
    head = ["input", "top-1", "top-5", f"guided by its own {beside['measure'].iloc[0]} index", "random (90 % of draws)",
            "matched (90 % of draws)", "guided less random, points", "share of random masks that cost as much"]  # fmt: skip
    return [grid(head, rows)]


def _figures(
    folder: Path, name: str, table: pd.DataFrame, beside: pd.DataFrame, others: dict[str, pd.DataFrame],
    tree: responses.Tree | BadInput, at: tuple[float, float],
) -> list[str]:  # fmt: skip
    file = slug(name)
    draws = {
        "curves": (maskplots.curves(table, beside, f"Accuracy with masked units, {name}"),
                   "accuracy against the share of masked units, guided and at random"),
        "excesses": (maskplots.excesses(beside, at, f"What guidance adds to the size of a mask, {name}"),
                     "guided less random accuracy, for every input and mask"),
        "alike": (maskplots.alike(others["alike"], f"Do masks do on an input what they do on clean images? {name}"),
                  "responses on inputs and on clean images"),
    }  # fmt: skip
    if isinstance(tree, responses.Tree):
        draws["tree"] = (maskplots.tree(tree, f"Masks that respond alike beyond their size, {name}"),
                         "which masks respond alike")  # fmt: skip
    if (beside["module"] != "").any():
        draws["alone"] = (maskplots.alone(beside, f"One module masked at a time, {name}"), "one module masked at a time")
    if len(others["decay"]):
        draws["decay"] = (maskplots.decay(others["decay"], f"The last layer's most sensitive units, {name}"),
                          "the largest indices of the last layer's units")  # fmt: skip
        inputs = list(dict.fromkeys(table["input"]))
        draws["classes"] = (maskplots.classes(others["classes"], inputs, f"Are the most sensitive classes named? {name}"),
                            "how often the most sensitive classes are named, less chance")  # fmt: skip
    text = []
    for kind, (figure, caption) in draws.items():
        save_small(figure, folder / "figures" / f"{kind}-{file}.png", 256, rare=True)
        text.append(f"![{caption}](figures/{kind}-{file}.png)")
    return text


def _findings(
    name: str, table: pd.DataFrame, beside: pd.DataFrame, others: dict[str, pd.DataFrame], tree: responses.Tree | BadInput,
    at: tuple[float, float],
) -> list[list[str]]:  # fmt: skip
    none = table[table["kind"] == "none"].set_index("input")["top1"]
    own = _own(beside, at)
    lost = 100 * (none.reindex(own["input"]).to_numpy() - own["top1"].to_numpy())
    drawn = [table.loc[(table["module"] == "") & (table["kind"] == kind), "draw"].nunique() for kind in ("random", "matched")]
    random, matched = (_count(own[p], 1 / (1 + many)) for p, many in zip(("p", "p_matched"), drawn, strict=True))
    rows = [["removing the units most sensitive to an augmentation lowers accuracy under it",
             f"by {lost.mean():.1f} points on average, in {int((lost > 0).sum())} of {len(own)}",
             f"more than 95 % of random masks do: {random}; than 95 % of matched ones: {matched}"]]  # fmt: skip
    clean = beside[(beside["input"] == CLEAN) & (beside["q"] == at[0]) & (beside["alpha"] == at[1]) & (beside["module"] == "")]
    costs = clean[clean["measure"] == own["measure"].iloc[0]].set_index("variable")["top1"].reindex(own["variable"])
    more = lost - 100 * (none[CLEAN] - costs.to_numpy())
    rows.append(["and it does so because of the augmentation", "clean images are not set beside it",
                 f"it costs {more.mean():+.1f} points more under the augmentation than on clean images, on average; more in"
                 f" {int((more > 0).sum())} of {len(own)}"])  # fmt: skip
    both = others["alike"]
    rows.append(["masks do on augmented images what they do on clean ones", f"rho {both['published'].mean():.2f} on average",
                 f"rho {both['rho'].mean():.2f} beyond size; p at most {SURE:g}:"
                 f" {_count(both['p'], 1 / math.factorial(int(both['variables'].min())))}"])  # fmt: skip
    rows.append(_clusters(tree) if isinstance(tree, responses.Tree) else ["masks fall into groups", "", f"not told: {tree}"])
    if len(others["ties"]):
        worst = others["ties"].assign(more=lambda t: t["share"] - (1 - t["q"])).sort_values("more").iloc[-1]
        share = f"of {worst['module']} by {worst['measure']} of {worst['variable']}, q {worst['q']:g}: {worst['share']:.0%}"
        rows.append(["the quantile q masks a share of 1 - q", share, f"{1 - worst['q']:.0%}, ties broken"])
    if len(others["classes"]):
        found = others["classes"][others["classes"]["mask"] == "none"]
        off = found["value"] - found["chance"]
        told = f"p at most {SURE:g}: {_count(found['p'], 0)}"
        if found["what"].iloc[0] == "top-1":  # of a few classes, no p is small
            told = f"{off.min():+.2f} to {off.max():+.2f} from it"
        rows.append([f"the most sensitive classes show among the answers ({found['what'].iloc[0]})",
                     f"{found['value'].mean():.3f} on average", f"chance {found['chance'].mean():.3f}; {told}"])  # fmt: skip
    return [[name, *row] for row in rows]


def _count(p: pd.Series, smallest: float) -> str:
    """In how many comparisons a p is small; where none can be, that is said."""
    if smallest > SURE:
        return f"can't be told, no p is below {smallest:.2g}"
    return f"in {int((p <= SURE).sum())} of {len(p)}"


def _clusters(found: responses.Tree) -> list[str]:
    sizes = pd.Series(found.clusters).value_counts()
    groups = int((sizes > 1).sum())
    return ["masks fall into groups", f"|rho| of their accuracies {found.published:.2f} on average: all are alike",
            f"rho {found.mean:.2f} on average beyond size; {groups} groups of two or more among {len(found.names)} masks where only"
            " 5 % of pairs of random masks are as near"]  # fmt: skip


WORDS = f"""*As published* sets a masked network beside the unmasked one, takes all settings of q and alpha as one vector, and has
no random masks. *With controls* sets it beside random masks of the same size. Counts at {SURE:g} are of single comparisons: of
twenty without any effect one is expected. Masks of one variable by different measures share most of their units, and lie together
for that reason. The verdicts below judge the first two rows, over images and over draws of masks."""
