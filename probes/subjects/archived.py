"""Files out of a tar archive that somebody else packed, one after the other, in bounded memory."""

from __future__ import annotations

import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path

MEMORY = 128 * 2**20
"""Bytes that unpacking may take; the largest preset of xz needs 65 MiB."""
LARGEST = 2**20
"""Bytes of a member, at most."""


class _Unpacked:
    """The bytes of an xz file, read in pieces; what claims a larger dictionary is refused."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("rb")
        self.of = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY)

    def read(self, size: int) -> bytes:
        found = b""
        while not found and not self.of.eof:
            raw = self.file.read(size) if self.of.needs_input else b""
            if self.of.needs_input and not raw:
                raise EOFError("it ends in the middle")
            found = self.of.decompress(raw, size)
        return found


def members(path: Path, ending: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each file in a ``.tar.xz`` whose name ends so, in the order of the archive.

    Nothing is written, and no name becomes a path. Raises tarfile.TarError, lzma.LZMAError or
    EOFError for a damaged archive, and ValueError for a member of more than 1 MiB.
    """
    unpacked = _Unpacked(path)
    with unpacked.file, tarfile.open(fileobj=unpacked, mode="r|") as files:  # type: ignore[call-overload]
        for member in files:
            if not (member.isfile() and member.name.endswith(ending)):
                continue
            if member.size > LARGEST:
                raise ValueError(f"{member.name} claims {member.size:,} bytes")
            content = files.extractfile(member)
            assert content is not None  # it is a file
            yield member.name, content.read()
