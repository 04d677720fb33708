"""Verdicts and tables as a notebook shows them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from probes.judge.wording import counted, cover, p_shown, shown

COLOURS = {
    "supported": "#0a5591",
    "refuted": "#a13a00",
    "mixed": "#6a3a9c",
    "inconclusive": "#55585f",
}
ROWS = 30
"""The most rows of a table that are shown."""


def grid(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as HTML; what is in its cells is text.

    >>> grid(["a"], [["<b>"]])
    '<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>'
    """
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows[:ROWS]
    )
    more = f"<p>{counted(len(rows) - ROWS, 'further row')}</p>" if len(rows) > ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def badge(outcome: str) -> str:
    """An outcome in its colour."""
    colour = COLOURS.get(outcome, COLOURS["inconclusive"])
    style = "color:#fff;border-radius:4px;padding:1px 6px;font-weight:600"
    return f'<span style="background:{colour};{style}">{html.escape(outcome)}</span>'


def verdicts(found: Any) -> str:
    """Verdicts (:class:`probes.judge.verdict.Verdicts`): the answer, over what it generalises, and
    a row for each block and part.
    """
    rows = [
        [
            member.label or "all",
            leaf.outcome if len(member.leaves) > 1 else member.outcome,
            leaf.question,
            shown(leaf.estimate, leaf.kind),
            f"[{shown(leaf.low, leaf.kind)}, {shown(leaf.high, leaf.kind)}]",
            counted(leaf.n, leaf.unit),
            p_shown(min(leaf.p_supported, leaf.p_refuted)),
            leaf.obstacle or (leaf.advice() if leaf.outcome == "inconclusive" else ""),
        ]
        for member in found
        for leaf in member.leaves
    ]
    header = ["block", "verdict", "question", "effect", cover(found.alpha), "n", "p", ""]
    counts = f" ({found.counts()})" if len(found) > 1 else ""
    return f"<p>{badge(found.overall)}{counts} {html.escape(found.scope)}</p>{grid(header, rows)}"


def table(asked: Any) -> str:
    """What a table of a lab (:class:`probes.judge.lazytable.LazyTable`) was asked for, and its
    means with their 90 % intervals once it is measured.
    """
    d = asked.design
    levels = ", ".join(f"{v:g}" for v in d.levels)
    facts: list[list[Any]] = [
        ["images", f"{d.images:,} of {d.dataset} ({d.split})"],
        [d.varied, levels + (f" ({d.unit})" if d.unit else "")],
        ["draws", d.draws],
        ["networks", ", ".join(f"{net} ({counted(n, 'run')})" for net, n in d.runs)],
        *([["done to it", d.description]] if d.description else []),
        *([[f"only {key}", ", ".join(values)] for key, values in d.part]),
    ]
    text = grid(["", "asked"], facts)
    if "frame" not in vars(asked):
        return f"{text}<p>Not measured yet: it is when it is first looked at (.frame).</p>"
    found = asked.summary()
    rows = [
        [r["net"], r["train_seed"], r["site"], r["metric"], f"{r['level']:g}",
         f"{r['mean']:.4g}", f"[{r['low']:.4g}, {r['high']:.4g}]", r["n"]]
        for r in found.to_dict("records")
    ]  # fmt: skip
    header = ["net", "seed", "site", "metric", d.varied, "mean", "90 %", "n"]
    return text + grid(header, rows)
