"""A summary as people and machines take it: Markdown for a pull request, JUnit, a badge."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from probes.tell.markdown import grid

LINES = 60
"""A summary in Markdown has fewer lines than these."""
ROWS = 30
"""Rows of claims and of conditions that are shown together; the ones that matter come first."""
WORDS = {"passed": "as expected", "open": "not decided", "failed": "not as expected"}
ORDER = ("passed", "open", "failed")
SIGNS = {"passed": "✓", "open": "?", "failed": "✗"}
COLOURS = {"passed": "#2b6a2e", "open": "#6b5900", "failed": "#a6321c"}
"""Of a badge; white text on each has a contrast above 4.5 to 1."""


def markdown(found: Mapping[str, Any], link: str = "") -> str:
    """A summary in fewer than 60 lines of Markdown: the verdict, a table, and a link to the whole
    report. Worse and unexpected rows come first; of several reports there is a row each, and the
    rows of those that did not pass.
    """
    reports = found["reports"]
    text = [f"### {SIGNS[found['state']]} Probes: {_head(found)}", ""]
    if len(reports) > 1:
        first = sorted(reports, key=lambda one: -ORDER.index(one["state"]))
        rows = [[f"`{r['folder']}`", WORDS[r["state"]], _plain(r["words"])] for r in first]
        text += _table(["report", "", "found"], rows, ROWS // 2)
        reports = [one for one in first if one["state"] != "passed"]
    for one in reports:
        text += _of_report(one, ROWS // max(1, len(reports)))
    notes = [(one["folder"], note) for one in found["reports"] for note in one["older"]]
    named = len(found["reports"]) > 1
    text += [f"- {f'`{folder}`: ' if named else ''}{_plain(note)}" for folder, note in notes[:5]]
    if len(notes) > 5:
        text.append(f"- and {len(notes) - 5} more notes on the age of the evidence")
    end = ["", f"[Report, figures and tables]({link})"] if link else []
    if len(text) + len(end) >= LINES:
        text = [*text[: LINES - 4 - len(end)], "", "and more: see the report"]
    return "\n".join([*text, *end]).rstrip() + "\n"


def _of_report(one: Mapping[str, Any], most: int) -> list[str]:
    text = [f"{_plain(one['words'])}. Report: `{one['folder']}`.", ""]
    if compared := one["comparison"]:
        text += [f"New: `{compared['new']}`. Old: `{compared['old']}`.", ""]
    if not one["complete"]:
        text += ["**Partial: the run was interrupted.**", ""]
    rows, head = _rows(one)
    return text + (_table(head, rows, max(3, most)) if rows else [])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], most: int) -> list[str]:
    """The lines of a table of at most so many rows, and how many are left out."""
    more = [f"and {len(rows) - most} more", ""] if len(rows) > most else []
    return [*grid(head, rows[:most]).splitlines(), "", *more]


def _head(found: Mapping[str, Any]) -> str:
    answers = [one["comparison"]["answer"] for one in found["reports"] if one["comparison"]]
    claims = any(one["claims"] and not one["comparison"] for one in found["reports"])
    return (
        ", ".join([*dict.fromkeys(answers), *([WORDS[found["state"]]] if claims else [])])
        or (WORDS[found["state"]])
    )


def _rows(one: Mapping[str, Any]) -> tuple[list[list[str]], list[str]]:
    """The rows of a report, the ones that matter first, and their header."""
    if compared := one["comparison"]:
        order = {"worse": 0, "open": 1, "better": 2, "not worse": 3}
        rows = sorted(compared["rows"], key=lambda row: order[row["answer"]])
        several = len({row["metric"] for row in rows}) > 1
        return [
            [
                *([row["metric"]] if several else []),
                _plain(row["condition"]),
                f"**{row['answer']}**",
                row["effect"],
                row["margin"],
                _plain(row["why"]),
            ]
            for row in rows
        ], [*(["metric"] if several else []), "condition", "answer", "difference", "margin", ""]
    order_of = {False: 0, True: 2, None: 3}
    bad = [
        [lost["id"], f"`{lost['subject']}`", lost["outcome"], "", _plain(lost["why"])]
        for lost in one["not_judged"]
        if lost["outcome"] in ("error", "failed")
    ]
    claims = sorted(one["claims"], key=lambda c: order_of[c["passed"]])
    return [
        *bad,
        *(
            [
                _plain(c["id"]),
                f"`{c['subject']}`",
                f"**{c['verdict']}**",
                c["expected"] or "none",
                c["effect"] or _blocks(c["blocks"]),
            ]
            for c in claims
        ),
    ], ["claim", "subject", "verdict", "expected", "found"]


def _blocks(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {'open' if k == 'inconclusive' else k}" for k, n in counts.items())


def _plain(text: str) -> str:
    """A text in which nothing is markup: names come from users."""
    flat = html.escape(" ".join(str(text).split()), quote=False)
    return flat.replace("[", "\\[").replace("`", "'")


def junit(found: Mapping[str, Any]) -> str:
    """A summary as JUnit's XML: a test case for each claim, or for each condition of a comparison.

    A claim that did not come out as expected and a condition that is worse have failed; what is not
    decided or not judged is skipped, with the reason.
    """
    suites = ET.Element("testsuites", name="probes")
    for one in found["reports"]:
        suite = ET.SubElement(suites, "testsuite", name=one["folder"])
        counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
        for name, group, kind, says, told in _cases(one):
            case = ET.SubElement(suite, "testcase", name=name, classname=group, time="0")
            counts["tests"] += 1
            if kind:
                counts[{"failure": "failures", "error": "errors", "skipped": "skipped"}[kind]] += 1
                ET.SubElement(case, kind, message=_xml(says)).text = _xml(told)
            else:
                ET.SubElement(case, "system-out").text = _xml(told)
        for name, n in counts.items():
            suite.set(name, str(n))
    ET.indent(suites, " ")
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _cases(one: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, str]]:
    """Name, class, what went wrong (empty for nothing), in short and in full, of each case."""
    if compared := one["comparison"]:
        for row in compared["rows"]:
            kind = {"worse": "failure", "open": "skipped"}.get(row["answer"], "")
            told = f"{row['metric']}: {row['effect']}, margin {row['margin']}. {row['why']}"
            yield (
                f"{row['metric']}, {row['condition']}",
                f"{compared['new']} against {compared['old']}",
                kind,
                row["answer"],
                told,
            )
        return
    for c in one["claims"]:
        kind = "failure" if c["passed"] is False else ""
        says = f"{c['verdict']}, expected {c['expected'] or 'nothing'}"
        told = (
            f"{c['sentence']} {c['verdict']}, {c['scope']}. {c['effect'] or _blocks(c['blocks'])}"
        )
        yield f"{c['id']} on {c['subject']}", c["family"] or "claims", kind, says, told
    for lost in one["not_judged"]:
        kind = "error" if lost["outcome"] in ("error", "failed") else "skipped"
        yield (
            f"{lost['id']} on {lost['subject']}",
            "not judged",
            kind,
            lost["outcome"],
            lost["why"],
        )


def _xml(text: str) -> str:
    """A text without the characters that XML does not have."""
    return "".join(c for c in text if c in "\t\n\r" or ord(c) >= 32)


def badge(found: Mapping[str, Any], label: str = "probes") -> str:
    """A summary as a badge: an SVG picture of a line of text, with its words as its title."""
    said = _head(found)
    left, right = (8 + 6.6 * len(text) for text in (label, said))
    width = left + right
    title = html.escape(f"{label}: {said}", quote=True)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="20" role="img"'
        f' aria-label="{title}">',
        f"<title>{title}</title>",
        f'<rect width="{width:.0f}" height="20" rx="3" fill="#444"/>',
        f'<path d="M{left:.0f} 0h{right - 3:.0f}a3 3 0 0 1 3 3v14a3 3 0 0 1 -3 3h-{right - 3:.0f}z"'
        f' fill="{COLOURS[found["state"]]}"/>',
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11"'
        ' text-anchor="middle">',
        *(
            f'<text x="{x:.1f}" y="14" textLength="{6.6 * len(text):.0f}">'
            f"{html.escape(text)}</text>"
            for x, text in ((left / 2, label), (left + right / 2, said))
        ),
        "</g></svg>",
    ]
    return "\n".join(parts) + "\n"
