"""Each code block of README and docs runs, and what is shown of its output is its output."""

import importlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from probes import cli

sys.path.insert(0, str(Path(__file__).parent))
examples = importlib.import_module("examples")
sys.path.pop(0)

PAGES = {examples.name(page): page for page in examples.pages()}
OWN = {name: page for name, page in PAGES.items() if examples.tested_by(page) is None}
WITH = {name: page for name, page in OWN.items() if examples.blocks(page)}
NOT_HERE = ("python3 -m venv", "pip install")
"""What `.ci/run` does instead of a test."""


def runs(step):
    return not step.startswith(NOT_HERE) and "--help" not in step


@pytest.mark.parametrize("name", sorted(WITH))
def test_each_block_is_an_example_or_says_why_not(name):
    for block in examples.blocks(WITH[name]):
        where = f"{name}:{block.line}"
        if "not run" in block.marks:
            assert len(block.marks["not run"].split()) >= 2, where
        elif block.lang == "python":
            compile(block.body, where, "exec")
        elif block.lang in ("sh", "console", "bash"):
            assert block.steps, f"{where}: no command that is known"
        else:
            assert block.lang in ("", "text", "json", "yaml", "toml", "ini", "bibtex"), where


@pytest.mark.parametrize("name", sorted(WITH))
def test_each_command_is_one_that_the_command_line_takes(name, capsys):
    parser = cli.parser_of_all()
    for block in examples.blocks(WITH[name]):
        for step, _ in block.steps:
            words = [word for word in shlex.split(step) if "=" not in word or word.startswith("-")]
            if words[:1] == ["probes"] and len(words) > 1 and "not run" not in block.marks:
                try:
                    cli._parsed(parser, words[1:])
                except SystemExit as e:
                    assert e.code == 0, f"{name}:{block.line}: {step}\n{capsys.readouterr().err}"  # noqa: PT017


@pytest.mark.parametrize("name", sorted(set(PAGES) - set(OWN)))
def test_a_page_that_another_test_runs_is_run_by_it(name):
    test = examples.ROOT / str(examples.tested_by(PAGES[name]))

    assert Path(name).name in test.read_text(encoding="utf-8")


def test_the_output_that_is_shown_is_compared():
    assert examples.unlike(["a", "...", "c 1.2"], "a\nb\nb\nc 1.2\nd") is None
    assert examples.unlike(["a", "c"], "a\nb\nc") == "c"
    assert examples.unlike(["a ... z"], "a b z") is None
    assert examples.unlike(["...", "x"], "a\nb") == "x"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WITH))
def test_each_example_runs_and_shows_what_the_page_shows(name, tmp_path, tmp_path_factory):
    store = tmp_path_factory.getbasetemp().parent / "docs-store"
    env = os.environ | {"PROBES_STORE": str(store), "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    env = {k: v for k, v in env.items() if not k.startswith("PYTEST_")}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    env["PYTHONPATH"] = os.pathsep.join([str(examples.ROOT), str(tmp_path)])
    pending, skipped = [], []

    def run(command, expected=0, shown=None, where=""):
        done = subprocess.run(
            command, shell=isinstance(command, str), cwd=tmp_path, env=env, text=True,
            capture_output=True, timeout=900,
        )  # fmt: skip
        output = done.stdout + (done.stderr if done.returncode else "")
        assert done.returncode == expected, f"{where}: {command}\n{done.stdout}\n{done.stderr}"
        lost = examples.unlike(shown, output) if shown else None
        assert lost is None, f"{where}: {command}\nlacks: {lost}\n{output}"

    def run_pending():
        if pending:
            (tmp_path / "blocks.json").write_text(json.dumps(pending))
            run([sys.executable, "-c", BLOCKS, "blocks.json"], where=pending[0][0])
            pending.clear()

    for block in examples.blocks(WITH[name]):
        where = f"{name}:{block.line}"
        if "not run" in block.marks:
            continue
        if lost := lacking(block.marks.get("needs")):
            skipped.append(f"{where}: {lost}")
            continue
        if block.file:
            (tmp_path / block.file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / block.file).write_text(block.body)
        elif block.lang == "python":
            pending.append([where, block.body])
        for step, shown in block.steps:
            if runs(step):
                run_pending()
                run(step, int(block.marks.get("exit", 0)), shown, where)
    run_pending()
    if skipped:
        pytest.skip("; ".join(skipped))


BLOCKS = """
import json, sys
sys.path.insert(0, "")
space = {"__name__": "__main__"}
for where, text in json.load(open(sys.argv[1])):
    exec(compile(text, where, "exec"), space)
"""


def lacking(needs):
    """What a block needs and is not here."""
    import importlib.util

    if needs is None:
        return None
    if needs == "cifar10":
        return None if "PROBES_DATA" in os.environ else "needs CIFAR-10 in PROBES_DATA"
    here = importlib.util.find_spec(needs) or shutil.which(needs)
    return None if here else f"needs {needs}"
