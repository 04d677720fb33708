"""Text in lines of at most so many columns. No word is cut, and a command stays on one line where
it fits on one.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

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
        r"`[^`]*`|\(\w+ = \S+\)", lambda m: whole(m[0]) if len(m[0]) <= room else m[0], text
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


def whole(text: str) -> str:
    """A text that :func:`wrapped` leaves on one line, such as a number with its unit."""
    return text.replace(" ", GLUE)
