"""Text in lines of at most so many columns. No word is cut, and a command stays on one line where
it fits on one.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

FEWEST = 40
"""Columns that a line has at least, however narrow the terminal."""
GLUE = "\0"


def wrapped(
    text: str, width: int, first: str = "  ", then: str = "    ", **colour: bool
) -> Iterator[tuple[str, dict[str, bool]]]:
    """A text in lines with a colour; ``first`` and ``then`` stand before the first line and the
    others.

    >>> [line for line, _ in wrapped("run `probes list --store x` to see which are here", 40)]
    ['  run `probes list --store x` to see', '    which are here']
    """
    width = max(width, FEWEST)
    room = width - len(then)
    glued = re.sub(
        "`[^`]*`", lambda m: m[0].replace(" ", GLUE) if len(m[0]) <= room else m[0], text
    )
    for line in textwrap.wrap(
        glued,
        width,
        initial_indent=first,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    ):
        yield line.replace(GLUE, " "), colour


def chunks(parts: Sequence[str], width: int, then: str) -> Iterator[tuple[str, dict[str, bool]]]:
    """Parts side by side where they fit, else each from a line of its own on; empty ones are left
    out.

    >>> [line for line, _ in chunks(["a" * 20, "b" * 20, "c"], 40, "  ")]
    ['aaaaaaaaaaaaaaaaaaaa', '  bbbbbbbbbbbbbbbbbbbb  c']
    """
    line = ""
    for part in filter(None, parts):
        if not line:
            line = part
        elif len(line) + 2 + len(part) <= max(width, FEWEST):
            line += f"  {part}"
        else:
            yield from _fitting(line, width, then)
            line = then + part
    yield from _fitting(line, width, then)


def _fitting(line: str, width: int, then: str) -> Iterator[tuple[str, dict[str, bool]]]:
    bare = line.lstrip()
    yield from wrapped(bare, width, line[: len(line) - len(bare)], then)
