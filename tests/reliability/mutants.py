"""The suite watches itself: small changes of the code that decides, each of which a test must find.

    pip install cosmic-ray
    python tests/reliability/mutants.py --minutes 20 --out reports/reliability

The operators are those of cosmic-ray; which mutants are tried is a named draw. A change that leaves
the program as it is (of an annotation, say) is none. Each mutant is tried in a copy of the tree, by
the tests of its room and then by those of the rooms above it, until one fails. ``--only ID`` tries
one and shows its change; survivors with their reasons stand in ``survivors.toml``.
"""

import argparse
import ast
import difflib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[2]
MODULES = [*sorted((ROOT / "probes" / "judge").glob("*.py"))]
MODULES += [ROOT / "probes" / name for name in ("seeds.py", "store.py", "measure/taps.py")]
OWN = {
    "seeds": ["tests/unit/test_seeds.py"],
    "store": ["tests/unit/test_store.py", "tests/unit/test_holdings.py"],
    "taps": ["tests/unit/measure/test_taps.py", "tests/unit/test_hooks.py"],
}
JUDGE = ["tests/unit/judge"]
ABOVE = ["tests/unit/tell/test_report.py", "tests/unit/tell/test_verify.py"]
ABOVE += ["tests/unit/comparing", "tests/plugin/test_until.py"]
SECONDS = 300
"""A mutant whose tests take longer hangs, and is found."""
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
    """A module without annotations and docstrings."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        for field in ("annotation", "returns"):
            if getattr(node, field, None) is not None:
                setattr(node, field, ast.Constant(None))
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _words(body[0]):
            body[:] = body[1:] or [ast.Pass()]
    return ast.dump(tree)


def _words(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def drawn():
    """The mutants in the order in which they are tried."""
    from probes import seeds

    found = list(every())
    order = np.argsort(seeds.uniform(len(found), "mutants", 1), kind="stable")
    for i in order:
        short, path, make = found[i]
        many = short.split()[1].startswith(("ReplaceBinaryOperator", "ReplaceComparisonOperator"))
        if many and seeds.uniform(1, "rare", short)[0] > RARE:
            continue
        before, after = path.read_text(encoding="utf-8"), make()
        try:
            if after is None or meaning(before) == meaning(after):
                continue
        except SyntaxError:
            continue
        yield short, path, before, after


def tests_of(path):
    """The tests of a module's room, its own first, and those of the rooms above."""
    name = path.stem
    if name in OWN and path.parent.name != "judge":
        return OWN[name], [*JUDGE, *ABOVE]
    own = ROOT / "tests" / "unit" / "judge" / f"test_{name}.py"
    first = [own.relative_to(ROOT).as_posix()] if own.exists() else []
    return [*first, *JUDGE], ABOVE


def tried(tree, path, text, tests):
    """Whether the tests of a copy of the tree fail with a text in the place of a module's."""
    place = tree / path.relative_to(ROOT)
    before = place.read_text(encoding="utf-8")
    place.write_text(text, encoding="utf-8")
    try:
        return _failed(tree, tests)
    finally:
        place.write_text(before, encoding="utf-8")


def _failed(tree, tests):
    pid = os.fork()
    if not pid:
        code = 99
        try:
            os.setsid()
            os.chdir(tree)
            sys.path.insert(0, str(tree))
            sys.dont_write_bytecode = True
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1), os.dup2(quiet, 2)
            os.environ |= {"PROBES_STORE": str(tree / ".store"), "PYTHONPATH": str(tree)}
            import pytest

            argv = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--probes-report="]
            code = int(pytest.main([*argv, "--probes-ledger=", *tests]))
        finally:
            os._exit(code)
    end = time.monotonic() + SECONDS
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

    shutil.copytree(ROOT / "reports" / "dynamics", tree / "reports" / "dynamics")
    return tree


def campaign(share, shares, tree, rows, end):
    """Try every mutant of this share until the time is over; a line of ``rows`` each."""
    known = {json.loads(text)["mutant"] for text in rows.read_text().splitlines()}
    for number, (short, path, before, after) in enumerate(drawn()):
        if time.time() > end:
            return
        if number % shares != share or short in known:
            continue
        own, above = tests_of(path)
        by = "its room" if tried(tree, path, after, own) else ""
        by = by or ("rooms above" if tried(tree, path, after, above) else "")
        row = {"number": number, "mutant": short, "killed by": by, "change": _change(before, after)}
        with rows.open("a") as out:
            out.write(json.dumps(row) + "\n")


def _change(before, after):
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return "\n".join(line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---"))


def page(table, reasons, command):
    from probes.tell.markdown import grid

    module = table["mutant"].str.split().str[0]
    rows = []
    for name, part in table.groupby(module):
        killed = int((part["killed by"] != "").sum())
        rows.append([f"`{name}`", len(part), killed, f"{killed / len(part):.0%}"])
    killed = int((table["killed by"] != "").sum())
    lost = table[table["killed by"] == ""]
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
            " each tried by the tests until one fails. A change that leaves the program as it is"
            " counts as none.",
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
    if given.only:
        for short, path, before, after in drawn():
            if short == given.only:
                print(_change(before, after))
                own, above = tests_of(path)
                print("killed" if tried(copied(base, 0), path, after, [*own, *above]) else "lives")
        shutil.rmtree(base)
        return
    children, end = [], time.time() + 60 * given.minutes
    for share in range(given.jobs):
        tree = copied(base, share)
        if not (pid := os.fork()):
            try:
                campaign(share, given.jobs, tree, rows, end)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(pid)
    ended = [os.waitpid(pid, 0)[1] for pid in children]
    table = pd.DataFrame(map(json.loads, rows.read_text().splitlines())).sort_values("number")
    shutil.rmtree(base, ignore_errors=True)
    reasons = tomllib.loads((Path(__file__).parent / "survivors.toml").read_text())
    share = (table["killed by"] != "").mean()
    print(
        table[table["killed by"] == ""][["mutant", "change"]].to_string(), f"\n{share:.1%} killed"
    )
    if given.out:
        from probes.atomic import write_text

        command = (
            f"python tests/reliability/mutants.py --minutes {given.minutes:g} --out {given.out}"
        )
        given.out.mkdir(parents=True, exist_ok=True)
        table.to_csv(given.out / "mutants.csv", index=False, lineterminator="\n")
        write_text(given.out / "mutants.md", page(table, reasons, command) + "\n")
    sys.exit(bool(any(ended) or share < 0.9))


if __name__ == "__main__":
    main()
