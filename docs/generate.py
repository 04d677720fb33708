"""Write the pages of the documentation that are made from the code: errors, commands, options,
names. `python docs/generate.py`
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
from collections import defaultdict
from pathlib import Path
from unittest import mock

import probes
from probes import cli, errors
from probes.explaining import topic_of, topics
from probes.run.options import OPTIONS

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PACKAGE = Path(errors.__file__).parent
CLASSES = ("UnknownName", "Unavailable", "BadInput", "Unfinished", "ProbesError", "NotHeld")


def messages() -> dict[str, dict[str, list[str]]]:
    """The messages of each topic by class, as the code holds them."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for module, function, call in made():
        kind, topic = name_of(call), topic_of(module, function)
        text = told(call.args[0])
        if kind and topic and text not in found[topic][kind]:
            found[topic][kind].append(text)
    return found


def made():
    """Where the package makes an error: module, function, and the call."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = "probes." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for call, function in calls(ast.parse(path.read_text(encoding="utf-8")), ""):
            yield module, function, call


def calls(node: ast.AST, name: str):
    """The calls below a node that make an error, each with the name of its function."""
    for child in ast.iter_child_nodes(node):
        inner = name
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            inner = f"{name}.{child.name}".strip(".")
        if isinstance(child, ast.Call) and name_of(child) and child.args:
            yield child, inner
        yield from calls(child, inner)


def name_of(call: ast.Call) -> str | None:
    """The class of the error that a call makes."""
    return call.func.id if isinstance(call.func, ast.Name) and call.func.id in CLASSES else None


def told(node: ast.expr) -> str:
    """A message with the names of what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else f"{{{short(part.value)}}}"
            for part in node.values
        )
    if isinstance(node, ast.BinOp):
        return told(node.left) + told(node.right)
    return "{...}"


def short(node: ast.expr) -> str:
    """The last name of an expression, or dots."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else "..."


def error_pages() -> dict[str, str]:
    """The pages on errors, by file."""
    found = messages()
    pages = {}
    for name, topic in topics().items():
        lines = [f"# {topic.title}", "", f"`probes explain {name}`", ""]
        lines += [f"**Cause.** {topic.cause}", "", f"**Way out.** {topic.way_out}", ""]
        kinds = [kind for kind in CLASSES if kind in found[name]]
        if kinds:
            lines += ["Names in braces stand for what was typed or found.", ""]
        for kind in kinds:
            lines += [f"## {kind}", "", *(f"- {quoted(text)}" for text in found[name][kind]), ""]
        pages[f"errors/{name}.md"] = "\n".join(lines).rstrip() + "\n"
    about = {
        "UnknownName": "A name that nobody knows. A claim that meets it is an ERROR; a command"
        " ends with 2.",
        "Unavailable": "Something known that is not on this machine. A claim that needs it is"
        " SKIPPED, with the command that brings it; a command ends with 2.",
        "BadInput": "A value outside what is allowed. It is a `ValueError`, too. A claim is an"
        " ERROR; a command ends with 2.",
        "Unfinished": "Work that was left out as asked (`--shard`, `--max-seconds`,"
        " `--estimate`). A claim that needs it is SKIPPED; a command ends with 3, or with 0 for"
        " an estimate.",
        "ProbesError": "Trouble in preparing or keeping: a damaged file, NaN, a full disk. A claim"
        " is an ERROR, which is never evidence against it; a command ends with 2.",
        "NotHeld": "A claim whose verdict is not the expected one, or that was never judged: the"
        " test FAILS.",
    }
    lines = [
        "# Errors",
        "",
        "An error repeats what was typed, says what is allowed and names a way out. A note on it"
        " names one of the pages below; `probes explain NAME` prints the same in a terminal.",
        "",
        "## Classes",
        "",
        "All are in `probes.errors` (`NotHeld` is the plugin's), and all but `NotHeld` are a"
        " `ProbesError`.",
        "",
        "| class | what it means |",
        "| --- | --- |",
        *(f"| `{kind}` | {about[kind]} |" for kind in CLASSES),
        "",
        "## Pages",
        "",
        "| name | what went wrong |",
        "| --- | --- |",
        *(f"| [{name}]({name}.md) | {topic.title} |" for name, topic in topics().items()),
    ]
    pages["errors/index.md"] = "\n".join(lines) + "\n"
    return pages


def quoted(text: str) -> str:
    """A message as code, whatever it holds."""
    text = re.sub(r"\s+", " ", text).strip()
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def option_page() -> str:
    """The options of the plugin."""
    lines = [
        "# Options of pytest",
        "",
        "On the command line `--probes-NAME`, in the ini file `probes_NAME`. An option that"
        " overrides what a test wrote makes an altered design, which no expectation is held to.",
        "",
        "| name | what | default |",
        "| --- | --- | --- |",
    ]
    for option in OPTIONS:
        text, default = option.help, option.default
        if found := re.search(r" \(default: (.*)\)", text):
            text, default = text.replace(found[0], ""), found[1]
        text = re.sub(r"net\[:weights\]\[#seed\]", "`net[:weights][#seed]`", text)
        if option.choices:
            text += f" ({', '.join(option.choices)})"
        shown = "" if default in (None, False) else str(default)
        lines.append(f"| `{option.name}` | {text} | {shown} |".replace("  |", " |"))
    lines += ["", "Fixtures of a claim are `lab` and `claim`; markers are `claim(...)` and"]
    lines[-1] += (
        " `subjects(...)`. For a loop of your own there are plain fixtures, by one line in a"
        ' `conftest.py`, `pytest_plugins = ["probes.fixtures"]`: `model` (pretrained, eval, best'
        " device), `images`, `noisy_loader(sigma)` and `device`."
    )
    return "\n".join(lines) + "\n"


def command_page() -> str:
    """The commands, as each one's help says."""
    lines = ["# Commands", "", "`probes COMMAND --help` prints the same.", ""]
    for words, parser in parsers(cli.parser_of_all(), ("probes",)):
        if not any(isinstance(a, argparse._SubParsersAction) for a in parser._actions):
            with mock.patch.dict(os.environ, COLUMNS="90"):
                text = parser.format_help().rstrip()
            lines += [f"## {' '.join(words)}", "", "```text", text, "```"]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def parsers(parser: argparse.ArgumentParser, words: tuple[str, ...]):
    """A parser and those below it, each with its words."""
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from parsers(below, (*words, name))


