"""The head of a page: what was claimed, what was found, what was not judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from probes.judge import family
from probes.judge.wording import counted
from probes.tell import evidence, terminal
from probes.tell.markdown import Line, grid, slug


def expected(line: Line) -> str:
    """The recorded expectation of a line, in words."""
    if line.get("altered"):
        return "none: altered design"
    if line.get("expect"):
        return line["expect"][0]
    return "supported (no expectation recorded)" if line.get("test") else "none recorded"


def anchor(line: Line) -> str:
    """The anchor of a claim on a page."""
    return slug(f"{line['id']} on {line['subject']} {line['design']['images']}").lower()


def _families(lines: Sequence[Line], run: Mapping[str, Any]) -> dict[int, str]:
    # Holm over the claims that share a family, by the p-value of the whole claim (the largest over
    # its blocks); of one
    # claim on one subject at several designs, the one with most images is the member.
    members: dict[str, dict[tuple, int]] = {}
    for i, line in enumerate(lines):
        if line["family"] and not line.get("exploratory"):
            members.setdefault(line["family"], {}).setdefault((line["id"], line["subject"]), i)
    found = {}
    for name, mine in members.items():
        p = [
            [max(v[side] for v in lines[i]["verdicts"]) for i in mine.values()]
            for side in ("p_supported", "p_refuted")
        ]
        collected = run.get("families", {}).get(name)
        ran = f"{len(mine)} of {collected} ran" if collected else f"{len(mine)} ran"
        alpha = [lines[i]["alpha"] for i in mine.values()]
        for i, outcome in zip(mine.values(), family.outcomes(p[0], p[1], alpha), strict=True):
            found[i] = f"{outcome} ({name}, {ran})"
    return found


def front(lines: Sequence[Line], run: Mapping[str, Any]) -> str:
    """The first screen: every claim with its verdict and what was expected."""
    over = _families(lines, run)
    rows = {
        i: [
            f"[{r['id']}](#{anchor(r)})",
            f"`{r['subject']}`",
            f"**{r['overall']}**" + (" (untrained)" if evidence.untrained(r) else ""),
            r["counts"] if len(r["verdicts"]) > 1 else "",
            f"{r['design']['images']:,}",
            expected(r),
            over.get(i, ""),
        ]
        for i, r in enumerate(lines)
    }
    header = ["claim", "subject", "verdict", "blocks", "images", "expected"]
    header.append("every block, Holm over the family's claims")
    tested = [row for i, row in rows.items() if not lines[i].get("exploratory")]
    text = grid(header, tested) if tested else ""
    if explored := [row for i, row in rows.items() if lines[i].get("exploratory")]:
        text += (
            "\n\n## Exploratory\n\nLooks that no ledger counts: nothing may rest on them.\n\n"
            + grid(header[:5], [row[:5] for row in explored])
        )
    if any(str(line.get("look")).startswith("not counted") for line in lines):
        text += (
            "\n\n**No ledger of looks was kept (`probes_ledger = off`): how often these data were"
            " looked at is not known.**"
        )
    partial = (
        ""
        if run.get("complete", True)
        else "**Partial: the run was interrupted before its last claim.**\n\n"
    )
    lost = run.get("not_judged", [])
    random = sorted({name for r in lines for name in evidence.untrained(r)})
    warning = (
        f"**Untrained: {', '.join(f'`{name}`' for name in random)} have random weights, as asked"
        " for.**\n\n"
        if random
        else ""
    )
    total = len(lines) + len(lost)
    words = f"{counted(total, 'claim')} collected. {terminal.count(lines, lost)}."
    return (
        "# What was claimed, and what was"
        f" found\n\n{partial}{warning}{words}\n\n{text}{_not_judged(lines, lost)}"
    )


def _not_judged(lines: Sequence[Line], lost: Sequence[Mapping[str, str]]) -> str:
    """The claims that can't be decided by design, and those that came to no verdict, each with the
    reason.
    """
    short = [[r["id"], f"`{r['subject']}`", _obstacles(r)] for r in lines if not r["judged"]]
    rows = [[one["id"], f"`{one['subject']}`", one["outcome"], one["why"]] for one in lost]
    return (
        f"\n\n## Open by design\n\n{grid(['claim', 'subject', 'why'], short)}" if short else ""
    ) + (
        f"\n\n## Not judged\n\n{grid(['claim', 'subject', 'outcome', 'why'], rows)}" if rows else ""
    )


def _obstacles(line: Line) -> str:
    return "; ".join(
        dict.fromkeys(
            leaf.obstacle for m in evidence.members(line) for leaf in m.leaves if leaf.obstacle
        )
    )
