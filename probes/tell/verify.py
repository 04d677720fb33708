"""Verifies a report from its files alone: the manifest, every verdict, every cited expectation. No
model, no torch.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from probes import __version__
from probes.errors import ProbesError
from probes.judge.verdict import Verdicts, plain
from probes.reading import loads
from probes.store import sha256
from probes.tell import asked, evidence
from probes.tell.markdown import DRAWN
from probes.tell.rejudging import rejudged
from probes.tell.report import verdict_csv
from probes.tell.reportfolder import FILES, MANIFEST, PAGE
from probes.tell.sealing import broken

TOLERANCE = 1e-6
NEEDED = ("needed", "needed_draws")
"""Whole numbers from numbers whose last digits differ from machine to machine."""
WORDS = ("question", "obstacle")
"""What another version of the package may say in other words."""
OURS = set(FILES)
"""What a report consists of: a file of one of these names that the manifest does not list is one
too many.
"""


def verify(folder: Path, root: Path | None = None) -> list[str]:
    """What is wrong with a report, a sentence each; an empty list when all is well.

    The manifest lists every file with its SHA-256; each verdict is judged again from its tables,
    whose SHA-256 the evidence line carries; ``verdicts.csv`` and ``report.md`` must tell what the
    evidence tells (the page is not compared where another version of the package drew it, and
    figures never are); each expectation must be what the report that it cites has found (``root``
    is the folder that citations start from: by default the nearest one above that holds the cited
    report). A folder of results without claims, which has a manifest only, is
    checked against that.
    """
    if _without_claims(folder):
        return list(_manifest(folder))
    try:
        lines = evidence.read(folder / "evidence.jsonl")
    except ProbesError as e:
        return [str(e)]
    problems = list(_manifest(folder))
    same = _version(folder) == __version__
    for line in lines:
        problems += _verdicts(folder, line, same)
        problems += _expectation(folder, line, root)
    problems += _told(folder, lines)
    return problems


@contextlib.contextmanager
def _able(what: str, done: str) -> Iterator[None]:
    """ProbesError for any fault: what was forged meets one anywhere in the judge or in a page."""
    try:
        yield
    except (ProbesError, MemoryError):
        raise
    except Exception as e:
        raise ProbesError(f"{what} can't be {done} ({type(e).__name__}: {e})") from e


def _version(folder: Path) -> str:
    """The version of the package that measured a report; empty where nobody can tell."""
    try:
        return str(evidence.run_of(folder)["probes"])
    except ProbesError:
        return ""


def _without_claims(folder: Path) -> bool:
    marks = {"evidence.jsonl", "verdicts.csv"}
    try:
        return not any((folder / name).exists() for name in marks) and not marks & set(
            _listed(folder)
        )
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
    if PAGE in here:
        text = (folder / PAGE).read_bytes().decode("utf-8", "surrogateescape")
        if sha256(folder / MANIFEST) not in text[:2000]:
            yield f"{PAGE} was made of other files: probes report {folder} makes it anew"
        elif broken(text):
            yield f"{PAGE} was changed after it was made: probes report {folder} makes it anew"


def _told(folder: Path, lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What the table and the page of a report tell otherwise than its evidence."""
    again = f"probes report {folder} makes it anew"
    try:
        with _able("what its table and page should tell", "made"):
            run = evidence.run_of(folder)
            table = (folder / "verdicts.csv").read_text(encoding="utf-8")
            page = (folder / "report.md").read_text(encoding="utf-8")
            rows = verdict_csv(lines).splitlines()
            told = _page(folder, lines, run)
    except ProbesError as e:
        yield str(e)
        return
    for i, (was, now) in enumerate(zip_longest(table.splitlines(), rows), 1):
        if was != now:
            yield f"verdicts.csv is not the table of its evidence from line {i} on: {again}"
            break
    if (drawn := DRAWN.search(page)) is None or drawn[1] != __version__:
        return
    at = 0
    for paragraph in told:
        found = page.find(paragraph, at)
        if found < 0:
            first = paragraph.strip().splitlines()[0][:80]
            yield f"report.md does not tell what its evidence tells ({first} ...): {again}"
            return
        at = found + len(paragraph)
    for name in _ANCHOR.findall(page):
        if not any(f'<a id="{name}"></a>' in paragraph for paragraph in told):
            yield f"report.md tells of a claim that its evidence does not hold ({name}): {again}"


_ANCHOR = re.compile(r'^<a id="([^"]*)"></a>$', re.M)


def _page(folder: Path, lines: Sequence[Mapping[str, Any]], run: Mapping[str, Any]) -> list[str]:
    """What the page must tell, part by part; studies may add to it."""
    from probes.tell import composing  # loads matplotlib

    return composing.parts(folder, lines, run, lambda make, path: None).texts()


def _verdicts(folder: Path, line: Mapping[str, Any], same: bool) -> Iterator[str]:
    who = f"{line['id']} on {line['subject']}"
    try:
        with _able("its evidence", "judged again"):
            frames = [evidence.load_table(folder, line, i) for i in range(len(line["inputs"]))]
            for beside in ("summary", "examples"):
                if line.get(beside):
                    evidence.whole(folder, line, line[beside])
            found = rejudged(line, frames)
            problems = list(compare(line, found, same))
    except ProbesError as e:
        yield str(e) if who in str(e) else f"{who}: {e}"
        return
    yield from (f"{who}: {problem}" for problem in problems)


def compare(line: Mapping[str, Any], found: Verdicts, same: bool = True) -> Iterator[str]:
    """Where an evidence line and verdicts judged again differ: numbers beyond 1e-6, all else at
    all. Of another version of the package (not ``same``) words may differ, and fields be missing.
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
    labels = [m.label for m in recorded]
    for label, before, now in zip(labels, line["verdicts"], found, strict=True):
        for which, x, y in differences(before, plain(now.json()), same):
            yield f"{label}: the evidence says {which} = {x}, its tables say {y}"
    told = {"counts": found.counts(), "judged": found.judged, "alpha": found.alpha}
    told |= {"scope": found.scope} if same else {}
    for name, value in told.items():
        if line.get(name, value) != value:
            yield f"the evidence says {name} = {line[name]!r}, its tables say {value!r}"


def differences(
    was: Any, now: Any, same: bool = True, name: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Each place where two JSON values differ: what it is called, and both."""
    last = name.rpartition(" ")[2]
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted(was | now if same else was):
            yield from differences(was.get(key), now.get(key), same, f"{name} {key}".strip())
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for i, (a, b) in enumerate(zip(was, now, strict=True)):
            yield from differences(a, b, same, f"{name}[{i}]")
    elif not (
        _same(was, now) or (last in NEEDED and _near(was, now)) or (last in WORDS and not same)
    ):
        x, y = (f"{v:.9g}" if isinstance(v, float) else repr(v) for v in (was, now))
        yield name, x, y


def _near(was: Any, now: Any) -> bool:
    return isinstance(was, int) and isinstance(now, int) and abs(was - now) <= 1


def _same(was: Any, now: Any) -> bool:
    numbers = [isinstance(v, int | float) and not isinstance(v, bool) for v in (was, now)]
    if not all(numbers):
        return bool(was == now and type(was) is type(now))
    whole = isinstance(was, int) and isinstance(now, int)
    return was == now or (
        not whole and math.isclose(was, now, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
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
