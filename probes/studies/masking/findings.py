"""Which findings of the study of guided masks survive the controls."""

from __future__ import annotations

import math

import pandas as pd

from probes.errors import BadInput
from probes.studies.masking import responses
from probes.studies.masking.plots import CLEAN

SURE = 0.05


def own_masks(beside: pd.DataFrame, at: tuple[float, float]) -> pd.DataFrame:
    """Masks of an input's own augmentation by the first measure, of all modules, at one q and
    alpha.
    """
    first = beside["measure"].iloc[0]
    here = (
        (beside["q"] == at[0])
        & (beside["alpha"] == at[1])
        & (beside["module"] == "")
        & (beside["measure"] == first)
    )
    return beside[here & (beside["input"] == beside["variable"])]


def findings_of(
    name: str,
    table: pd.DataFrame,
    beside: pd.DataFrame,
    others: dict[str, pd.DataFrame],
    tree: responses.Tree | BadInput,
    at: tuple[float, float],
) -> list[list[str]]:
    """The study's findings as rows of a table, each as published and with controls."""
    none = table[table["kind"] == "none"].set_index("input")["top1"]
    own = own_masks(beside, at)
    lost = 100 * (none.reindex(own["input"]).to_numpy() - own["top1"].to_numpy())
    drawn = [
        table.loc[(table["module"] == "") & (table["kind"] == kind), "draw"].nunique()
        for kind in ("random", "matched")
    ]
    random, matched = (
        _count(own[p], 1 / (1 + many)) for p, many in zip(("p", "p_matched"), drawn, strict=True)
    )
    rows = [
        [
            "removing the units most sensitive to an augmentation lowers accuracy under it",
            f"by {lost.mean():.1f} points on average, in {int((lost > 0).sum())} of {len(own)}",
            f"more than 95 % of random masks do: {random}; than 95 % of matched ones: {matched}",
        ]
    ]
    clean = beside[
        (beside["input"] == CLEAN)
        & (beside["q"] == at[0])
        & (beside["alpha"] == at[1])
        & (beside["module"] == "")
    ]
    costs = (
        clean[clean["measure"] == own["measure"].iloc[0]]
        .set_index("variable")["top1"]
        .reindex(own["variable"])
    )
    more = lost - 100 * (none[CLEAN] - costs.to_numpy())
    rows.append(
        [
            "and it does so because of the augmentation",
            "clean images are not set beside it",
            (
                f"it costs {more.mean():+.1f} points more under the augmentation than on clean"
                f" images, on average; more in {int((more > 0).sum())} of {len(own)}"
            ),
        ]
    )
    both = others["alike"]
    rows.append(
        [
            "masks do on augmented images what they do on clean ones",
            f"rho {both['published'].mean():.2f} on average",
            (
                f"rho {both['rho'].mean():.2f} beyond size; p at most {SURE:g}:"
                f" {_count(both['p'], 1 / math.factorial(int(both['variables'].min())))}"
            ),
        ]
    )
    rows.append(
        _clusters(tree)
        if isinstance(tree, responses.Tree)
        else ["masks fall into groups", "", f"not told: {tree}"]
    )
    if len(others["ties"]):
        ties = others["ties"].assign(more=lambda t: t["share"] - (1 - t["q"]))
        worst = ties.iloc[int(ties["more"].to_numpy().argmax())]  # the first of equal ones
        share = (
            f"of {worst['module']} by {worst['measure']} of {worst['variable']}, q {worst['q']:g}:"
            f" {worst['share']:.0%}"
        )
        rows.append(
            ["the quantile q masks a share of 1 - q", share, f"{1 - worst['q']:.0%}, ties broken"]
        )
    if len(others["classes"]):
        found = others["classes"][others["classes"]["mask"] == "none"]
        off = found["value"] - found["chance"]
        told = f"p at most {SURE:g}: {_count(found['p'], 0)}"
        if found["what"].iloc[0] == "top-1":  # of a few classes, no p is small
            told = f"{off.min():+.2f} to {off.max():+.2f} from it"
        rows.append(
            [
                f"the most sensitive classes show among the answers ({found['what'].iloc[0]})",
                f"{found['value'].mean():.3f} on average",
                f"chance {found['chance'].mean():.3f}; {told}",
            ]
        )
    return [[name, *row] for row in rows]


def _count(p: pd.Series, smallest: float) -> str:
    """The number of comparisons with a small p, in words. If no p can be small, the text says
    so.
    """
    if smallest > SURE:
        return f"can't be told, no p is below {smallest:.2g}"
    return f"in {int((p <= SURE).sum())} of {len(p)}"


def _clusters(found: responses.Tree) -> list[str]:
    sizes = pd.Series(found.clusters).value_counts()
    groups = int((sizes > 1).sum())
    return [
        "masks fall into groups",
        f"|rho| of their accuracies {found.published:.2f} on average: all are alike",
        (
            f"rho {found.mean:.2f} on average beyond size; {groups} groups of two or more among"
            f" {len(found.names)} masks where only 5 % of pairs of random masks are as near"
        ),
    ]


WORDS = f"""*As published* sets a masked network beside the unmasked one, takes all settings of q and alpha as one vector, and has
no random masks. *With controls* sets it beside random masks of the same size. Counts at {SURE:g} are of single comparisons: of
twenty without any effect one is expected. Masks of one variable by different measures share most of their units, and lie together
for that reason. The verdicts below judge the first two rows, over images and over draws of masks."""  # noqa: E501
