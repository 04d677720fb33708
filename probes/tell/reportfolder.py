"""The folder of a report: what lies in it, and how a new one takes its place."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import json
import os
import shutil
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path

from probes.atomic import sweep_up, temporary_name, write_text
from probes.errors import ProbesError
from probes.reading import loads
from probes.store import sha256
from probes.tell.markdown import Line

MANIFEST = "manifest.json"
NOTES = "notes.md"
PAGE = "report.html"
"""The page as one file: made of the other files of a report, and listed by no manifest."""
FILES = (
    MANIFEST,
    NOTES,
    "evidence.jsonl",
    "run.json",
    "verdicts.csv",
    "report.md",
    "figures",
    "tables",
    "aside",
)
"""What lies in the folder of a report."""


@dataclasses.dataclass(frozen=True)
class Sections:
    """What studies add to a report, in order; nothing by default.

    ``front`` are files and functions: where the file lies in the folder of a report,
    ``function(folder)`` gives a section of its page. Each function of ``below`` gives paragraphs
    below a claim, ``function(folder, line)``. ``files`` are names of files of their own that lie
    beside the page and are kept as they are.
    """

    front: Sequence[tuple[str, Callable[[Path], str]]] = ()
    below: Sequence[Callable[[Path, Line], Sequence[str]]] = ()
    files: Sequence[str] = ()


NOTHING = Sections()


def reports_in(folder: Path) -> list[Path]:
    """The folders of evidence or results at and below a folder, found by their manifests. If there
    are none, the folder itself.
    """
    below = {
        path.parent for name in ("evidence.jsonl", "manifest.json") for path in folder.rglob(name)
    }
    return sorted(below) or [folder]


def replaceable(folder: Path, ours: Container[str] = ()) -> None:
    """Raise ProbesError for a folder of files that are no report or results of ours: what replaces
    it would delete them.

    ``ours`` are names of files that may lie there without a manifest. Studies ask this before the
    work, and before they write.
    """
    if folder.exists() and not folder.is_dir():
        raise ProbesError(f"{folder} is a file: name a folder for the results")
    if (
        folder.exists()
        and any(p.name != PAGE and p.name not in ours for p in folder.iterdir())
        and not (folder / MANIFEST).exists()
    ):
        raise ProbesError(
            f"{folder} holds files and no {MANIFEST}: not a report to replace; choose another"
            " folder"
        )


@contextlib.contextmanager
def replacing_folder(folder: Path, ours: Container[str] = ()) -> Iterator[Path]:
    """A scratch folder that takes the place of ``folder`` when the block ends well; ProbesError
    where it can't be written.

    Only what the manifest of ``folder`` lists is replaced, and files named in ``ours``: any other
    file stays where it is, as it is.
    """
    folder = folder.resolve()
    replaceable(folder, ours)
    scratch, old = (folder.with_name(temporary_name(folder.name, end)) for end in ("new", "old"))
    lost = [
        p for p in folder.parent.glob(f".{glob.escape(folder.name)}.*.old") if not folder.exists()
    ]
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
            f"the report {folder.name} could not be written: {e.strerror or e}; make room or choose"
            " another folder"
        ) from e
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _keep_others(folder: Path, scratch: Path, named: Container[str]) -> None:
    """Give the new folder every file of the old one that no manifest of ours lists; ProbesError
    where a name would be ours.
    """
    ours = set()
    for path in (folder / MANIFEST, *folder.rglob(f"*/{MANIFEST}")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            listed = loads(path.read_text(encoding="utf-8"))
            ours |= {path, *(path.parent / str(name) for name in listed)}
    for path in sorted(folder.rglob("*")):
        place = scratch / path.relative_to(folder)
        if (
            path in ours
            or (path.name == PAGE and (path.parent == folder or path.with_name(MANIFEST) in ours))
            or path.relative_to(folder).parts[0] in named
            or (path.is_dir() and not path.is_symlink() and any(path.iterdir()))
        ):
            continue
        if place.is_symlink() or place.exists():
            if place.is_file() and path.is_file() and sha256(place) == sha256(path):
                continue
            raise ProbesError(
                f"{path} is not in the manifest of the report, which would replace it: move it, or"
                " choose another folder"
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


def manifest(folder: Path) -> None:
    """Write the manifest of a folder: every file with its SHA-256; a report inside it has a
    manifest of its own.
    """
    inner = [p.parent for p in folder.rglob(MANIFEST) if p.parent != folder]
    files = sorted(
        p
        for p in folder.rglob("*")
        if p.is_file() and p.name not in (MANIFEST, PAGE) and not any(i in p.parents for i in inner)
    )
    listed = {str(p.relative_to(folder).as_posix()): sha256(p) for p in files}
    write_text(folder / MANIFEST, json.dumps(listed, indent=1) + "\n")
