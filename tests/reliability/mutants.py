"""The suite watches itself: small changes of the code that decides, each of which a test must find.

    pip install cosmic-ray coverage
    python tests/reliability/mutants.py --minutes 20 --out reports/reliability

The operators are those of cosmic-ray; which mutants are tried is a named draw. A change that leaves
the program as it is (of an annotation, say) is none. Each mutant is tried in a copy of the tree,
by the tests that run its line, the fastest first, until one fails. ``--only ID`` tries
one and shows its change; survivors with their reasons stand in ``survivors.toml``.
"""

import argparse
import ast
import difflib
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[2]
MODULES = [*sorted((ROOT / "probes" / "judge").glob("*.py"))]
MODULES += [ROOT / "probes" / name for name in ("seeds.py", "store.py", "measure/taps.py")]
TESTS = ["tests/unit/judge", "tests/unit/test_seeds.py", "tests/unit/test_store.py"]
TESTS += [
    "tests/unit/test_holdings.py",
    "tests/unit/test_hooks.py",
    "tests/unit/measure/test_taps.py",
]
TESTS += ["tests/unit/tell/test_report.py", "tests/unit/tell/test_verify.py"]
TESTS += ["tests/unit/comparing", "tests/plugin/test_until.py", "tests/unit/tell/test_terminal.py"]
EXAMPLES = "tests/unit/test_docstrings.py::test_the_examples_of_a_module_run[{}]"
TESTS += [
    EXAMPLES.format(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for path in MODULES
    if ">>> " in path.read_text(encoding="utf-8")
]
SLOWER = 6
"""A mutant whose tests take so many times as long as they did, and a minute more, hangs: that is
found.
"""
RARE = 0.25
"""Of an operator that has dozens of forms (one sign in place of each other) this share is drawn."""


def every():
    """Every mutant: its identity, the module, and the mutated text."""
    from cosmic_ray import mutating, plugins
    from cosmic_ray.ast import ast_nodes, get_ast

    for path in MODULES:
        code = path.read_text(encoding="utf-8")
        nodes = list(ast_nodes(get_ast(code)))
        for name in sorted(plugins.operator_names()):
            kind = plugins.get_operator(name)
            if list(kind.arguments()):
                continue
            operator = kind()
            many = sum(len(list(operator.mutation_positions(node))) for node in nodes)
            for i in range(many):
                short = f"{path.relative_to(ROOT).as_posix()} {name.partition('/')[2]} {i}"
                yield (
                    short,
                    path,
                    lambda code=code, name=name, i=i: mutating.mutate_code(
                        code, plugins.get_operator(name)(), i
                    ),
                )


def meaning(code):
    """A module without annotations, docstrings and caches of results."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.decorator_list = [d for d in node.decorator_list if "cache" not in ast.dump(d)]
        for field in ("annotation", "returns"):
            if getattr(node, field, None) is not None:
                setattr(node, field, ast.Constant(None))
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _words(body[0]):
            body[:] = body[1:] or [ast.Pass()]
    return ast.dump(tree)


def _words(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _draw(text):
    """A number in [0, 1) by name. Nothing of the package is imported here: the tests must import
    that of their copy.
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def drawn():
    """The mutants in the order in which they are tried."""
    for short, path, make in sorted(every(), key=lambda one: _draw(one[0])):
        many = short.split()[1].startswith(("ReplaceBinaryOperator", "ReplaceComparisonOperator"))
        if many and _draw(f"rare {short}") > RARE:
            continue
        before, after = path.read_text(encoding="utf-8"), make()
        try:
            if after is None or meaning(before) == meaning(after):
                continue
        except SyntaxError:
            continue
        yield short, path, before, after


def mapped(tree):
    """Which tests run which line of the modules, the fastest first, by one run of all of them."""
    import coverage

    pid = os.fork()
    if not pid:
        _enter(tree)
        seen = coverage.Coverage(
            data_file=str(tree / "lines"),
            include=[str(tree / path.relative_to(ROOT)) for path in MODULES],
            config_file=False,
        )
        import pytest

        class Each:
            def __init__(self):
                self.seconds = {}

            @pytest.hookimpl(wrapper=True)
            def pytest_runtest_protocol(self, item):
                seen.switch_context(item.nodeid)
                began = time.monotonic()
                try:
                    return (yield)
                finally:
                    self.seconds[item.nodeid] = time.monotonic() - began
                    seen.switch_context("")

        seen.start()
        each = Each()
        code = int(pytest.main([*QUIETLY, *TESTS], plugins=[each]))
        seen.stop()
        seen.save()
        (tree / "seconds.json").write_text(json.dumps(each.seconds))
        os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert status == 0, (tree / "said.txt").read_text()[-3000:]
    data = coverage.CoverageData(str(tree / "lines"))
    data.read()
    seconds = json.loads((tree / "seconds.json").read_text())
    found = {}
    for path in MODULES:
        name = str(tree / path.relative_to(ROOT))
        found[path] = {
            line: {t for t in tests if t}
            for line, tests in (data.contexts_by_lineno(name) or {}).items()
        }
    return found, seconds


def tests_of(path, before, after, mapping):
    """The tests that run a changed statement, the fastest first. Of what runs when the module is
    imported: of a default, those of its function, else those of any line of the module.
    """
    found, seconds = mapping
    old, new = before.splitlines(), after.splitlines()
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    changed = [
        i + 1 for tag, a, b, _, _ in matcher.get_opcodes() if tag != "equal" for i in range(a, b)
    ]
    tree, tests = ast.parse(before), set()
    for line in changed:
        tests |= _of_lines(found[path], _statement(tree, line))
    tests = tests or _of_lines(found[path], found[path])
    return sorted(tests, key=lambda t: (seconds.get(t, 0), t)) or TESTS


def _of_lines(tests, lines):
    return set().union(*(tests.get(line, ()) for line in lines))


def _statement(tree, line):
    """The lines of the statement that holds a line; of the head of a function, its body."""
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt) and _first(node) <= line <= node.end_lineno
    ]
    if not around:  # between two functions
        return ()
    inner = min(around, key=lambda node: node.end_lineno - node.lineno)
    body = getattr(inner, "body", None)
    if isinstance(inner, ast.FunctionDef):
        return range(body[0].lineno, inner.end_lineno + 1)
    return range(inner.lineno, (body[0].lineno if body else inner.end_lineno + 1))


