"""Downloads are bound to a full SHA-256: one that is typed or known, that of the host, or that of
the first download, which is kept in a file beside the claims.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from probes.atomic import write_text
from probes.errors import BadInput
from probes.reading import loads
from probes.store import sha256

FILE = "probes-downloads.json"
"""Names of downloads with their SHA-256, in the working folder. It is meant to be committed."""
_MNIST = {
    "train-images-idx3": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
_CIFAR10 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
KNOWN = {f"{name}-ubyte.gz": value for name, value in _MNIST.items()} | {
    "cifar-10-python.tar.gz": _CIFAR10
}
"""The archives of MNIST and CIFAR-10, whose bytes have not changed since they were published."""
_SHA256 = re.compile("[0-9a-f]{64}")


def accept(name: str, path: Path, given: str | None = None) -> str:
    """Accept a file that was downloaded under a name; in words, what it was compared with.

    ``given`` is the SHA-256 that somebody typed. Without it a known one counts, else the one that
    the file of pins holds, else the one that a hub stores the file under; the first download of
    anything else is written to the file of pins. Raises BadInput for other bytes, after the file
    was moved out of the way, to ``NAME.refused``.
    """
    found, pins = sha256(path), _pins()
    hub = path.resolve().name
    for wanted, whose in (
        (given, "was asked for"),
        (KNOWN.get(path.name), "is known"),
        (pins.get(name), f"{FILE} holds"),
        (hub if _SHA256.fullmatch(hub) else None, "the hub names"),
    ):
        if not wanted:
            continue
        if wanted.lower() != found:
            path.rename(path.with_name(f"{path.name}.refused"))
            raise BadInput(
                f"{name}: the file that came has the SHA-256 {found}, and {wanted} is the one that"
                f" {whose}; it is moved to {path.name}.refused: fetch it again, or ask its"
                " publisher"
            )
        return f"SHA-256 {found}, as {whose}"
    write_text(Path(FILE), json.dumps(pins | {name: found}, indent=1, sort_keys=True) + "\n")
    return f"SHA-256 {found}, written to {FILE}: later downloads must have it"


def refuse_short(given: str | None) -> None:
    """BadInput for a SHA-256 that is not 64 hexadecimal digits."""
    if given is not None and not _SHA256.fullmatch(given.lower()):
        raise BadInput(f"--sha256 {given!r}: it is no SHA-256: 64 hexadecimal digits")


def _pins() -> dict[str, str]:
    path = Path(FILE)
    if not path.exists():
        return {}
    try:
        found = loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not all(
            _SHA256.fullmatch(str(value)) for value in found.values()
        ):
            raise ValueError("it holds more than names with their SHA-256")
    except (OSError, ValueError) as e:
        raise BadInput(f"{path.absolute()} can't be read: {e}; mend or remove it") from e
    return dict(found)
