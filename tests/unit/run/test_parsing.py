"""The parser of every command."""

import argparse
from pathlib import Path

import pytest

from probes.run.parsing import GROUPS, Parser, command


@pytest.fixture
def parser():
    return Parser(prog="mine", description="Mine.", examples=("mine a",))


def refused(parser, argv, capsys):
    with pytest.raises(SystemExit) as end:
        parser.parse_args(argv)
    assert end.value.code == 2
    return capsys.readouterr().err


def test_options_of_somebody_who_knows_nothing_of_groups_stand_in_them_with_their_defaults(parser):
    parser.add_argument("net")
    parser.add_argument("--images", type=int)
    parser.add_argument("--share", type=float, default=0.5, help="a share in %%")
    parser.add_argument("--out", type=Path, default=Path("results/mine"))
    parser.add_argument("--loud", action="store_true", help="say more")
    text = parser.format_help()

    assert text.startswith("usage: mine NET [options]\n\nMine.\n")
    assert (
        "settings:\n  --share NUMBER  a share in % (default: 0.5)\n  --loud          say more"
        in text
    )
    assert "data:\n  --images N      (default: none)" in text
    assert "output:\n  --out PATH      (default: results/mine)" in text
    assert text.endswith("examples:\n  mine a\n")


def test_a_plain_parser_takes_the_shared_options_too():
    from probes.run.console import common, dataset, images, out

    plain = argparse.ArgumentParser()
    for add in (common, dataset, images):
        add(plain)
    out(plain, "results/x")

    assert plain.parse_args(["--images", "3"]).out == Path("results/x")


@pytest.mark.parametrize("name", ["out", "checkpoints"])
def test_an_empty_path_is_refused_and_not_the_folder_one_is_in(parser, capsys, name):
    parser.add_argument(f"--{name}", type=Path)

    assert f"argument --{name}: an empty path" in refused(parser, [f"--{name}="], capsys)


def test_a_number_is_no_network(parser, capsys):
    parser.add_argument("nets", nargs="*", metavar="NET")
    parser.add_argument("--levels")
    given = parser.parse_args(["--levels", "0", "resnet20", ".1"])

    with pytest.raises(SystemExit) as end:
        parser.accept(given, [])
    assert end.value.code == 2
    assert ".1 is no network: several numbers of one option stand between commas" in (
        capsys.readouterr().err
    )


def test_the_nearest_of_the_choices_and_of_the_commands_is_offered(parser, capsys):
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    going = command(commands, "run", "run a thing", ())
    going.add_argument("--scale", choices=("shared", "per map"))

    assert "mine: unknown 'rnu': did you mean run?" in refused(parser, ["rnu"], capsys)
    assert "--scale: unknown 'per mop': did you mean per map?" in refused(
        parser, ["run", "--scale", "per mop"], capsys
    )
    assert "known are shared, per map" in refused(parser, ["run", "--scale", "x"], capsys)


def test_no_option_is_in_two_groups():
    names = " ".join(GROUPS.values()).split()

    assert len(names) == len(set(names))
