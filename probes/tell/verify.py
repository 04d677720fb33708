"""Verifies a report from its files alone: the manifest, every verdict, every cited expectation. No
model, no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from probes.errors import ProbesError
from probes.judge.verdict import Verdicts
from probes.reading import loads
from probes.store import sha256
from probes.tell import asked, evidence
from probes.tell.rejudging import rejudged
from probes.tell.report import FILES
from probes.tell.reportfolder import MANIFEST, PAGE

TOLERANCE = 1e-6
OURS = set(FILES)
"""What a report consists of: a file of one of these names that the manifest does not list is one
too many.
"""


def verify(folder: Path, root: Path | None = None) -> list[str]:
    """What is wrong with a report, a sentence each; an empty list when all is well.

    The manifest lists every file with its SHA-256; each verdict is judged again from its tables,
    whose SHA-256 the evidence line carries; each expectation must be what the report that it cites
    has found (``root`` is the folder that citations start from: by default the nearest one above
    that holds the cited report). A folder of results without claims, which has a manifest only, is
    checked against that.
    """
    if _without_claims(folder):
        return list(_manifest(folder))
    try:
        lines = evidence.read(folder / "evidence.jsonl")
    except ProbesError as e:
        return [str(e)]
    problems = list(_manifest(folder))
    for line in lines:
        problems += _verdicts(folder, line)
        problems += _expectation(folder, line, root)
    return problems


def _without_claims(folder: Path) -> bool:
    try:
        return not (folder / "evidence.jsonl").exists() and "evidence.jsonl" not in _listed(folder)
    except (OSError, ValueError):
        return False


def _listed(folder: Path) -> dict[str, str]:
    listed = loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if not isinstance(listed, dict):
        raise ValueError(f"it holds {type(listed).__name__}, not names with their SHA-256")
    return listed


def _manifest(folder: Path) -> Iterator[str]:
    try:
        listed = _listed(folder)
    except (OSError, ValueError) as e:
        yield f"{folder / MANIFEST} can't be read: {e}"
        return
    here = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {MANIFEST}
    inner = tuple(
        p.parent.relative_to(folder).as_posix() + "/"
        for p in folder.rglob(MANIFEST)
        if p.parent != folder
    )
    here = {
        name for name in here if name in listed or not name.startswith(inner)
    }  # a report inside has a manifest of its own
    for name in sorted(here | set(listed)):
        if name not in here:
            yield f"{name} is in the manifest and not in the folder"
        elif name not in listed and name.partition("/")[0] not in OURS:
            continue  # somebody's own: nothing that the report tells comes from it
        elif name not in listed:
            yield f"{name} is in the folder and not in the manifest"
        elif sha256(folder / name) != listed[name]:
            yield f"{name} is not what the manifest says (SHA-256 differs)"
    if PAGE in here and sha256(folder / MANIFEST) not in _head(folder / PAGE):
        yield f"{PAGE} was made of other files: probes report {folder} makes it anew"


def _head(page: Path) -> str:
    """The head of a page, which names the manifest that it was made of."""
    with page.open(encoding="utf-8", errors="replace") as text:
        return text.read(2000)


def _verdicts(folder: Path, line: Mapping[str, Any]) -> Iterator[str]:
    who = f"{line['id']} on {line['subject']}"
    try:
        frames = [evidence.load_table(folder, line, i) for i in range(len(line["inputs"]))]
        found = rejudged(line, frames)
        problems = list(compare(line, found))
    except ProbesError as e:
        yield str(e) if who in str(e) else f"{who}: {e}"
        return
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as e:
        yield f"{who}: its evidence can't be judged again ({type(e).__name__}: {e})"
        return
    yield from (f"{who}: {problem}" for problem in problems)


def compare(line: Mapping[str, Any], found: Verdicts) -> Iterator[str]:
    """Where an evidence line and verdicts judged again differ: outcomes and n exactly, numbers
    beyond 1e-6.
    """
    if line["overall"] != found.overall:
        yield f"the evidence says {line['overall']}, its tables say {found.overall}"
    recorded = evidence.members(line)
    if [m.label for m in recorded] != [m.label for m in found]:
        yield "the evidence and its tables have other blocks"
        return
    for was, now in zip(recorded, found, strict=True):
        if was.outcome != now.outcome:
            yield f"{was.label}: the evidence says {was.outcome}, its tables say {now.outcome}"
        for a, b in zip(was.leaves, now.leaves, strict=True):
            if a.n != b.n:
                yield f"{was.label} {a.metric}: the evidence says n = {a.n}, its tables say {b.n}"
            for name in ("estimate", "low", "high", "p_supported", "p_refuted"):
                x, y = getattr(a, name), getattr(b, name)
                if not (x == y or math.isclose(x, y, rel_tol=TOLERANCE, abs_tol=TOLERANCE)):
                    yield (
                        f"{was.label} {a.metric}: the evidence says {name} = {x:.9g}, its tables"
                        f" say {y:.9g}"
                    )


def _expectation(folder: Path, line: Mapping[str, Any], root: Path | None) -> Iterator[str]:
    if not line.get("expect"):
        return
    who = f"{line['id']} on {line['subject']}"
    try:
        verdict, _, cites = line["expect"]
        Path(cites)
    except (ValueError, TypeError):
        yield f"{who}: expect = {line['expect']!r} is no (verdict, date, report)"
        return
    above = [root] if root else [p for p in folder.resolve().parents if (p / cites).is_dir()]
    if not above:
        yield f"{who}: expect cites {cites}, which is not found above {folder.name}"
        return
    try:
        cited = evidence.read(above[0] / cites / "evidence.jsonl")
    except ProbesError as e:
        yield f"{who}: {e}"
        return
    same = [r for r in cited if (r["id"], r["subject"]) == (line["id"], line["subject"])]
    found = asked.matching(same, asked.designs_of(line))
    if found is None:
        yield f"{who}: expect cites {cites}, which holds no such line"
    elif found["overall"] != verdict:
        yield f"{who}: expect says {verdict}, {cites} found {found['overall']}"
