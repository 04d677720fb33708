"""The claims table of the terminal: the sentence and the verdict first, then what was asked and
over what; blocks one by one where they are asked for, and always what is open or not as expected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from probes.judge import verdict as verdicts
from probes.judge.family import Outcome
from probes.judge.unseen import disclosures
from probes.judge.verdict import Verdict
from probes.tell.evidence import perturbed, untrained, varied
from probes.tell.wrapping import whole, wrapped

Text = tuple[str, dict[str, bool]]
COLOUR = {
    "supported": {"green": True},
    "refuted": {"red": True},
    "mixed": {"yellow": True},
    "inconclusive": {},
}
SHOWN = 5
"""Of claims that were skipped for one reason, and of blocks that are open or not as expected, so
many are told one by one; of more there is a number."""
NAMED = 12
"""Blocks that came out otherwise than most, named in a line; of more there is a number."""
WORDS = {
    "skipped": "skipped",
    "error": "with errors",
    "failed": "without a verdict",
    "deselected": "deselected",
    "not run": "not run",
}


def table(
    lines: Sequence[Mapping[str, Any]],
    lost: Sequence[Mapping[str, str]] = (),
    width: int = 80,
    every: bool = False,
) -> Iterator[Text]:
    """Lines of text, of at most ``width`` columns, with their colours: every judged claim, those
    that were not, with the reason, and their counts. ``every`` unfolds the blocks of a claim.

    What is said of several verdicts alike stands once, below them.
    """
    beside: dict[str, list[Mapping[str, Any]]] = {}
    folded = False
    for line in sorted(lines, key=lambda r: (r["id"], r["subject"])):
        members = [verdicts.from_json(v) for v in line["verdicts"]]
        shown = members if every else _exceptions(members, line)
        yield from _head(members, line, width)
        yield from _asked(members, line, width)
        yield from _rows(shown, width)
        if len(shown) < len(members):
            folded = True
            yield from _named(members, shown, width)
        yield from _besides(line, width, every)
        yield "", {}
        for text in disclosures(members, line["alpha"]):
            beside.setdefault(f"{text[0].lower()}{text[1:]}".replace("**", ""), []).append(line)
        if (look := line.get("look", "")).startswith("not counted"):
            beside.setdefault(look, []).append(line)
    for text, of in beside.items():
        whose = "" if len(of) == len(lines) else f" [{', '.join(_names(of, lines))}]"
        yield from wrapped(text + whose, width, "", "  ")
    if beside:
        yield "", {}
    yield from _not_judged(lost, width)
    if folded:
        yield "every block with its numbers: pytest -v", {}
    yield from wrapped(count(lines, lost), width, "", "  ", bold=True)


def _head(members: Sequence[Verdict], line: Mapping[str, Any], width: int) -> Iterator[Text]:
    """The sentence and the verdict; whose they are; what was expected, and over what it is."""
    expect = (
        "none (altered design)"
        if line["altered"]
        else line["expect"][0]
        if line["expect"]
        else "supported"
    )
    many = f" ({_counts(members, line)})" if len(members) > 1 else ""
    random = f" of an untrained network ({', '.join(names)})" if (names := untrained(line)) else ""
    passed = line.get("passed", True)
    head = f"{line['overall']}: {line['sentence']}"
    yield from wrapped(head, width, "", "  ", bold=True, **COLOUR[line["overall"]])
    yield from wrapped(f"{line['id']}  {line['subject']}", width, "", "    ")
    mark = "" if passed else "  <- not as expected"
    yield from wrapped(
        f"{line['overall']}{many}{random}, expected {expect}{mark}",
        width,
        red=not passed,
    )
    yield from wrapped(line["scope"], width)


def _counts(members: Sequence[Verdict], line: Mapping[str, Any]) -> str:
    """How many blocks came out how: ``6 of 9 blocks supported, 3 refuted``."""
    found = Counter(m.outcome for m in members)
    question: Mapping[str, Any] = line.get("question") or {}
    by = question.get("by") or next((p["by"] for p in question.get("parts", ()) if p["by"]), "")
    what = {"site": "block", "": "part"}.get(by, str(by).replace("_", " "))
    words: dict[Outcome, str] = {
        "supported": "supported",
        "refuted": "refuted",
        "inconclusive": "open",
    }
    (first, n), *others = [(words[o], found[o]) for o in words if found[o]]
    text = f"{n:,} of {verdicts.counted(len(members), what)} {first}"
    tail = "; each at alpha" if line["counts"].endswith("; each at alpha") else ""
    return ", ".join([text, *(f"{n:,} {word}" for word, n in others)]) + tail


def _asked(members: Sequence[Verdict], line: Mapping[str, Any], width: int) -> Iterator[Text]:
    """What is compared with what: each part of the question with its SESOI, and from which level to
    which.
    """
    for i, question in enumerate(
        dict.fromkeys(leaf.asked(varied(line)) for m in members for leaf in m.leaves)
    ):
        first = "  asked: " if i == 0 else "         "
        yield from wrapped(question, width, first, "           ")


def _exceptions(members: Sequence[Verdict], line: Mapping[str, Any]) -> Sequence[Verdict]:
    """The blocks that are told one by one unless all are: a single one, those that are open, and,
    where the claim did not come out as expected, those that did not.
    """
    if len(members) == 1:
        return members
    wanted = line["expect"][0] if line["expect"] and not line["altered"] else "supported"
    passed = line.get("passed", True)
    return [
        m for m in members if m.outcome == "inconclusive" or (not passed and m.outcome != wanted)
    ][:SHOWN]


def _rows(members: Sequence[Verdict], width: int) -> Iterator[Text]:
    wide = max((len(m.label) for m in members), default=0)
    for member in members:
        head = f"    {member.label:{wide}}  " if wide else "    "
        if member.parts and wide:
            yield f"{head}{member.outcome}", {}
            head = " " * 6
        for leaf in member.leaves:
            p = min(leaf.p_supported, leaf.p_refuted)
            tail = leaf.obstacle or (leaf.advice() if leaf.outcome == "inconclusive" else "")
            n = verdicts.counted(leaf.n, leaf.unit)
            numbers = whole(f"n = {n}, p {verdicts.p_shown(p, '= ')}")
            text = f"{leaf.outcome:12} {leaf.measured} {whole(leaf.effect())}  {numbers}  {tail}"
            yield from wrapped(text, width, head, " " * 8)


def _named(members: Sequence[Verdict], shown: Sequence[Verdict], width: int) -> Iterator[Text]:
    """The blocks that are not told one by one and came out otherwise than most, by name."""
    rest = [m for m in members if not any(m is one for one in shown)]
    most = Counter(m.outcome for m in members).most_common(1)[0][0]
    for outcome in dict.fromkeys(m.outcome for m in rest):
        mine = [m.label for m in rest if m.outcome == outcome]
        if outcome == "inconclusive":
            yield f"    and {len(mine):,} more open", {}
        elif outcome != most:
            more = f", and {len(mine) - NAMED:,} more" if len(mine) > NAMED else ""
            yield from wrapped(f"{outcome}: {', '.join(mine[:NAMED])}{more}", width)


def _besides(line: Mapping[str, Any], width: int, every: bool) -> Iterator[Text]:
    """What else is to be known of a claim: notes, looks, an altered design."""
    for text in perturbed(line) if every else ():
        yield from wrapped(text, width)
    for name, weights in line.get("weights", {}).items():
        for note in weights.get("notes", ()):
            yield from wrapped(f"note: {name}: {note}", width, yellow=True)
    if (looks := line.get("looks", 1)) > 1:
        yield from wrapped(f"one of {looks} declared looks, each at alpha {line['alpha']:g}", width)
    if line.get("exploratory"):
        yield "  exploratory: nothing may rest on it", {"yellow": True}
    look = line.get("look", "")
    if look and look != "look 1 of 1 declared" and not look.startswith("not counted"):
        yield from wrapped(look, width)
    for change in line["altered"]:
        yield from wrapped(f"altered design: {change}", width, yellow=True)


def _not_judged(lost: Sequence[Mapping[str, str]], width: int) -> Iterator[Text]:
    if not lost:
        return
    yield "not judged", {"bold": True}
    seen: Counter[str] = Counter()
    for one in lost:
        seen[one["why"]] += 1
        if seen[one["why"]] <= SHOWN:
            text = f"{one['id']}  {one['subject']}: {one['outcome']}: {one['why']}"
            yield from wrapped(text, width, yellow=True)
    for why, many in seen.items():
        if many > SHOWN:
            yield from wrapped(f"and {many - SHOWN:,} more: {why}", width, yellow=True)
    yield "", {}


def _names(of: Sequence[Mapping[str, Any]], lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Claims by their ids; where not all subjects of an id are meant, with the subject."""
    found: dict[str, None] = {}
    for line in of:
        alike = [one for one in lines if one["id"] == line["id"]]
        whole = all(any(one is other for other in of) for one in alike)
        found[line["id"] if whole else f"{line['id']} on {line['subject']}"] = None
    return list(found)


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
