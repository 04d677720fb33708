"""A report is a function of files: evidence, tables and provenance in; pages, figures and a
manifest out.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from probes.atomic import write_text
from probes.errors import ProbesError
from probes.reading import loads
from probes.store import sha256
from probes.tell import evidence
from probes.tell.rejudging import rejudged
from probes.tell.reportfolder import (
    FILES,
    MANIFEST,
    NOTES,
    NOTHING,
    PAGE,
    Sections,
    manifest,
    replacing_folder,
)

Line = Mapping[str, Any]


def assemble(
    lines: Iterable[Line],
    run: Mapping[str, Any],
    folder: Path,
    extra: Mapping[str, pd.DataFrame] | None = None,
    files: Mapping[str, bytes] | None = None,
    sections: Sections = NOTHING,
) -> Path:
    """Write a report from evidence lines whose inputs lie in the store; it replaces the report that
    is there.

    ``extra`` are tables that a study adds to the folder ``tables``, ``files`` what it adds beside
    the page, ``sections`` what it tells of them. A ``notes.md`` that lies in the folder is kept,
    and stands at the top of the page. Everything is written beside ``folder`` first and put in its
    place at the end. Raises ProbesError when ``folder`` holds something that is no report of ours.
    """
    ours = {NOTES, *sections.files, "aside"} if files else {NOTES}
    with replacing_folder(folder, ours) as scratch:
        tables = scratch / "tables"
        tables.mkdir()
        if (folder / NOTES).exists():
            shutil.copyfile(folder / NOTES, scratch / NOTES)
        for name, frame in (extra or {}).items():
            frame.to_csv(
                tables / f"{name}.csv", index=False, float_format="%.7g", lineterminator="\n"
            )
        for name, content in (files or {}).items():
            (scratch / name).parent.mkdir(exist_ok=True)
            (scratch / name).write_bytes(content)
        out = [_moved(dict(line), tables) for line in sorted(lines, key=_order)]
        write_text(
            scratch / "evidence.jsonl", "".join(json.dumps(r, sort_keys=True) + "\n" for r in out)
        )
        write_text(scratch / "run.json", json.dumps(run, indent=1, sort_keys=True) + "\n")
        _draw(scratch, sections)
    return folder


def draw(
    folder: Path,
    again: bool = False,
    changed: bool = False,
    sections: Sections = NOTHING,
    figures: bool = False,
) -> None:
    """Draw a report again from its own files: evidence, tables, provenance. ProbesError where one
    is missing.

    With ``again`` every claim is judged again from its tables first, as after a new version of the
    judge or its words. An outcome that would change is a ProbesError, unless ``changed`` takes it
    as the rules of today have it; the line and its page then say what it was. ``figures`` draws
    those of each claim, however many there are, now and from then on.
    """
    lines = evidence.read(folder / "evidence.jsonl")
    if again:
        lines = [_again(folder, line, changed) for line in lines]
    own = tuple(sections.files)
    with replacing_folder(
        folder, (NOTES, *own) if (folder / MANIFEST).exists() else FILES + own
    ) as scratch:
        for name in ("evidence.jsonl", "run.json", NOTES, *own):
            if (folder / name).exists():
                shutil.copyfile(folder / name, scratch / name)
        if figures:
            run = evidence.run_of(scratch)
            text = json.dumps(run | {"figures": True}, indent=1, sort_keys=True)
            write_text(scratch / "run.json", text + "\n")
        if (folder / "aside").exists():
            shutil.copytree(folder / "aside", scratch / "aside")
        _copy_tables(folder, scratch)
        if again:
            write_text(
                scratch / "evidence.jsonl",
                "".join(json.dumps(r, sort_keys=True) + "\n" for r in lines),
            )
        _draw(scratch, sections)
    for above in (
        folder.resolve().parents
    ):  # results of an earlier version list the files of a report inside them, too
        with contextlib.suppress(OSError, ValueError, AttributeError):
            listed = loads((above / MANIFEST).read_text(encoding="utf-8"))
            inside = f"{folder.resolve().relative_to(above).as_posix()}/"
            if any(name.startswith(inside) for name in listed):
                kept = {
                    name: digest for name, digest in listed.items() if not name.startswith(inside)
                }
                write_text(above / MANIFEST, json.dumps(kept, indent=1) + "\n")


def _copy_tables(folder: Path, scratch: Path) -> None:
    """The tables of a report; one that somebody laid there is none, and is kept with all else that
    is not ours.
    """
    try:
        listed = set(loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        listed = set()
    for path in sorted(p for p in (folder / "tables").rglob("*") if p.is_file()):
        name = path.relative_to(folder)
        if not listed or name.as_posix() in listed:
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, scratch / name)
    (scratch / "tables").mkdir(exist_ok=True)


def _again(folder: Path, line: Line, changed: bool) -> dict[str, Any]:
    """A line with its verdicts judged again from its tables; ProbesError where they come out
    otherwise, unless that is asked for, and then the line says so.
    """
    frames = [evidence.load_table(folder, line, i) for i in range(len(line["inputs"]))]
    found = rejudged(line, frames)
    was = [v.outcome for v in evidence.members(line)]
    other = found.overall != line["overall"] or [v.outcome for v in found] != was
    if other and not changed:
        raise ProbesError(
            f"{line['id']} on {line['subject']}: judged again it is {found.overall}"
            f" ({found.counts()}), not {line['overall']} ({line['counts']}): make its evidence anew"
            " by the command in run.json, or take the verdict of the rules of today: --changed"
        )
    told = {
        "verdicts": [v.json() for v in found],
        "scope": found.scope,
        "counts": found.counts(),
        "judged": found.judged,
        "overall": found.overall,
        "question": dict(found.spec),
    }
    if other:
        told["rejudged"] = f"{line['overall']} ({line['counts']})"
    return json.loads(json.dumps({**line, **told}, allow_nan=False))


def _order(line: Line) -> tuple:
    return line["id"], line["subject"], -line["design"]["images"]


def _moved(line: dict[str, Any], tables: Path) -> dict[str, Any]:
    def move(entry: Mapping[str, str]) -> dict[str, str]:
        source = Path(entry["file"])
        target = tables / f"{entry['sha256'][:16]}{source.suffix}"
        if not target.exists():
            shutil.copyfile(source, target)
        return {"sha256": entry["sha256"], "file": f"tables/{target.name}"}

    line["inputs"] = [move(i) for i in line["inputs"]]
    summary = tables / f"summary-{line['summary']['sha256'][:16]}.csv"
    if not summary.exists():
        pd.read_parquet(line["summary"]["file"]).to_csv(
            summary, index=False, float_format="%.7g", lineterminator="\n"
        )
    line["summary"] = {"sha256": sha256(summary), "file": f"tables/{summary.name}"}
    if line.get("examples"):
        line["examples"] = move(line["examples"])
    return line


def _draw(folder: Path, sections: Sections) -> None:
    from probes.tell import composing, html, plots  # figures load matplotlib

    lines = evidence.read(folder / "evidence.jsonl")
    run = evidence.run_of(folder)
    write_text(folder / "verdicts.csv", verdict_csv(lines))

    def save(make: Callable[[], Any], path: Path) -> None:
        plots.save(make(), path)

    with plots.drawings() as vectors:
        parts = composing.parts(folder, lines, run, save, sections)
    write_text(folder / "report.md", parts.markdown())
    manifest(folder)
    write_text(folder / PAGE, html.page(folder, parts, vectors))


def verdict_csv(lines: Sequence[Line]) -> str:
    """The table of verdicts as the text of ``verdicts.csv``."""
    return verdict_table(lines).to_csv(index=False, float_format="%.7g", lineterminator="\n")


def verdict_table(lines: Sequence[Line]) -> pd.DataFrame:
    """The verdicts of evidence lines: a row for each claim, subject, block and part."""
    rows = []
    for line in lines:
        for member in evidence.members(line):
            for leaf in member.leaves:
                rows.append(
                    {
                        "claim": line["id"],
                        "subject": line["subject"],
                        "overall": line["overall"],
                        "block": member.label,
                        "block_verdict": member.outcome,
                        "verdict": leaf.outcome,
                        "metric": leaf.metric,
                        "effect": leaf.effect(),
                        "estimate": leaf.estimate,
                        "low": leaf.low,
                        "high": leaf.high,
                        "low_simultaneous": leaf.wide[0],
                        "high_simultaneous": leaf.wide[1],
                        "sesoi": leaf.sesoi,
                        "n": leaf.n,
                        "unit": leaf.unit,
                        "p_supported": leaf.p_supported,
                        "p_refuted": leaf.p_refuted,
                        "rule": leaf.rule,
                        "needed": leaf.needed,
                        "obstacle": leaf.obstacle,
                        "rho": leaf.notes.get("rho"),
                        "page_p_rise": leaf.notes.get("page_up"),
                        "page_p_fall": leaf.notes.get("page_down"),
                        "log_ratio_of_means": leaf.notes.get("ratio_of_means"),
                        "share_beyond_sesoi": leaf.notes.get("share_beyond"),
                        "excluded": leaf.notes.get("excluded", 0),
                    }
                )
    return pd.DataFrame(rows)
