"""The section of a report on robustness: a table that can be pasted, a map of losses, curves,
reliability diagrams, published numbers, images whose answers change.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from probes.judge.wording import counted
from probes.studies.robustness.claims import judged_severity
from probes.studies.robustness.plots import curves, diagrams, flipped, level_of, lost, spelt
from probes.tell import plots
from probes.tell.markdown import grid

CORRUPTIONS = "corruptions"
TEXT = (
    *("net", "kind", "perturbation", "corruption", "axis", "done", "relative_to"),
    *("label", "clean_answer", "answer"),
)
"""Columns of names, which may look like numbers: classes, and the layers that get noise."""


def section(folder: Path) -> str:
    """Tables and figures from ``tables/conditions.csv`` and the files beside it."""
    table, kinds, errors, reliability, published, flips = (
        _read(folder, name)
        for name in (
            "conditions",
            "kinds",
            "errors",
            "reliability",
            "published-corruptions",
            "flips",
        )
    )
    assert table is not None
    assert kinds is not None
    axes = dict(zip(kinds["kind"], kinds["axis"], strict=True))
    runs = int(table.groupby("net")["train_seed"].nunique().max())
    text = [
        "## Robustness",
        "Every network sees the same images and draws"
        + (f"; numbers are means over {runs} training runs." if runs > 1 else "."),
        "\n".join(f"- {done}." for done in kinds["done"]),
    ]
    figures: dict[str, tuple[object, str]] = {}
    if errors is not None and reliability is not None:
        text += [
            _overall(table, errors, runs),
            _by_corruption(table, errors),
            _latex(table, errors),
        ]
        levels = sorted(table.loc[table["kind"] == CORRUPTIONS, "level"].unique())
        judged = judged_severity(levels)
        figures["lost"] = (
            lost(table, judged),
            "points of accuracy lost under each corruption, by network or severity",
        )
        figures["corruptions"] = (
            curves(table, [CORRUPTIONS], axes),
            "accuracy and confidence against severity, a panel for each corruption",
        )
        figures["reliability"] = (
            diagrams(reliability),
            "reliability diagrams: accuracy against confidence, clean and by severity",
        )
    if others := [kind for kind in axes if kind != CORRUPTIONS]:
        figures["others"] = (
            curves(_arms(table), others, axes),
            "accuracy and confidence against the level, a panel for each perturbation",
        )
    if flips is not None and len(flips):
        figures["flips"] = (
            flipped(flips),
            "the images whose answers change most often, clean and where they change first",
        )
    for name, (figure, caption) in figures.items():
        path = folder / "figures" / f"{name}.png"
        (plots.save_small if name == "flips" else plots.save)(figure, path)
        text.append(f"![{caption}](figures/{name}.png)")
    if others:
        text.append(_others(table, axes, others))
    if published is not None:
        text.append(_published(published, set(table["net"])))
    return "\n\n".join(text)


def _read(folder: Path, name: str) -> pd.DataFrame | None:
    path = folder / "tables" / f"{name}.csv"
    if not path.exists():
        return None
    text = dict.fromkeys(TEXT, str)
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])


def _arms(table: pd.DataFrame) -> pd.DataFrame:
    """The table with attacks and the noise beside them told apart by kind, too."""
    beside = table["perturbation"].isin(("attack", "noise")) & (table["kind"] != "noise")
    return table.assign(
        perturbation=table["perturbation"].where(
            ~beside, table["kind"] + ": " + table["perturbation"]
        )
    )


def _spread(rows: pd.DataFrame, name: str) -> str:
    """A mean: with its interval for one run, with the range of several."""
    if len(rows) > 1:
        return f"{rows[name].mean():.1f} ({rows[name].min():.1f} to {rows[name].max():.1f})"
    row = rows.iloc[0]
    return f"{row[name]:.1f} [{row[f'{name}_low']:.1f}, {row[f'{name}_high']:.1f}]"


def _overall(table: pd.DataFrame, errors: pd.DataFrame, runs: int) -> str:
    at = table[table["kind"] == CORRUPTIONS]
    over = str(errors["relative_to"].astype(object).fillna("").iloc[0])
    header = [
        "network",
        "clean accuracy (%)",
        "mean corruption error (%)",
        *([f"relative to {over} (%)"] if over else []),
        "answers changed (%)",
        "ECE, clean (%)",
        "ECE, corrupted (%)",
    ]
    rows = []
    for net in dict.fromkeys(at["net"]):
        mine = at[at["net"] == net]
        clean = mine[mine["level"] == 0].drop_duplicates("train_seed")
        hurt = mine[mine["level"] > 0]
        mean = errors[(errors["net"] == net) & (errors["corruption"] == "mean")]
        rows.append(
            [
                net,
                _spread(clean, "accuracy"),
                _spread(mean, "error"),
                *([_spread(mean, "relative")] if over else []),
                f"{hurt['changed'].mean():.1f}",
                f"{clean['ece'].mean():.1f}",
                f"{hurt['ece'].mean():.1f}",
            ]
        )
    what = "the range of the runs in brackets" if runs > 1 else "90 % intervals over images"
    names = at["perturbation"].nunique()
    severities = ", ".join(f"{v:g}" for v in sorted(at["level"].unique()) if v)
    told = (
        f"Corruption errors are shares of wrong answers, averaged over severities {severities}; the"
        f" mean is over {counted(names, 'corruption')}, each counting the same ({what})."
    )
    if over:
        told += (
            f" *Relative* is the error under a corruption over that of {_denominator(over)}, in"
            " percent, then averaged (Hendrycks and Dietterich 2019)."
        )
    told += (
        " *Answers changed* are those that are not the network's own on the clean image. ECE is the"
        " expected calibration error, 15 bins, a mean over corruptions and severities; it is above"
        " 0 for a calibrated network, too."
    )
    return f"{grid(header, rows)}\n\n{told}"


def _denominator(over: str) -> str:
    return (
        "AlexNet on ImageNet-C, as published" if over == "alexnet" else f"{over} on the same images"
    )


def _by_corruption(table: pd.DataFrame, errors: pd.DataFrame) -> str:
    nets = list(dict.fromkeys(errors["net"]))
    wide = errors.pivot_table(index="corruption", columns="net", values="error", sort=False)[nets]
    rows = [
        [spelt(name), *(f"{v:.1f}" for v in row)]
        for name, row in zip(wide.index, wide.to_numpy(float), strict=True)
    ]
    return "Error by corruption, in percent (`tables/errors.csv` has intervals and ratios):\n\n" + (
        grid(["corruption", *nets], rows)
    )


def _latex(table: pd.DataFrame, errors: pd.DataFrame) -> str:
    """The errors as a LaTeX table, networks down and corruptions across."""
    nets = list(dict.fromkeys(errors["net"]))
    wide = errors.pivot_table(index="net", columns="corruption", values="error", sort=False)
    wide = wide.loc[nets]
    names = [name for name in wide.columns if name != "mean"]
    clean = table[(table["kind"] == CORRUPTIONS) & (table["level"] == 0)]
    lines = [
        f"\\begin{{tabular}}{{l{'r' * (len(names) + 2)}}}",
        "\\toprule",
        " & ".join(
            ["Network", "Clean", "mCE", *(f"\\rotatebox{{90}}{{{spelt(n)}}}" for n in names)]
        )
        + " \\\\",
        "\\midrule",
    ]
    for net in nets:
        error = 100 - clean.loc[clean["net"] == net, "accuracy"].mean()
        values = [error, wide.loc[net, "mean"], *wide.loc[net, names]]
        lines.append(" & ".join([in_latex(net), *(f"{v:.1f}" for v in values)]) + " \\\\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    body = "\n".join(lines)
    return (
        "<details><summary>The same as a LaTeX table (booktabs, graphicx); mCE is the plain mean,"
        f" divided by nothing</summary>\n\n```latex\n{body}\n```\n\n</details>"
    )


def in_latex(text: str) -> str:
    """A text in which LaTeX finds no markup.

    >>> print(in_latex("a_b:50%"))
    a\\_b:50\\%
    """
    marks = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(marks.get(c, f"\\{c}" if c in "#$%&_{}" else c) for c in text)


def _others(table: pd.DataFrame, axes: dict[str, str], kinds: list[str]) -> str:
    """Accuracy at each level of what is no corruption."""
    some = _arms(table[table["kind"].isin(kinds)])
    nets = list(dict.fromkeys(some["net"]))
    rows = []
    for (kind, name, level), part in some.groupby(["kind", "perturbation", "level"], sort=False):
        if not level:
            continue
        cells = [
            f"{mine['accuracy'].mean():.1f} ({round(-mine['drop'].mean(), 1) + 0.0:+.1f})"
            for mine in (part[part["net"] == net] for net in nets)
        ]
        rows.append(
            [spelt(str(name)), level_of(str(kind), float(str(level))), axes[str(kind)], *cells]
        )
    return "Accuracy in percent, and its change in points:\n\n" + grid(
        ["perturbation", "level", "unit", *nets], rows
    )


def _published(table: pd.DataFrame, nets: set[str]) -> str:
    rows = []
    missing = [net for net in dict.fromkeys(table["net"]) if net not in nets]
    for row in table.to_dict("records"):
        here = row["measured"] == row["measured"]
        severity = "" if row["severity"] != row["severity"] else f" {row['severity']:g}"
        rows.append(
            [
                row["net"],
                spelt(row["corruption"]) + severity,
                f"{row['accuracy']:.1f}",
                f"{row['measured']:.1f}" if here else "not run",
                f"{row['measured'] - row['accuracy']:+.1f}" if here else "",
            ]
        )
    text = (
        "Beside published accuracies, in percent; a row without a severity is a mean over those of"
        " this run:\n\n" + grid(["network", "corruption", "published", "here", "difference"], rows)
    )
    if missing:
        text += (
            f"\n\nNot run here: {', '.join(missing)}. `probes run robustness {' '.join(missing)}`"
            " runs them where their weights are; `probes fetch` brings those that can be fetched."
        )
    return text
