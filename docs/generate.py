"""Write the pages of the documentation that are made from the code: errors, commands, options,
names. `python docs/generate.py`
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

from probes import errors
from probes.explaining import topic_of, topics

DOCS = Path(__file__).parent
PACKAGE = Path(errors.__file__).parent
CLASSES = ("UnknownName", "Unavailable", "BadInput", "Unfinished", "ProbesError", "NotHeld")


def messages() -> dict[str, dict[str, list[str]]]:
    """The messages of each topic by class, as the code holds them."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(PACKAGE.rglob("*.py")):
        module = "probes." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for call, function in calls(ast.parse(path.read_text(encoding="utf-8")), ""):
            kind, topic = name_of(call), topic_of(module, function)
            text = told(call.args[0])
            if kind and topic and text not in found[topic][kind]:
                found[topic][kind].append(text)
    return found


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


def pages() -> dict[str, str]:
    """Every page that is made from the code, by its file below docs/."""
    return error_pages()


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