def _first(node):
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])


QUIETLY = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--probes-report="]
QUIETLY += ["--probes-ledger="]


def _enter(tree):
    """Make this process one of a copy of the tree."""
    assert "probes" not in sys.modules
    os.setsid()
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    sys.dont_write_bytecode = True
    quiet = os.open(tree / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(quiet, 1), os.dup2(quiet, 2)
    os.environ |= {"PROBES_STORE": str(tree / ".store"), "PYTHONPATH": str(tree)}


def patience(tests, mapping):
    """How many seconds tests are waited for."""
    return 60 + SLOWER * sum(mapping[1].get(test, 1) for test in tests)


def tried(tree, path, text, tests, seconds):
    """Whether the tests of a copy of the tree fail with a text in the place of a module's."""
    place = tree / path.relative_to(ROOT)
    before = place.read_text(encoding="utf-8")
    place.write_text(text, encoding="utf-8")
    try:
        return _failed(tree, tests, seconds)
    finally:
        place.write_text(before, encoding="utf-8")


def _failed(tree, tests, seconds):
    pid = os.fork()
    if not pid:
        code = 99
        try:
            _enter(tree)
            import pytest

            code = int(pytest.main([*QUIETLY, *tests]))
        finally:
            os._exit(code)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) != 0
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True


def copied(base, share):
    """A copy of the tree that a mutant can be put into."""
    tree = base / f"tree{share}"
    ignore = shutil.ignore_patterns("__pycache__", ".git", "reports", ".probes", "latest")
    shutil.copytree(ROOT, tree, ignore=ignore)

    shutil.copytree(ROOT / "reports", tree / "reports", ignore=shutil.ignore_patterns("latest"))
    return tree


