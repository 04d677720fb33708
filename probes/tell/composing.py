"""The parts of a page, from the files of a report: text, and what draws each figure."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probes import __version__
from probes.tell import closing, evidence, frontpage, pages
from probes.tell.markdown import Draw, Line, slug
from probes.tell.reportfolder import NOTES, NOTHING, Sections

MANY = 40
"""A report of more claims than these has one figure of all verdicts, and none for each claim."""


@dataclasses.dataclass(frozen=True)
class Claimed:
    """A claim of the page: its line of evidence, its section in Markdown, and the command that
    makes it again.
    """

    line: Line
    text: str
    command: str


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a page says, in its order: before the claims, the claims, and after them."""

    front: str
    before: Sequence[str]
    claims: Sequence[Claimed]
    after: Sequence[str]

    def texts(self) -> list[str]:
        """What is said, part by part."""
        every = [self.front, *self.before, *(claim.text for claim in self.claims), *self.after]
        return [part.strip() for part in every if part.strip()]

    def markdown(self) -> str:
        """The page as Markdown."""
        return "\n\n".join([*self.texts(), f"<!-- drawn by probes {__version__} -->"]) + "\n"


def parts(
    folder: Path,
    lines: Sequence[Line],
    run: Mapping[str, Any],
    draw: Draw,
    sections: Sections = NOTHING,
) -> Parts:
    """The parts of the page of a folder; ``draw`` has every figure."""
    drawn = len(lines) <= MANY or bool(run.get("figures"))
    notes = folder / NOTES
    front = frontpage.front(lines, run)
    before = [
        "" if drawn else pages.overview(folder, lines, draw),
        notes.read_text(encoding="utf-8") if notes.exists() else "",
        *(told(folder) for file, told in sections.front if (folder / file).exists()),
    ]
    claims = [
        Claimed(
            line,
            pages.section(folder, line, place, draw if drawn else None, sections.below),
            f"pytest {shlex.quote(line['test'])}" if line.get("test") else run["command"],
        )
        for line, place in zip(lines, _places(lines), strict=True)
    ]
    after = [
        pages.noise(folder, lines, draw),
        closing.words(evidence.level_of(line) for line in lines),
        closing.made(folder, lines, run, draw),
    ]
    return Parts(front, before, claims, after)


def _places(lines: Sequence[Line]) -> list[Path]:
    """The folder of figures of each claim; of the same claim on the same subject at another design
    it ends in the number of images.
    """
    found: list[Path] = []
    for line in lines:
        place = Path("figures") / slug(f"{line['id']}-{line['subject']}")
        again = place.with_name(f"{place.name}-{line['design']['images']}")
        found.append(again if place in found else place)
    return found
