"""What the page on comparisons shows, works and comes out as shown."""

import re
import shlex
from pathlib import Path

import pytest

from probes.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One store for the page: its commands measure the same."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path, store):
    monkeypatch.setenv("PROBES_STORE", str(store))
    monkeypatch.chdir(tmp_path)


def test_the_command_prints_what_the_page_shows(capsys):
    command, shown = re.search(r"```\n\$ probes (.*?)\n(.*?)```", PAGE, re.S).groups()
    code = main([*shlex.split(command), "--quiet"])

    assert capsys.readouterr().out == shown
    assert code == {"open": 2, "worse": 1}.get(shown.partition(":")[0], 0)


def test_a_baseline_gives_the_same_answer(capsys):
    commands = re.search(r"```\n\$ probes (baseline .*?)\n\$ probes (.*?)\n```", PAGE).groups()
    codes = [main([*shlex.split(command), "--quiet"]) for command in commands]
    said = capsys.readouterr().out.splitlines()
    shown = re.search(r"```\n\$ probes compare .*?\n(.*?)```", PAGE, re.S)[1].splitlines()

    assert codes == [0, 0]
    assert said[-len(shown) + 1 :] == shown[1:]


def test_the_script_says_what_it_says(capsys):
    exec(compile(PYTHON[0], "compare.md", "exec"), {})

    assert capsys.readouterr().out == "worse ['clean']\n"


def test_the_claim_is_judged(pytester, run_pytest):
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider")
    (pytester.path / "test_new.py").write_text(PYTHON[1], encoding="utf-8")
    result = run_pytest("--probes-images=300", "--probes-ledger=off")

    result.stdout.fnmatch_lines(
        [
            "NEW  resnet20@mnist5k#0 + resnet20@mnist5k#1",
            "*correct, new minus old*",
            "1 claim judged*",
        ]
    )
    assert len(PYTHON) == 2
