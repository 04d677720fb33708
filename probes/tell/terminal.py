"""The claims table of the terminal: verdict, expectation, what was asked; per block effect with
interval, n with its unit and p.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from probes.judge import verdict as verdicts
from probes.judge.unseen import disclosures
from probes.tell.evidence import perturbed, untrained, varied

COLOUR = {
    "supported": {"green": True},
    "refuted": {"red": True},
    "mixed": {"yellow": True},
    "inconclusive": {},
}
SHOWN = 5
"""Claims that were skipped for one reason, named one by one; of more there is a number."""
WORDS = {
    "skipped": "skipped",
    "error": "with errors",
    "failed": "without a verdict",
    "deselected": "deselected",
    "not run": "not run",
}


def table(
    lines: Sequence[Mapping[str, Any]], lost: Sequence[Mapping[str, str]] = ()
) -> Iterator[tuple[str, dict[str, bool]]]:
    """Lines of text with their colours, for every judged claim, for those that were not, with the
    reason, and their counts.
    """
    for line in sorted(lines, key=lambda r: (r["id"], r["subject"])):
        expect = (
            "none (altered design)"
            if line["altered"]
            else line["expect"][0]
            if line["expect"]
            else "supported"
        )
        many = f" ({line['counts']})" if len(line["verdicts"]) > 1 else ""
        mark = "" if line.get("passed", True) else "  <- not as expected"
        random = (
            f" of an untrained network ({', '.join(names)})" if (names := untrained(line)) else ""
        )
        yield f"{line['id']}  {line['subject']}", {"bold": True}
        yield f"  {line['sentence']}", {}
        yield (
            f"  {line['overall']}{many}{random}, expected {expect}; {line['scope']}{mark}",
            COLOUR[line["overall"]],
        )
        members = [verdicts.from_json(v) for v in line["verdicts"]]
        yield from _asked(members, line)
        yield from _blocks(members)
        for text in disclosures(members, line["alpha"]):
            yield f"  {text[0].lower()}{text[1:]}".replace("**", ""), {}
        for text in perturbed(line):
            yield f"  {text}", {}
        for name, weights in line.get("weights", {}).items():
            for note in weights.get("notes", ()):
                yield f"  note: {name}: {note}", {"yellow": True}
        if (looks := line.get("looks", 1)) > 1:
            yield f"  one of {looks} declared looks, each at alpha {line['alpha']:g}", {}
        if line.get("exploratory"):
            yield "  exploratory: nothing may rest on it", {"yellow": True}
        if (look := line.get("look", "")) and look != "look 1 of 1 declared":
            yield f"  {look}", {}
        for change in line["altered"]:
            yield f"  altered design: {change}", {"yellow": True}
    if lost:
        yield "not judged", {"bold": True}
        seen: Counter[str] = Counter()
        for one in lost:
            seen[one["why"]] += 1
            if seen[one["why"]] <= SHOWN:
                yield (
                    f"  {one['id']}  {one['subject']}: {one['outcome']}: {one['why']}",
                    {"yellow": True},
                )
        for why, many_ in seen.items():
            if many_ > SHOWN:
                yield f"  and {many_ - SHOWN} more: {why}", {"yellow": True}
    yield count(lines, lost), {"bold": True}


def _asked(
    members: Sequence[verdicts.Verdict], line: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, bool]]]:
    """What is compared with what: each part of the question with its SESOI, and from which level to
    which.
    """
    for i, question in enumerate(
        dict.fromkeys(leaf.asked(varied(line)) for m in members for leaf in m.leaves)
    ):
        yield f"    {'asked:' if i == 0 else '':6} {question}", {}


def _blocks(members: Sequence[verdicts.Verdict]) -> Iterator[tuple[str, dict[str, bool]]]:
    wide = max(len(m.label) for m in members)
    for member in members:
        head = f"{member.label:{wide}}"
        if member.parts:
            yield f"    {head}  {member.outcome}".rstrip(), {}
            head = " " * (wide + 2)
        for leaf in member.leaves:
            p = min(leaf.p_supported, leaf.p_refuted)
            text = f"{leaf.measured} {leaf.effect()}"
            tail = leaf.obstacle or (leaf.advice() if leaf.outcome == "inconclusive" else "")
            n = verdicts.counted(leaf.n, leaf.unit)
            yield (
                f"    {head}  {leaf.outcome:12} {text:42} n = {n}, p {verdicts.p_shown(p, '= ')} "
                f" {tail}".rstrip(),
                {},
            )


def count(lines: Sequence[Mapping[str, Any]], lost: Sequence[Mapping[str, str]] = ()) -> str:
    """How many claims were judged (came to a verdict), how many decided, by outcome, and how many
    were not judged.

    A claim with fewer units than its rule decides from is *open by design*: judged, and not
    decided. ``lost`` are claims that came to no verdict, with their ``outcome``: skipped, error,
    failed, deselected, not run.

    >>> count([{"judged": True, "overall": "mixed"}, {"judged": False, "overall": "inconclusive"}],
    ...     [{"outcome": "skipped"}])
    '2 claims judged, 1 decided (1 mixed, 1 open by design); 1 not judged (1 skipped)'
    """
    found = Counter(line["overall"] if line["judged"] else "open by design" for line in lines)
    decided = sum(found[outcome] for outcome in ("supported", "refuted", "mixed"))
    kinds = ("supported", "refuted", "mixed", "inconclusive", "open by design")
    words = ", ".join(f"{found[kind]} {kind}" for kind in kinds if found[kind])
    text = f"{verdicts.counted(len(lines), 'claim')} judged, {decided} decided" + (
        f" ({words})" if words else ""
    )
    others = Counter(one["outcome"] for one in lost)
    reasons = [f"{others[outcome]} {word}" for outcome, word in WORDS.items() if others[outcome]]
    return text + (f"; {len(lost)} not judged ({', '.join(reasons)})" if reasons else "")
