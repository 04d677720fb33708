"""The claims table of the terminal: verdict, expectation, effect with interval, n with its unit and p, per block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from probes.judge import verdict as verdicts

COLOUR = {"supported": {"green": True}, "refuted": {"red": True}, "mixed": {"yellow": True}, "inconclusive": {}}


def table(lines: Sequence[Mapping[str, Any]], others: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, bool]]]:
    """Lines of text with their colours, for every judged claim, and the count of what was judged and decided."""
    for line in sorted(lines, key=lambda r: (r["id"], r["subject"])):
        expect = "none (altered design)" if line["altered"] else line["expect"][0] if line["expect"] else "supported"
        many = f" ({line['counts']})" if len(line["verdicts"]) > 1 else ""
        mark = "" if line.get("passed", True) else "  <- not as expected"
        yield f"{line['id']}  {line['subject']}", {"bold": True}
        yield f"  {line['sentence']}", {}
        yield f"  {line['overall']}{many}, expected {expect}; {line['scope']}{mark}", COLOUR[line["overall"]]
        members = [verdicts.from_json(v) for v in line["verdicts"]]
        yield from _blocks(members)
        for text in verdicts.disclosures(members):
            yield f"  error rate: {text}", {}
        if (looks := line.get("looks", 1)) > 1:
            yield f"  one of {looks} declared looks, each at alpha {line['alpha']:g}", {}
        for change in line["altered"]:
            yield f"  altered design: {change}", {"yellow": True}
    yield count(lines, others), {"bold": True}


def _blocks(members: Sequence[verdicts.Verdict]) -> Iterator[tuple[str, dict[str, bool]]]:
    wide = max(len(m.label) for m in members)
    for member in members:
        for i, leaf in enumerate(member.leaves):
            p = min(leaf.p_supported, leaf.p_refuted)
            text = f"{leaf.measured} {leaf.effect()}"
            head = f"{member.label if i == 0 else '':{wide}}  {member.outcome if i == 0 else '':12}"
            tail = leaf.obstacle or (leaf.advice() if member.outcome == "inconclusive" else "")
            yield f"    {head} {text:42} n = {leaf.n:,} {leaf.unit}s, p {verdicts.p_shown(p, '= ')}  {tail}".rstrip(), {}


def count(lines: Sequence[Mapping[str, Any]], others: Sequence[str] = ()) -> str:
    """How many claims were judged (to a verdict, with the fewest units met) and how many decided, by outcome.

    ``others`` are the pytest outcomes of claims that came to no verdict: skipped, or failed in preparing.

    >>> count([{"judged": True, "overall": "mixed"}, {"judged": True, "overall": "inconclusive"}])
    '2 claims judged, 1 decided (1 mixed, 1 inconclusive)'
    """
    judged = sum(line["judged"] for line in lines)
    decided = sum(line["judged"] and line["overall"] != "inconclusive" for line in lines)
    found = Counter(line["overall"] for line in lines)
    words = ", ".join(f"{found[o]} {o}" for o in ("supported", "refuted", "mixed", "inconclusive") if found[o])
    text = f"{judged} claims judged, {decided} decided" + (f" ({words})" if words else "")
    for outcome, word in (("skipped", "skipped"), ("failed", "with errors")):
        if many := list(others).count(outcome):
            text += f"; {many} {word}"
    return text