def campaign(share, shares, tree, rows, end, lines):
    """Try every mutant of this share until the time is over; a line of ``rows`` each."""
    known = {json.loads(text)["mutant"] for text in rows.read_text().splitlines()}
    for number, (short, path, before, after) in enumerate(drawn()):
        if time.time() > end:
            return
        if number % shares != share or short in known:
            continue
        tests = tests_of(path, before, after, lines)
        killed = tried(tree, path, after, tests, patience(tests, lines))
        row = {"number": number, "mutant": short, "killed": killed, "tests": len(tests)}
        with rows.open("a") as out:
            out.write(json.dumps(row | {"change": _change(before, after)}) + "\n")


def _change(before, after):
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return "\n".join(line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---"))


def page(table, reasons, command):
    from probes.tell.markdown import grid

    module = table["mutant"].str.split().str[0]
    rows = []
    for name, part in table.groupby(module):
        killed = int(part["killed"].sum())
        rows.append([f"`{name}`", len(part), killed, f"{killed / len(part):.0%}"])
    killed = int(table["killed"].sum())
    lost = table[~table["killed"]]
    told = [
        [f"`{r.mutant}`", "<br>".join(f"`{line.strip()}`" for line in r.change.splitlines()),
         reasons.get(r.mutant, "")]
        for r in lost.itertuples()
    ]  # fmt: skip
    return "\n\n".join(
        [
            "# The suite watches itself",
            f"`{command}`",
            "Small changes of the code that decides (operators of cosmic-ray, in a drawn order),"
            " each tried by the tests that run its line until one fails. A change that leaves the"
            " program as it is counts as none.",
            grid(["module", "mutants", "killed", "share"], rows),
            f"**{killed} of {len(table)} mutants were killed ({killed / len(table):.1%}).**",
            "## Survivors",
            grid(["mutant", "change", "why no test finds it"], told) if told else "None.",
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", metavar="ID")
    parser.add_argument("--work", type=Path, help="where rows are kept (default: nowhere)")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    import hypothesis  # noqa: F401 - what every child would load
    import scipy.stats  # noqa: F401
    import torch
    import torchvision  # noqa: F401

    torch.set_num_threads(1)
    base = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    rows = (given.work or base) / "mutants.jsonl"
    rows.parent.mkdir(parents=True, exist_ok=True)
    rows.touch()
    trees = [copied(base, share) for share in range(1 if given.only else given.jobs)]
    print("which tests run which line ...", flush=True)
    lines = mapped(trees[0])
    if given.only:
        for short, path, before, after in drawn():
            if short == given.only:
                print(_change(before, after))
                tests = tests_of(path, before, after, lines)
                killed = tried(trees[0], path, after, tests, patience(tests, lines))
                print("killed" if killed else f"lives: {len(tests)}")
        shutil.rmtree(base)
        return
    children, end = [], time.time() + 60 * given.minutes
    for share in range(given.jobs):
        if not (pid := os.fork()):
            try:
                campaign(share, given.jobs, trees[share], rows, end, lines)
                os._exit(0)
            except Exception:
                traceback.print_exc()
                raise
            finally:
                os._exit(1)
        children.append(pid)
    ended = [os.waitpid(pid, 0)[1] for pid in children]
    table = pd.DataFrame(map(json.loads, rows.read_text().splitlines())).sort_values("number")
    shutil.rmtree(base, ignore_errors=True)
    reasons = tomllib.loads((Path(__file__).parent / "survivors.toml").read_text())
    share = table["killed"].mean()
    print(table[~table["killed"]][["mutant", "change"]].to_string(), f"\n{share:.1%} killed")
    if given.out:
        from written import write

        command = (
            f"python tests/reliability/mutants.py --minutes {given.minutes:g} --out {given.out}"
        )
        write(given.out, "mutants", table, page(table, reasons, command))
    sys.exit(bool(any(ended) or share < 0.9))


if __name__ == "__main__":
    main()
