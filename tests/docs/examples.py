"""The code blocks of the documentation, and how each one is tried.

A block of Python whose first line is ``# name.py`` is a file; any other one is run, after those
before it on the page. In a block of shell a line after ``$`` is a command, and what follows is its
output, in which ``...`` stands for anything. Comments before a block say more: ``<!-- exit: 1
-->``, ``<!-- needs: cifar10 -->`` (data, or an executable), ``<!-- not run: why -->``; at the head
of a page ``<!-- examples: tests/... -->`` names the test that runs the page.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(
    r"^(?P<marks>(?:<!--[^\n]*-->\n+)*)(?P<indent> *)```(?P<lang>\w*)[^\n]*\n(?P<body>.*?)^ *```$",
    re.S | re.M,
)
MARK = re.compile(r"<!-- (?P<key>[a-z ]+): (?P<value>.*?) -->")
COMMAND = re.compile(r"^(?:[A-Z_]+=\S+ )*(?:probes|pytest|python3?|pip|mkdocs|git|cd|mkdir)\b")


@dataclasses.dataclass(frozen=True)
class Block:
    """A code block of a page: what it is written in, its text, and what is said of it."""

    page: str
    line: int
    lang: str
    body: str
    marks: dict[str, str]

    @property
    def file(self) -> str | None:
        """The file that a block of Python is."""
        found = re.match(r"# ([\w/]+\.py)$", self.body.partition("\n")[0])
        return found[1] if found and self.lang == "python" else None

    @property
    def steps(self) -> list[tuple[str, list[str] | None]]:
        """The commands of a block of shell, each with the output that is shown, or None."""
        if self.lang not in ("", "sh", "console", "bash"):
            return []
        lines = self.body.rstrip().split("\n")
        if any(line.startswith("$ ") for line in lines):
            steps: list[tuple[str, list[str] | None]] = []
            for line in lines:
                if line.startswith("$ "):
                    steps.append((bare(line[2:]), None))
                elif steps:
                    command, shown = steps[-1]
                    steps[-1] = command, [*(shown or []), line]
            return steps
        return [(bare(line), None) for line in lines if COMMAND.match(line)]


def bare(line: str) -> str:
    """A command without the remark behind it."""
    return re.sub(r"\s+# .*$", "", line).strip()


def pages() -> list[Path]:
    """README and every page of docs/ that is written by hand."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        marks = {m["key"]: m["value"] for m in MARK.finditer(match["marks"])}
        indent = len(match["indent"])
        body = "\n".join(line[indent:] for line in match["body"].split("\n"))
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(name(page), line, match["lang"], body, marks))
    return found


def tested_by(page: Path) -> str | None:
    """The test that the head of a page names."""
    head = page.read_text(encoding="utf-8").split("\n", 3)[:3]
    found = [m["value"] for line in head for m in MARK.finditer(line) if m["key"] == "examples"]
    return found[0] if found else None


def name(page: Path) -> str:
    """A page by its path from the root."""
    return str(page.relative_to(ROOT))


def unlike(shown: list[str], output: str) -> str | None:
    """The first line that is shown and that the output lacks at its place, or None."""
    wanted = [line.rstrip() for line in shown]
    while wanted and not wanted[-1]:
        wanted.pop()
    lines = [line.rstrip() for line in output.split("\n")]
    at, anywhere = 0, False
    for want in wanted:
        if want.strip() == "...":
            anywhere = True
            continue
        pattern = re.compile(".*".join(map(re.escape, want.split("..."))) + "$")
        ahead = range(at, len(lines)) if anywhere else range(at, min(at + 1, len(lines)))
        hit = next((i for i in ahead if pattern.match(lines[i])), None)
        if hit is None:
            return want
        at, anywhere = hit + 1, False
    return None
