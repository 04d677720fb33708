"""What a store holds: its entries by what they are about, what a run has left undone, and how it is
merged, checked and pruned.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from probes.atomic import replacing, write_text
from probes.errors import BadInput, Unfinished
from probes.reading import loads
from probes.store import INDEX, PARTIAL, Store, index_line, sha256
from probes.versions import versions

NO_KINDS = ("locks", "hashes", "plans", PARTIAL)
"""Folders of a store that hold no results."""
DEAR = ("weights",)
"""Kinds that take hours to make again: they are pruned only if they are named."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A result in a store: its kind and file, the bytes of its payload, the time at which it was
    made (seconds since 1970), what it is about, and what it was made for.
    """

    kind: str
    file: str
    bytes: int
    made: float
    about: str = ""
    purpose: str = ""

    def path(self, store: Store) -> Path:
        """The payload."""
        return store.folder / self.kind / self.file


def kinds(store: Store) -> list[str]:
    """The kinds of results in a store."""
    with contextlib.suppress(OSError), os.scandir(store.folder) as found:
        return sorted(e.name for e in found if e.is_dir() and e.name not in NO_KINDS)
    return []


def entries(store: Store) -> Iterator[Entry]:
    """The results in a store: those with a payload and a sidecar, by kind."""
    known = _index(store)
    fresh = []
    for kind in kinds(store):
        payloads: dict[str, os.DirEntry[str]] = {}
        sidecars: dict[str, os.DirEntry[str]] = {}
        with os.scandir(store.folder / kind) as found:
            for one in found:
                if not one.name.startswith("."):
                    stem, _, suffix = one.name.partition(".")
                    (sidecars if suffix == "json" else payloads)[stem] = one
        for stem in sorted(payloads.keys() & sidecars.keys()):
            payload = payloads[stem]
            said = known.get((kind, payload.name))
            if said is None:
                said = _said(Path(sidecars[stem].path))
                record = {"kind": kind, "file": payload.name, "about": said[0], "for": said[1]}
                fresh.append(index_line(record))
            stat = payload.stat()
            yield Entry(kind, payload.name, stat.st_size, stat.st_mtime, *said)
    if fresh:
        with contextlib.suppress(OSError), open(store.folder / INDEX, "ab") as index:
            index.write(b"".join(fresh))


def _index(store: Store) -> dict[tuple[str, str], tuple[str, str]]:
    try:
        lines = (store.folder / INDEX).read_bytes().splitlines()
    except OSError:
        return {}
    try:  # all lines as one text take a fifth of the time
        rows = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        rows = []
        for line in lines:
            with contextlib.suppress(ValueError):
                rows.append(loads(line))
    found = {}
    for row in rows:
        with contextlib.suppress(ValueError, TypeError):
            kind, file, about, purpose = map(str, row)
            found[kind, file] = about, purpose
    return found


def _said(sidecar: Path) -> tuple[str, str]:
    try:
        record = loads(sidecar.read_text(encoding="utf-8"))
        return str(record.get("about", "")), str(record.get("for", ""))
    except (OSError, ValueError, AttributeError):
        return "", ""


# --- plans


@dataclasses.dataclass(frozen=True)
class Plan:
    """Work that a command has begun: the command, what it is for, when it began, and the files of
    its pieces. It lies in the store until all pieces do.
    """

    command: str
    purpose: str
    began: float
    pieces: tuple[tuple[str, str], ...]

    def missing(self, there: set[tuple[str, str]]) -> int:
        """The number of its pieces that are not among those."""
        return sum(piece not in there for piece in self.pieces)


def plan_path(store: Store, pieces: Sequence[tuple[str, str]], command: str) -> Path:
    """Where the plan of some pieces lies."""
    text = json.dumps([command, *sorted(pieces)])
    return store.folder / "plans" / f"{hashlib.sha256(text.encode()).hexdigest()}.json"


@contextlib.contextmanager
def planned(store: Store, pieces: Sequence[tuple[str, str]], command: str) -> Iterator[None]:
    """A plan lies in the store while its pieces are made, and stays if the block ends by an
    exception or a kill.
    """
    path = plan_path(store, pieces, command)
    plan = Plan(command, store.purpose, time.time(), tuple(pieces))
    write_text(path, json.dumps(dataclasses.asdict(plan)) + "\n")
    try:
        yield
    except Unfinished as left:
        if left.estimate is not None:  # nothing was begun
            path.unlink(missing_ok=True)
        raise
    path.unlink(missing_ok=True)


_command: list[str] = []


def command(*told: str) -> str:
    """The command of this process as typed, without a shard: it is the one that makes all. A
    process that others have started is ``told`` the command of the first one.
    """
    if told:
        _command[:] = told
    path = Path(sys.argv[0] if sys.argv else "python")
    name = path.parent.name if path.name == "__main__.py" else path.name
    typed = _command or [name or "python", *sys.argv[1:]]
    return re.sub(r" --(probes-)?shard[ =]\S+", "", shlex.join(typed))


def plans(store: Store) -> Iterator[tuple[Path, Plan]]:
    """The plans in a store, the oldest first. A damaged one is left out."""
    found = []
    for path in (store.folder / "plans").glob("*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            record = loads(path.read_text(encoding="utf-8"))
            pieces = tuple((str(kind), str(file)) for kind, file in record.pop("pieces"))
            found.append((path, Plan(pieces=pieces, **record)))
    return iter(sorted(found, key=lambda one: one[1].began))


# --- merge, check, prune


def merge(into: Store, others: Sequence[Store]) -> Iterator[tuple[Entry, str]]:
    """Copy the results of other stores that one lacks. Gives each entry with ``new``, ``there``,
    ``other bytes`` (both have it, and they differ: the first store's stays) or ``damaged``.

    Raises BadInput for a store that is not there, or is merged into itself.
    """
    for other in others:
        if not other.folder.is_dir():
            raise BadInput(f"{other.folder}: there is no store")
        if into.folder.resolve() == other.folder.resolve():
            raise BadInput(f"{other.folder}: a store can't be merged into itself")
    for other in others:
        for entry in entries(other):
            yield entry, _merged(into, other, entry)


def _merged(into: Store, other: Store, entry: Entry) -> str:
    source, target = entry.path(other), entry.path(into)
    try:
        record = loads(source.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "damaged"
    if target.exists() and target.with_suffix(".json").exists():
        return "there" if sha256(target) == record.get("sha256") else "other bytes"
    if sha256(source) != record.get("sha256"):
        return "damaged"
    with replacing(target, into.folder / PARTIAL) as temporary:
        shutil.copyfile(source, temporary)
    into.register(target, record)
    return "new"


def damaged(store: Store) -> Iterator[tuple[Path, str]]:
    """What is wrong in a store: files whose bytes are not those that were written, results without
    a sidecar, sidecars without a result.
    """
    for kind in kinds(store):
        for path in sorted((store.folder / kind).iterdir()):
            if path.name.startswith(".") or path.is_dir():
                continue
            if path.suffix == ".json":
                if not any(p.suffix != ".json" for p in path.parent.glob(f"{path.stem}.*")):
                    yield path, "a sidecar without a result"
                continue
            if kind == "evidence":  # a file there has its own hash as its name
                if sha256(path) != path.stem:
                    yield path, "its bytes are not those that were written"
                continue
            try:
                record = loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            except OSError:
                yield path, "a result without a sidecar"
                continue
            except ValueError:
                yield path, "its sidecar is damaged"
                continue
            if record.get("sha256") != sha256(path):
                yield path, "its bytes are not those that were written"


def prunable(
    store: Store,
    older: float | None = None,
    unreachable: bool = False,
    only: Sequence[str] = (),
) -> Iterator[tuple[Entry, str]]:
    """Results that can go, with the reason: those made more than ``older`` seconds ago, and those
    ``unreachable`` by the installed versions of the packages. ``only`` names kinds; weights go
    only if they are named.
    """
    now, mine = time.time(), versions()
    for entry in entries(store):
        if (only and entry.kind not in only) or (entry.kind in DEAR and entry.kind not in only):
            continue
        if older is not None and now - entry.made > older:
            yield entry, "old"
        elif unreachable and (why := _other_versions(entry.path(store), mine)):
            yield entry, why


def _other_versions(path: Path, mine: dict[str, str | None]) -> str:
    try:
        key: dict[str, Any] = loads(path.with_suffix(".json").read_text())["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return "its sidecar is damaged"
    other = [f"{name} {key.get(name)}" for name in mine if key.get(name) != mine[name]]
    return f"made with {', '.join(other)}" if other else ""


def remove(store: Store, entry: Entry) -> None:
    """Remove a result, its sidecar first: a result without one does not exist."""
    path = entry.path(store)
    path.with_suffix(".json").unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    (store.folder / "locks" / f"{path.name}.lock").unlink(missing_ok=True)