GROUPS = {
    "Laboratory": ("probes.lab", "probes.run.settings", "probes.subjects.spec"),
    "Questions": ("probes.judge",),
    "Measures": ("probes.measure",),
    "Perturbations": ("probes.perturb", "probes.batch"),
    "Comparing": ("probes.comparing.answers", "probes.comparing.running"),
    "Reports, tables and studies": ("probes.tell.loading", "probes.studies.study", "probes.table"),
}


def name_page() -> str:
    """The public names, by what they are for."""
    where = {name: module for module, names in probes._PLACES.items() for name in names}
    where |= {"pair": "probes.subjects.spec"}
    lines = [
        "# Names",
        "",
        f"`from probes import ...`: {len(probes.__all__)} names, which change"
        " with a line in the changelog; so does what another page here imports from elsewhere in"
        " `probes`. All else may change with any version ([versions](../contributing.md)).",
        "",
    ]
    for title, modules in GROUPS.items():
        names = [n for n in sorted(probes.__all__, key=str.lower) if where.get(n) in modules]
        if names:
            lines += [f"## {title}", ""]
            for name in names:
                thing = getattr(probes, name)
                lines += [f"::: {place_of(thing, name, where[name])}", ""]
    return "\n".join(lines).rstrip() + "\n"


def place_of(thing: object, name: str, module: str) -> str:
    """Where a name is defined."""
    own = getattr(thing, "__module__", None)
    defined = own if own and own.startswith("probes") and hasattr(thing, "__name__") else None
    return f"{defined or module}.{name}"


INSERT = re.compile(r"(<!-- verdicts: ([^>]*?) -->\n).*?(<!-- end -->)", re.S)


def with_verdicts(page: Path) -> str:
    """A page with its tables of verdicts, from the evidence that they name."""

    def table(match: re.Match[str]) -> str:
        rows = ["| claim | asked of | verdict | evidence |", "| --- | --- | --- | --- |"]
        for folder in match[2].split():
            text = (ROOT / folder / "evidence.jsonl").read_text(encoding="utf-8")
            link = os.path.relpath(ROOT / folder / "report.md", page.parent)
            lines = sorted(
                map(json.loads, text.splitlines()), key=lambda x: (x["id"], x["subject"])
            )
            for line in lines:
                rows.append(verdict_row(line, f"[{line['id']}]({link})"))
        return match[1] + "\n" + "\n".join(rows) + "\n\n" + match[3]

    return INSERT.sub(table, page.read_text(encoding="utf-8"))


def verdict_row(line: dict, link: str) -> str:
    """A row of a table of verdicts."""
    verdict, images = f"**{line['overall']}**", line["design"]["images"]
    if sum(map(int, re.findall(r"\d+", line["counts"]))) > 1:
        verdict += f" ({line['counts']})"
    on = f"`{line['subject'].replace(' + ', '`, `')}`, {images:,} images"
    return f"| {line['sentence']} | {on} | {verdict} | {link} |"


def pages() -> dict[str, str]:
    """Every page that is made from the code, or holds what is, by its file below docs/."""
    inserted = {
        str(page.relative_to(DOCS)): with_verdicts(page)
        for page in sorted(DOCS.rglob("*.md"))
        if "<!-- verdicts:" in page.read_text(encoding="utf-8")
    }
    return (
        error_pages()
        | inserted
        | {
            "reference/options.md": option_page(),
            "reference/commands.md": command_page(),
            "reference/names.md": name_page(),
        }
    )


def main() -> None:
    """Write them all, and remove what is no longer made."""
    made = pages()
    for path in (DOCS / "errors").glob("*.md"):
        if f"errors/{path.name}" not in made:
            path.unlink()
    for name, text in made.items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
