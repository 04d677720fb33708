"""The seal of a page that is one file: its own SHA-256, so that a changed letter is found."""

from __future__ import annotations

import hashlib
import re

SEAL = '<meta name="probes-page" content="{}">'
_SEALED = re.compile(SEAL.format("([0-9a-f]{64})"))


def sealed(text: str) -> str:
    """A page whose seal is empty, with its seal: the SHA-256 of the page with an empty one.

    >>> page = sealed(f"<head>{SEAL.format('')}</head>")
    >>> broken(page), broken(page + "x")
    (False, True)
    """
    return text.replace(SEAL.format(""), SEAL.format(_digest(text)), 1)


def broken(text: str) -> bool:
    """Whether a page is not the one that was sealed. A page without a seal is of an earlier
    version.
    """
    found = _SEALED.search(text)
    if not found:
        return False
    return _digest(text.replace(found[0], SEAL.format(""), 1)) != found[1]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
