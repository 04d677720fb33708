"""Files that are never half-written: they are made beside their place and renamed. What killed
processes leave is swept up.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from probes.errors import ProbesError

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
def scratch(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """A temporary path beside ``path``, or in another ``folder`` of the same file system. It is
    removed when the block ends. What killed processes left there is removed first: it is looked for
    among all files of the folder, so a folder of many files needs another one for this.

    Raises ProbesError if the folder can't be written (read-only, full).
    """
    # the suffix comes last: writers choose the format by it
    ending = f"tmp{path.suffix}"
    beside = folder or path.parent
    temporary = beside / temporary_name(path.name, ending)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir(exist_ok=True)
        sweep_up(beside, path.name, ending)
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
def replacing(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """A temporary path beside ``path``, or in a ``folder``, that replaces it, atomically, if the
    block ends without an exception.

    Raises what :func:`scratch` raises.
    """
    with scratch(path, folder) as temporary:
        yield temporary
        os.replace(temporary, path)


def write_text(path: Path, text: str, folder: Path | None = None) -> None:
    """Write a text file atomically, UTF-8 with Unix line ends."""
    with replacing(path, folder) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
