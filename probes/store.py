"""A store of results by the hash of what they depend on: made once, found again, never half-written.

An entry is a payload file and, beside it, a JSON sidecar with the key and the payload's SHA-256. Both arrive by atomic
rename, the sidecar last: an entry without a sidecar does not exist, and one whose bytes do not match is made again.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from probes.errors import ProbesError

log = logging.getLogger("probes")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as 64 hex digits."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def digest(key: Mapping[str, Any]) -> str:
    """The SHA-256 of a key: a mapping of JSON values, whatever the order of its items.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(key, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()).hexdigest()


def sweep_up(folder: Path, pattern: str) -> None:
    """Remove what processes that are gone left below a folder: names of ``pattern`` that hold ``.PID.`` of no process."""
    for left in folder.glob(pattern):
        pid = next((int(part) for part in left.name.split(".") if part.isdigit()), os.getpid())
        if pid != os.getpid() and not _alive(pid):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


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
    """A temporary path beside ``path``, gone when the block ends; what killed processes left of it goes first.

    Raises ProbesError when the folder can't be written (read-only, full).
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_up(path.parent, f".{glob.escape(path.stem)}.*.tmp{path.suffix}")
        yield temporary
    except OSError as e:
        # Without a number it is an error of what is read, such as a damaged image; but numpy gives none to a full disk.
        if e.errno is None and "requested and" not in str(e):
            raise
        raise ProbesError(f"could not write {path}: {e.strerror or e}; make room or choose another folder") from e
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it, atomically, when the block ends without an exception.

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
        """The payload of an entry whose bytes are those that were written, or None."""
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

    def get_or_make(self, kind: str, key: Mapping[str, Any], suffix: str, make: Callable[[Path], Any]) -> Path:
        """The payload for a key; where it is missing, ``make`` writes it to the path that it is given.

        One process makes it, the others wait for it. ``suffix`` is the payload's, with the dot; not ``.json``. What
        ``make`` returns, a JSON value, is kept in the sidecar as its ``note``.
        """
        if found := self.find(kind, key, suffix):
            return found
        path = self._path(kind, key, suffix)
        with self.lock(path.name):
            if found := self.find(kind, key, suffix):
                return found
            with replacing(path) as temporary:
                note = make(temporary)
                record = {"kind": kind, "key": dict(key), "file": path.name, "sha256": sha256(temporary), "note": note}
                path.with_suffix(".json").unlink(missing_ok=True)
            write_text(path.with_suffix(".json"), json.dumps(record, sort_keys=True, indent=1) + "\n")
        return path

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a named lock between processes on this store."""
        folder = self.folder / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise ProbesError(
                f"the store {self.folder} can't be written: {e.strerror}; set PROBES_STORE to a folder that can"
            ) from e
        with FileLock(folder / f"{name}.lock"):
            yield

    def _path(self, kind: str, key: Mapping[str, Any], suffix: str) -> Path:
        return self.folder / kind / (digest(key) + suffix)
