"""A store of results by the hash of what they depend on: made once, found again, never
half-written.

An entry is a payload file and, beside it, a JSON sidecar with the key and the payload's SHA-256.
Both arrive by atomic rename, the sidecar last: an entry without a sidecar does not exist, and one
whose bytes do not match is made again.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import json
import logging
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from probes.errors import ProbesError
from probes.versions import versions

log = logging.getLogger("probes")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as 64 hex digits."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


PATIENCE = 20.0
"""Waiting for another process is logged after this many seconds."""
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
        known = dict(json.loads(index.read_text(encoding="utf-8")))
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


YOUNG = 24 * 3600
"""A temporary file of another machine is left alone for this many seconds, since its process can't
be asked for from here.
"""


@functools.cache
def _here() -> str:
    """Eight hex digits that identify where process numbers are valid: this start of this machine,
    and its container.
    """
    told = [platform.node()]
    for place in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with contextlib.suppress(OSError):
            told.append(
                os.readlink(place)
                if place.endswith("pid")
                else Path(place).read_text(encoding="ascii")
            )
    return hashlib.sha256("|".join(told).encode()).hexdigest()[:8]


def temporary_name(name: str, ending: str) -> str:
    """The name of a temporary file of this process. It is hidden and has the process number and the
    machine right before the ending.

    >>> temporary_name("a_0.35.csv", "tmp") == f".a_0.35.csv.{os.getpid()}-{_here()}.tmp"
    True
    """
    return f".{name}.{os.getpid()}-{_here()}.{ending}"


def sweep_up(folder: Path, name: str, ending: str) -> None:
    """Remove temporary files of ``name`` that killed processes left: those of this machine at once,
    others after a day.
    """
    found = re.compile(rf"\.{re.escape(name)}\.(\d+)-([0-9a-f]{{8}})\.{re.escape(ending)}")
    for left in folder.glob(f".{glob.escape(name)}.*.{glob.escape(ending)}"):
        match = found.fullmatch(left.name)
        if match is None or (match[2] == _here() and _alive(int(match[1]))):
            continue
        with contextlib.suppress(OSError):
            if match[2] == _here() or time.time() - left.stat().st_mtime > YOUNG:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``. It is removed when the block ends. What killed processes
    left is removed first.

    Raises ProbesError if the folder can't be written (read-only, full).
    """
    # the suffix comes last: writers choose the format by it
    ending = f"tmp{path.suffix}"
    temporary = path.with_name(temporary_name(path.name, ending))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_up(path.parent, path.name, ending)
        yield temporary
    except OSError as e:
        # Without a number it is an error of what is read, such as a damaged image; but numpy gives
        # none to a full disk.
        if e.errno is None and "requested and" not in str(e):
            raise
        raise ProbesError(
            f"could not write {path}: {e.strerror or e}; make room or choose another folder"
        ) from e
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it, atomically, if the block ends without an
    exception.

    Raises what :func:`scratch` raises.
    """
    with scratch(path) as temporary:
        yield temporary
        os.replace(temporary, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, UTF-8 with Unix line ends."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


class Store:
    """Results by content hash below one folder: ``PROBES_STORE``, else ``.probes`` below ``root``.

    >>> import tempfile
    >>> store = Store(tempfile.mkdtemp())
    >>> path = store.get_or_make("demo", {"x": 1}, ".txt", lambda p: p.write_text("one"))
    >>> path.read_text()
    'one'
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def default(cls, root: str | Path = ".") -> Store:
        """The store named by ``PROBES_STORE``, else ``.probes`` below ``root``."""
        return cls(os.environ.get("PROBES_STORE") or Path(root) / ".probes")

    def find(self, kind: str, key: Mapping[str, Any], suffix: str) -> Path | None:
        """The payload of an entry, or None if its bytes are not those that were written."""
        path = self._path(kind, key, suffix)
        sidecar = path.with_suffix(".json")
        if not (path.exists() and sidecar.exists()):
            return None
        try:
            if json.loads(sidecar.read_text(encoding="utf-8"))["sha256"] == sha256(path):
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
        self, kind: str, key: Mapping[str, Any], suffix: str, make: Callable[[Path], Any]
    ) -> Path:
        """The payload for a key. If it is missing, ``make`` writes it to the path that it gets.

        One process makes it, the others wait for it. ``suffix`` is the ending of the payload, with
        the dot; not ``.json``. The return value of ``make``, a JSON value, is kept in the sidecar
        as its ``note``.
        """
        if found := self.find(kind, key, suffix):
            return found
        path = self._path(kind, key, suffix)
        with self.lock(path.name):
            if found := self.find(kind, key, suffix):
                return found
            with replacing(path) as temporary:
                note = make(temporary)
                record = {
                    "kind": kind,
                    "key": self.key(key),
                    "file": path.name,
                    "sha256": sha256(temporary),
                    "note": note,
                }
                path.with_suffix(".json").unlink(missing_ok=True)
            write_text(
                path.with_suffix(".json"), json.dumps(record, sort_keys=True, indent=1) + "\n"
            )
        return path

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
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            log.warning(
                "another process makes %s: waiting for it (the lock is %s)", name, lock.lock_file
            )
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _path(self, kind: str, key: Mapping[str, Any], suffix: str) -> Path:
        return self.folder / kind / (digest(self.key(key)) + suffix)
