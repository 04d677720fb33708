"""A store of results by the hash of what they depend on: made once, found again, never
half-written.

An entry is a payload file and, beside it, a JSON sidecar with the key and the payload's SHA-256.
Both arrive by atomic rename, the sidecar last: an entry without a sidecar does not exist, and one
whose bytes do not match is made again.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from probes.atomic import replacing, write_text
from probes.errors import ProbesError
from probes.reading import loads
from probes.versions import versions

log = logging.getLogger("probes")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as 64 hex digits."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


PATIENCE = 20.0
"""Waiting for another process is logged after this many seconds."""
INDEX = "index.jsonl"
"""The file of a store with a line for each entry. It is a help for looking: what it lacks or says
wrongly is read from the sidecars.
"""
PARTIAL = "partial"
"""The folder of a store in which results are written before they are put into their places."""
SETTLED = 2.0
"""A file that changes twice within this many seconds may keep its times. Its hash is computed anew
until it is older.
"""


def file_hashes(paths: Sequence[Path], store: Store) -> list[str]:
    """The SHA-256 of files. The store gives the hash of a file whose size, times and inode have not
    changed since it was last hashed.

    The times include the one that no user sets (``ctime``), so a file that was replaced by another
    of the same size is read again.
    """
    if not paths:
        return []
    above = os.path.commonpath([path.absolute().parent for path in paths])
    index = store.folder / "hashes" / f"{hashlib.sha256(above.encode()).hexdigest()}.json"
    try:
        known = dict(loads(index.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        known = {}
    found, fresh = [], {}
    for path in paths:
        now, stat = time.time(), path.stat()
        mark = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        name = os.path.relpath(path.absolute(), above)
        kept = known.get(name)
        found.append(
            kept[1]
            if isinstance(kept, list) and len(kept) == 2 and kept[0] == mark
            else sha256(path)
        )
        if now - stat.st_ctime > SETTLED:
            fresh[name] = [mark, found[-1]]
    if any(known.get(name) != value for name, value in fresh.items()):
        write_text(index, json.dumps(known | fresh))
    return found


def digest(key: Mapping[str, Any]) -> str:
    """The SHA-256 of a key: a mapping of JSON values, whatever the order of its items.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(
        json.dumps(key, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    ).hexdigest()


LOCKLESS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What a file system answers that has no locks."""


class Store:
    """Results by content hash below one folder: ``PROBES_STORE``, else ``.probes`` below ``root``.

    ``purpose`` is what the results are made for, such as a claim or a study. It is kept beside each
    of them, with what it is about, for ``probes status``, and it is no part of a key.

    >>> import tempfile
    >>> store = Store(tempfile.mkdtemp())
    >>> path = store.get_or_make("demo", {"x": 1}, ".txt", lambda p: p.write_text("one"))
    >>> path.read_text()
    'one'
    """

    def __init__(self, folder: str | Path, purpose: str = "") -> None:
        self.folder, self.purpose = Path(folder), purpose

    @classmethod
    def default(cls, root: str | Path = ".") -> Store:
        """The store named by ``PROBES_STORE``, else ``.probes`` below ``root``."""
        return cls(os.environ.get("PROBES_STORE") or Path(root) / ".probes")

    def has(self, kind: str, key: Mapping[str, Any], suffix: str) -> bool:
        """Whether an entry is there. Its bytes are not looked at."""
        return self._path(kind, key, suffix).with_suffix(".json").exists()

    def name(self, key: Mapping[str, Any], suffix: str) -> str:
        """The name of the file of an entry, in the folder of its kind."""
        return digest(self.key(key)) + suffix

    def entry(self, kind: str, name: str) -> tuple[dict[str, Any], bytes] | None:
        """The sidecar and the payload of an entry by the name of its file, to be sent elsewhere.
        None if it is not there or damaged.
        """
        path = self.folder / kind / name
        try:
            record = loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            payload = path.read_bytes()
        except (OSError, ValueError):
            return None
        return (record, payload) if _matches(record, payload) else None

    def add(self, record: Mapping[str, Any], payload: bytes) -> Path:
        """Keep an entry that was made elsewhere. Returns the path of its payload.

        Raises ProbesError for bytes that are not those that were written there.
        """
        path = self.folder / record["kind"] / record["file"]
        if not _matches(record, payload):
            raise ProbesError(f"{path.name}: the bytes that came are not those that were sent")
        with self.lock(path.name):
            with replacing(path, self.folder / PARTIAL) as temporary:
                temporary.write_bytes(payload)
                path.with_suffix(".json").unlink(missing_ok=True)
            self.register(path, {**record, "for": record.get("for") or self.purpose})
        return path

    def find(self, kind: str, key: Mapping[str, Any], suffix: str) -> Path | None:
        """The payload of an entry, or None if its bytes are not those that were written."""
        path = self._path(kind, key, suffix)
        sidecar = path.with_suffix(".json")
        if not (path.exists() and sidecar.exists()):
            return None
        try:
            if loads(sidecar.read_text(encoding="utf-8"))["sha256"] == sha256(path):
                return path
        except (ValueError, KeyError, TypeError, OSError):
            pass
        log.warning("%s is corrupt: it is made again", path)
        return None

    @staticmethod
    def key(key: Mapping[str, Any]) -> dict[str, Any]:
        """A key with the versions of the package, torch, torchvision, scipy and numpy. Every result
        depends on them.
        """
        return {**versions(), **key}

    def get_or_make(
        self,
        kind: str,
        key: Mapping[str, Any],
        suffix: str,
        make: Callable[[Path], Any],
        about: str = "",
    ) -> Path:
        """The payload for a key. If it is missing, ``make`` writes it to the path that it gets.

        One process makes it, the others wait for it. ``suffix`` is the ending of the payload, with
        the dot; not ``.json``. The return value of ``make``, a JSON value, is kept in the sidecar
        as its ``note``, and ``about``, a subject for instance, beside it.
        """
        if found := self.find(kind, key, suffix):
            return found
        path = self._path(kind, key, suffix)
        with self.lock(path.name):
            if found := self.find(kind, key, suffix):
                return found
            with replacing(path, self.folder / PARTIAL) as temporary:
                note = make(temporary)
                record = {
                    "kind": kind,
                    "key": self.key(key),
                    "file": path.name,
                    "sha256": sha256(temporary),
                    "note": note,
                    "about": about,
                    "for": self.purpose,
                }
                path.with_suffix(".json").unlink(missing_ok=True)
            self.register(path, record)
        return path

    def register(self, path: Path, record: Mapping[str, Any]) -> None:
        """Write the sidecar of a payload that is in its place, and a line of the index."""
        text = json.dumps(record, sort_keys=True, indent=1) + "\n"
        write_text(path.with_suffix(".json"), text, self.folder / PARTIAL)
        with contextlib.suppress(OSError), open(self.folder / INDEX, "ab") as index:
            index.write(index_line(record))

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a named lock between processes on this store."""
        folder = self.folder / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # a store is never committed
            if (
                self.folder.name == ".probes"
                and not (ignored := self.folder / ".gitignore").exists()
            ):
                ignored.write_text("*\n", encoding="utf-8")
        except OSError as e:
            raise ProbesError(
                f"the store {self.folder} can't be written: {e.strerror}; set PROBES_STORE to a"
                " folder that can"
            ) from e
        lock = FileLock(folder / f"{name}.lock")
        try:
            try:
                lock.acquire(timeout=PATIENCE)
            except Timeout:
                log.warning(
                    "another process makes %s: waiting for it (the lock is %s)",
                    name,
                    lock.lock_file,
                )
                lock.acquire()
        except (OSError, NotImplementedError) as e:
            if isinstance(e, OSError) and e.errno not in LOCKLESS:
                raise ProbesError(
                    f"the store {self.folder} can't be locked: {e.strerror or e}; make room, or set"
                    " PROBES_STORE to a folder that can be written"
                ) from e
            _say_once(self.folder)
        try:
            yield
        finally:
            lock.release()

    def _path(self, kind: str, key: Mapping[str, Any], suffix: str) -> Path:
        return self.folder / kind / self.name(key, suffix)


@functools.cache
def _say_once(folder: Path) -> None:
    log.warning(
        "the file system of the store %s has no locks: two runs at once may do the same work, and"
        " both keep the same bytes",
        folder,
    )


def index_line(record: Mapping[str, Any]) -> bytes:
    """The line of the index for a sidecar: kind, file, what it is about, what it was made for."""
    line = [record["kind"], record["file"], record.get("about", ""), record.get("for", "")]
    return (json.dumps(line, separators=(",", ":")) + "\n").encode()


def _matches(record: Mapping[str, Any], payload: bytes) -> bool:
    said = record.get("sha256") if isinstance(record, Mapping) else None
    return hashlib.sha256(payload).hexdigest() == said
