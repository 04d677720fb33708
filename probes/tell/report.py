"""A report is a function of files: evidence, tables and provenance in; pages, figures and a manifest out."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import json
import os
import shutil
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from probes.errors import ProbesError
from probes.judge import questions
from probes.store import sha256, sweep_up, temporary_name, write_text
from probes.tell import closing, evidence, pages

MANIFEST = "manifest.json"
NOTES = "notes.md"
FILES = (MANIFEST, NOTES, "evidence.jsonl", "run.json", "verdicts.csv", "report.md", "figures", "tables", "aside")
"""What lies in the folder of a report."""
Line = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Sections:
    """What studies add to a report, in order; nothing by default.

    ``front`` are files and functions: where the file lies in the folder of a report, ``function(folder)`` gives a section of its
    page. Each function of ``below`` gives paragraphs below a claim, ``function(folder, line)``. ``files`` are names of files of
    their own that lie beside the page and are kept as they are.
    """

    front: Sequence[tuple[str, Callable[[Path], str]]] = ()
    below: Sequence[Callable[[Path, Line], Sequence[str]]] = ()
    files: Sequence[str] = ()


NOTHING = Sections()


def assemble(
    lines: Iterable[Line],
    run: Mapping[str, Any],
    folder: Path,
    extra: Mapping[str, pd.DataFrame] | None = None,
    files: Mapping[str, bytes] | None = None,
    sections: Sections = NOTHING,
) -> Path:
    """Write a report from evidence lines whose inputs lie in the store; it replaces the report that is there.

    ``extra`` are tables that a study adds to the folder ``tables``, ``files`` what it adds beside the page, ``sections`` what
    it tells of them. A ``notes.md`` that lies in the folder is kept, and stands at the top of the page. Everything is written beside ``folder`` first and
    put in its place at the end. Raises ProbesError when ``folder`` holds something that is no report of ours.
    """
    ours = {NOTES, *sections.files, "aside"} if files else {NOTES}
    with replacing_folder(folder, ours) as scratch:
        tables = scratch / "tables"
        tables.mkdir()
        if (folder / NOTES).exists():
            shutil.copyfile(folder / NOTES, scratch / NOTES)
        for name, frame in (extra or {}).items():
            frame.to_csv(tables / f"{name}.csv", index=False, float_format="%.7g", lineterminator="\n")
        for name, content in (files or {}).items():
            (scratch / name).parent.mkdir(exist_ok=True)
            (scratch / name).write_bytes(content)
        out = [_moved(dict(line), tables) for line in sorted(lines, key=_order)]
        write_text(scratch / "evidence.jsonl", "".join(json.dumps(r, sort_keys=True) + "\n" for r in out))
        write_text(scratch / "run.json", json.dumps(run, indent=1, sort_keys=True) + "\n")
        _draw(scratch, sections)
    return folder


def draw(folder: Path, again: bool = False, sections: Sections = NOTHING) -> None:
    """Draw a report again from its own files: evidence, tables, provenance. ProbesError where one is missing.

    With ``again`` every claim is judged again from its tables first, as after a new version of the judge or its words; what the
    claim found (its outcomes and numbers) stays bound to the tables, so an outcome that would change is a ProbesError.
    """
    lines = evidence.read(folder / "evidence.jsonl")
    if again:
        lines = [_again(folder, line) for line in lines]
    own = tuple(sections.files)
    with replacing_folder(folder, (NOTES, *own) if (folder / MANIFEST).exists() else FILES + own) as scratch:
        for name in ("evidence.jsonl", "run.json", NOTES, *own):
            if (folder / name).exists():
                shutil.copyfile(folder / name, scratch / name)
        if (folder / "aside").exists():
            shutil.copytree(folder / "aside", scratch / "aside")
        _copy_tables(folder, scratch)
        if again:
            write_text(scratch / "evidence.jsonl", "".join(json.dumps(r, sort_keys=True) + "\n" for r in lines))
        _draw(scratch, sections)
    for above in folder.resolve().parents:  # results of an earlier version list the files of a report inside them, too
        with contextlib.suppress(OSError, ValueError, AttributeError):
            listed = json.loads((above / MANIFEST).read_text(encoding="utf-8"))
            inside = f"{folder.resolve().relative_to(above).as_posix()}/"
            if any(name.startswith(inside) for name in listed):
                kept = {name: digest for name, digest in listed.items() if not name.startswith(inside)}
                write_text(above / MANIFEST, json.dumps(kept, indent=1) + "\n")


def _copy_tables(folder: Path, scratch: Path) -> None:
    """The tables of a report; one that somebody laid there is none, and is kept with all else that is not ours."""
    try:
        listed = set(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        listed = set()
    for path in sorted(p for p in (folder / "tables").rglob("*") if p.is_file()):
        name = path.relative_to(folder)
        if not listed or name.as_posix() in listed:
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, scratch / name)
    (scratch / "tables").mkdir(exist_ok=True)


def _again(folder: Path, line: Line) -> dict[str, Any]:
    """A line with its verdicts judged again from its tables."""
    frames = [evidence.load_table(folder, line, i) for i in range(len(line["inputs"]))]
    found = questions.again(line["question"], frames, line["alpha"])
    if found.overall != line["overall"] or [v.outcome for v in found] != [v.outcome for v in evidence.members(line)]:
        raise ProbesError(
            f"{line['id']} on {line['subject']}: judged again it is {found.overall} ({found.counts()}), not {line['overall']}"
            f" ({line['counts']}): its evidence is to be made anew, by the command in run.json"
        )
    told = {"verdicts": [v.json() for v in found], "scope": found.scope, "counts": found.counts(), "judged": found.judged}
    return json.loads(json.dumps({**line, **told}, allow_nan=False))


def replaceable(folder: Path, ours: Container[str] = ()) -> None:
    """Raise ProbesError for a folder of files that are no report or results of ours: what replaces it would delete them.

    ``ours`` are names of files that may lie there without a manifest. Studies ask this before the work, and before they write.
    """
    if folder.exists() and not folder.is_dir():
        raise ProbesError(f"{folder} is a file: name a folder for the results")
    if folder.exists() and any(p.name not in ours for p in folder.iterdir()) and not (folder / MANIFEST).exists():
        raise ProbesError(f"{folder} holds files and no {MANIFEST}: not a report to replace; choose another folder")


@contextlib.contextmanager
def replacing_folder(folder: Path, ours: Container[str] = ()) -> Iterator[Path]:
    """A scratch folder that takes the place of ``folder`` when the block ends well; ProbesError where it can't be written.

    Only what the manifest of ``folder`` lists is replaced, and files named in ``ours``: any other file stays where it is, as it is.
    """
    folder = folder.resolve()
    replaceable(folder, ours)
    scratch, old = (folder.with_name(temporary_name(folder.name, end)) for end in ("new", "old"))
    lost = [p for p in folder.parent.glob(f".{glob.escape(folder.name)}.*.old") if not folder.exists()]
    if lost:  # a process was killed between the two renames below
        lost[0].rename(folder)
    for end in ("new", "old"):
        sweep_up(folder.parent, folder.name, end)
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(parents=True)
        yield scratch
        if folder.exists():
            _keep_others(folder, scratch, ours)
            folder.rename(old)
        try:
            scratch.rename(folder)
        except BaseException:  # the old one comes back
            if old.exists() and not folder.exists():
                old.rename(folder)
            raise
        if old.exists():
            old.unlink() if old.is_file() else shutil.rmtree(old, ignore_errors=True)
    except OSError as e:
        raise ProbesError(
            f"the report {folder.name} could not be written: {e.strerror or e}; make room or choose another folder"
        ) from e
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _keep_others(folder: Path, scratch: Path, named: Container[str]) -> None:
    """Give the new folder every file of the old one that no manifest of ours lists; ProbesError where a name would be ours."""
    ours = set()
    for path in (folder / MANIFEST, *folder.rglob(f"*/{MANIFEST}")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            listed = json.loads(path.read_text(encoding="utf-8"))
            ours |= {path, *(path.parent / str(name) for name in listed)}
    for path in sorted(folder.rglob("*")):
        place = scratch / path.relative_to(folder)
        if (
            path in ours
            or path.relative_to(folder).parts[0] in named
            or (path.is_dir() and not path.is_symlink() and any(path.iterdir()))
        ):
            continue
        if place.is_symlink() or place.exists():
            if place.is_file() and path.is_file() and sha256(place) == sha256(path):
                continue
            raise ProbesError(
                f"{path} is not in the manifest of the report, which would replace it: move it, or choose another folder"
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            place.symlink_to(path.readlink())
        elif path.is_dir():
            place.mkdir(exist_ok=True)
        else:
            try:
                os.link(path, place)
            except OSError:  # no hard links on this file system
                shutil.copy2(path, place)


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
        pd.read_parquet(line["summary"]["file"]).to_csv(summary, index=False, float_format="%.7g", lineterminator="\n")
    line["summary"] = {"sha256": sha256(summary), "file": f"tables/{summary.name}"}
    if line.get("examples"):
        line["examples"] = move(line["examples"])
    return line


def _draw(folder: Path, sections: Sections) -> None:
    lines = evidence.read(folder / "evidence.jsonl")
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    _verdict_table(lines).to_csv(folder / "verdicts.csv", index=False, float_format="%.7g", lineterminator="\n")
    parts = [
        pages.front(lines, run),
        (folder / NOTES).read_text(encoding="utf-8") if (folder / NOTES).exists() else "",
        *(told(folder) for file, told in sections.front if (folder / file).exists()),
        *(pages.section(folder, line, sections.below) for line in lines),
        pages.noise(folder, lines),
        closing.words(),
        closing.made(folder, lines, run),
    ]
    write_text(folder / "report.md", "\n\n".join(p.strip() for p in parts if p) + "\n")
    manifest(folder)


def manifest(folder: Path) -> None:
    """Write the manifest of a folder: every file with its SHA-256; a report inside it has a manifest of its own."""
    inner = [p.parent for p in folder.rglob(MANIFEST) if p.parent != folder]
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST and not any(i in p.parents for i in inner))
    listed = {str(p.relative_to(folder).as_posix()): sha256(p) for p in files}
    write_text(folder / MANIFEST, json.dumps(listed, indent=1) + "\n")


def _verdict_table(lines: Sequence[Line]) -> pd.DataFrame:
    rows = []
    for line in lines:
        for member in evidence.members(line):
            for leaf in member.leaves:
                rows.append({
                    "claim": line["id"], "subject": line["subject"], "overall": line["overall"], "block": member.label,
                    "block_verdict": member.outcome, "verdict": leaf.outcome,
                    "metric": leaf.metric, "effect": leaf.effect(), "estimate": leaf.estimate,
                    "low": leaf.low, "high": leaf.high, "low_simultaneous": leaf.wide[0], "high_simultaneous": leaf.wide[1],
                    "sesoi": leaf.sesoi, "n": leaf.n, "unit": leaf.unit, "p_supported": leaf.p_supported,
                    "p_refuted": leaf.p_refuted, "rule": leaf.rule, "needed": leaf.needed, "obstacle": leaf.obstacle,
                    "rho": leaf.notes.get("rho"), "page_p_rise": leaf.notes.get("page_up"),
                    "page_p_fall": leaf.notes.get("page_down"), "log_ratio_of_means": leaf.notes.get("ratio_of_means"),
                    "share_beyond_sesoi": leaf.notes.get("share_beyond"), "excluded": leaf.notes.get("excluded", 0),
                })  # fmt: skip
    return pd.DataFrame(rows)
