"""JSON that comes from outside: what is no plain value is a ValueError, however it was written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probes.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that make a terminal or a page show something else than stands there."""
DEEPEST = 100
"""Levels of brackets that a text may have; ours have six."""


def loads(text: str | bytes, written: bool = False) -> Any:
    """The value of a JSON text. ValueError for one that is none, that is nested too deep, that
    holds half of a character or a control character, or that names a key of an object twice, so
    that two readers would see two values. With ``written`` control characters are written out.

    >>> loads('{"a": [1, 2]}')
    {'a': [1, 2]}
    >>> loads('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ...
    ValueError: the key 'a' stands twice
    """
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if _deep(value):
        raise ValueError("it is nested too deep")
    raw = (text.encode() if isinstance(text, str) else text).lower()
    if b"\\u" in raw or CONTROL.search(raw.decode("utf-8", "replace")):
        shown = _strings(value)
        shown.encode()  # half of a character is a ValueError
        found = CONTROL.search(shown)
        if found and written:
            return _written(value)
        if found:
            raise ValueError(f"it holds the control character {found[0]!r}")
    return value


def visible(text: str) -> str:
    """A text whose control characters are written out, for a terminal.

    >>> print(visible("a\\x1b[31mb"))
    a\\x1b[31mb
    """
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def _written(value: Any) -> Any:
    if isinstance(value, dict):
        return {visible(key): _written(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_written(inner) for inner in value]
    return visible(value) if isinstance(value, str) else value


def _strings(value: Any) -> str:
    """All strings of a value, keys among them."""
    found, level = [], [value]
    while level:
        found += [one for one in level if isinstance(one, str)]
        level = _inside(level)
    return "\n".join(found)


def array(path: Path) -> np.ndarray:
    """The array in a .npy file, mapped and not read. BadInput for a file that is none."""
    import numpy as np

    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except Exception as e:  # a damaged header meets a fault anywhere in numpy
        why = (str(e).splitlines() or [type(e).__name__])[0]
        raise BadInput(f"{path} is no array that can be read: {why}") from e


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return found


def _deep(value: Any) -> bool:
    """Whether a value has more levels than ours have."""
    level = [value]
    for _ in range(DEEPEST):
        level = _inside(level)
        if not level:
            return False
    return True


def _inside(level: list[Any]) -> list[Any]:
    """What lies in the objects and arrays of a level: names, values and items."""
    return [
        inner
        for one in level
        if isinstance(one, dict | list)
        for inner in ([*one, *one.values()] if isinstance(one, dict) else one)
    ]
