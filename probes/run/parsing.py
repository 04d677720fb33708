"""The parser of every command: options in groups, the default of each in its help, examples below,
and the nearest name for one that nobody knows.
"""

from __future__ import annotations

import argparse
import difflib
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

ARGUMENTS, SETTINGS, DATA, RUNTIME, OUTPUT, HELP = (
    "arguments",
    "settings",
    "data",
    "runtime",
    "output",
    "help",
)
GROUPS = {
    DATA: "dataset images until count data",
    RUNTIME: "device threads pass_size precision memory jobs engine ray_address shard max_seconds"
    " max_hours estimate",
    OUTPUT: "out store reports quiet force replace link",
    HELP: "help version",
}
"""The group of an option by its name in the namespace; of any other it is the settings."""
GROUP = {name: title for title, names in GROUPS.items() for name in names.split()}
METAVARS: dict[Any, str] = {int: "N", float: "NUMBER", Path: "PATH"}
WIDE = 78
"""Columns of a description, as argparse has them on a terminal of 80."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose options sort themselves into groups and say their defaults.

    A study adds its options to it as to any other parser: an option that it shares with others, by
    its name, stands in the group of theirs.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        kwargs |= {"add_help": False, "formatter_class": argparse.RawDescriptionHelpFormatter}
        super().__init__(*args, **kwargs)
        self.description = textwrap.fill(self.description or "", WIDE) or None
        self.examples = tuple(examples)
        self.epilog = "\n  ".join(["examples:", *self.examples]) if self.examples else None
        self.branches = False
        self.words: list[str] = []
        self.names: list[str] = []
        self.parts = {
            title: self.add_argument_group(title)
            for title in (ARGUMENTS, SETTINGS, DATA, RUNTIME, OUTPUT, HELP)
        }
        self.add_argument("-h", "--help", action="help", help="show this help and exit")
        self.set_defaults(_parser=self)

    def add_argument(self, *names: Any, **how: Any) -> Any:  # type: ignore[override]
        """Add an argument to the group that it belongs in, with its default in its help."""
        flag = names[0].startswith("-")
        self.names += [name for name in names if name.startswith("--")]
        dest = how.get("dest") or names[-1].lstrip("-").replace("-", "_")
        kind = how.get("type")
        if "action" not in how or how["action"] == "append":
            if flag and "choices" not in how:
                how.setdefault("metavar", METAVARS.get(kind, "TEXT"))
            if flag or how.get("nargs") in ("?", "*"):
                how["help"] = _with_default(how)
        if kind is Path:
            how["type"] = path
        if not flag:
            how.setdefault("metavar", dest.upper())
            self.words.append(_usage(how))
        title = GROUP.get(dest, SETTINGS) if flag else ARGUMENTS
        return self.parts[title].add_argument(*names, **how)

    def add_subparsers(self, **how: Any) -> Any:
        """Add commands, listed before the options."""
        self._positionals.title, self.branches = "commands", True
        return super().add_subparsers(**how)

    def format_usage(self) -> str:
        """The usage in a line: the arguments by name; options stand below, in their groups."""
        self._shorten()
        return super().format_usage()

    def format_help(self) -> str:
        """The help, with the usage in a line."""
        self._shorten()
        return super().format_help()

    def _shorten(self) -> None:
        if self.usage is None and not self.branches:
            self.usage = " ".join(["%(prog)s", *self.words, "[options]"])

    def error(self, message: str) -> NoReturn:
        """End with 2 and one sentence, with the nearest name where a name is unknown."""
        if found := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)$", message):
            known = re.findall(r"'([^']*)'", found[2]) or found[2].split(", ")
            where = re.sub(r"^argument [A-Z]+: $", "", message[: found.start()])
            message = f"{where}unknown {found[1]!r}: {nearest(found[1], known)}"
        if found := re.match(r"argument (--[\w-]+)[^:]*: invalid \S+ value: '(.*)'$", message):
            option = self._option_string_actions.get(found[1])
            told = f": {option.help}" if option and option.help else ""
            message = f"{found[1]} {found[2]!r} can't be read{told}"
        self.exit(2, f"{self.prog}: {message}\nhelp: {self.prog} --help\n")

    def accept(self, given: argparse.Namespace, rest: Sequence[str]) -> None:
        """End with 2 where words are left that are no option of this command, or a network is a
        number, which belongs to an option.
        """
        if rest:
            word = rest[0].partition("=")[0]
            self.error(f"unknown {word!r}: {nearest(word, self.names)}")
        nets = getattr(given, "nets", None) or [getattr(given, "net", "")]
        for one in nets:
            if re.fullmatch(r"-?[\d.]+", str(one)):
                self.error(
                    f"{one} is no network: several numbers of one option stand between commas, e.g."
                    " --levels 0,.1,.2"
                )


def command(
    commands: Any, name: str, sentence: str, examples: Sequence[str], says: str = ""
) -> Parser:
    """Add a command: its sentence stands in the list of commands, and, or what it ``says`` at more
    length, above its options; examples stand below them.
    """
    about = says or f"{sentence[0].upper()}{sentence[1:]}{'' if sentence[-1] in '.?!' else '.'}"
    made: Parser = commands.add_parser(name, help=sentence, description=about, examples=examples)
    return made


def path(text: str) -> Path:
    """A path as typed; an error of argparse for an empty one, which would be the folder one is in.

    >>> path("results").name
    'results'
    """
    if not text:
        raise argparse.ArgumentTypeError("an empty path: leave the option out, or name a path")
    return Path(text)


def nearest(word: str, known: Sequence[str]) -> str:
    """The nearest of some names as a question, else all of them.

    >>> nearest("lst", ["list", "run"]), nearest("x", ["list", "run"])
    ('did you mean list?', 'known are list, run')
    """
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"


def _usage(how: dict[str, Any]) -> str:
    name = how["metavar"]
    return {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} [{name} ...]"}.get(
        how.get("nargs", ""), name
    )


def _with_default(how: dict[str, Any]) -> str:
    text, value = how.get("help") or "", how.get("default")
    if how.get("required"):
        return f"{text} (required)".lstrip()
    if "default" in text:
        return text
    if value in (None, [], ()):
        shown = "none"
    elif isinstance(value, list | tuple):
        shown = " ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in value)
    else:
        shown = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{text} (default: {shown.replace('%', '%%')})".lstrip()
