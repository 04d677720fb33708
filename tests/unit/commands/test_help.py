"""The help of every command, and what ``probes`` alone says."""

import argparse
import re
import shlex
import subprocess
import sys

import pytest

from probes import cli
from probes.commands.welcome import welcome
from probes.run.parsing import ARGUMENTS, HELP, Parser


@pytest.fixture(autouse=True)
def width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def parsers(parser):
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from parsers(one)


EVERY = {one.prog: one for one in parsers(cli.parser_of_all())}
LEAVES = {name: one for name, one in EVERY.items() if not one.branches}


def test_all_commands_are_walked():
    assert {"probes", "probes run dynamics", "probes store merge", "probes baseline save"} <= set(
        EVERY
    )
    assert len(EVERY) > 25


@pytest.mark.parametrize("name", EVERY)
def test_a_command_has_a_sentence_two_examples_and_fits_80_columns(name):
    parser = EVERY[name]
    text = parser.format_help()

    assert isinstance(parser, Parser)
    assert re.match(r"[A-Z].*[.?!]$", parser.description, re.S)
    assert len(parser.examples) >= 2
    assert text.endswith("".join(f"  {one}\n" for one in parser.examples))
    assert max(len(line) for line in text.splitlines()) <= 80


@pytest.mark.parametrize(
    ("name", "example"),
    [(name, example) for name, one in EVERY.items() for example in one.examples],
)
def test_an_example_is_a_command_that_can_be_read(name, example):
    program, *words = shlex.split(example)
    given, rest = cli.parser_of_all().parse_known_args(words)

    assert program == "probes"
    assert rest == []
    assert given._parser.prog.startswith(name)


@pytest.mark.parametrize("name", LEAVES)
def test_an_option_says_its_default_has_a_group_and_a_name_for_its_value(name):
    parser = LEAVES[name]
    grouped = [a for part in parser.parts.values() for a in part._group_actions]

    assert {a.dest for a in grouped} == {a.dest for a in parser._actions}
    assert [a.dest for a in parser.parts[HELP]._group_actions] == ["help"]
    for action in grouped:
        takes = action.nargs != 0
        assert action.help, action.dest
        if takes and (action.option_strings or action.nargs in ("?", "*")):
            assert re.search("default|required", action.help), f"{action.dest}: {action.help}"
        if takes and action.choices is None:
            assert action.metavar not in (None, "TEXT"), action.dest
    assert all(not a.option_strings for a in parser.parts[ARGUMENTS]._group_actions)


def told(action):
    """The default that the help of an option names; None where it is said in words alone."""
    found = re.search(r"\(default: ([^;)]+?)(?:;[^)]*)?\)$", action.help)
    return found and found[1]


def test_the_default_that_is_told_is_the_one_that_is_used():
    seen = 0
    for name, parser in LEAVES.items():
        for action in parser._actions:
            if isinstance(action.default, int | float) and action.nargs != 0:
                seen += 1
                number = told(action).replace(",", "")
                assert float(number) == action.default, f"{name} {action.dest}"
    assert seen > 20


@pytest.mark.parametrize(
    "example", ["list", "list --store other/.probes", "ledger", "check resnet20"]
)
def test_cheap_examples_run(example, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROBES_STORE", str(tmp_path / "store"))
    (tmp_path / "probes-looks.jsonl").write_text("")

    assert any(f"probes {example}" in one.examples for one in EVERY.values())
    assert cli.main(example.split()) == 0


def test_probes_alone_says_what_to_do_next_on_one_screen(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PROBES_STORE", raising=False)

    assert cli.main([]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert "probes status" not in text
    (tmp_path / ".probes").mkdir()
    assert "probes status" in welcome(tmp_path)


def test_the_commands_of_the_welcome_can_be_read(tmp_path):
    (tmp_path / ".probes").mkdir()
    report = tmp_path / "reports/latest/report.md"
    report.parent.mkdir(parents=True)
    report.write_text("")
    found = re.findall(r"^    probes (.*)$", welcome(tmp_path), re.M)

    assert len(found) == 5
    for one in found:
        cli.parser_of_all().parse_args(shlex.split(one))


def test_an_option_that_nobody_knows_is_one_line_with_the_nearest(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["run", "dynamics", "--imges", "3"])

    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("probes run dynamics: unknown '--imges': did you mean --images?\n")


def test_the_help_loads_no_torch():
    code = (
        "import sys; from probes import cli\n"
        "try: cli.main(['run', 'dynamics', '--help'])\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "False False"


def test_a_value_that_can_not_be_read_is_told_with_what_the_option_takes(capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "dynamics", "--levels", "0,a"])

    assert capsys.readouterr().err.startswith(
        "probes run dynamics: --levels '0,a' can't be read: noise levels, e.g. 0,.1,.2"
    )
