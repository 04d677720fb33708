"""The second door."""

import errno
import os
import subprocess
import sys

import pytest

from probes import cli
from probes.errors import BadInput
from probes.run import console
from probes.subjects.nets import nets


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", [3]), ("0-2", [0, 1, 2]), ("0,2,5-6", [0, 2, 5, 6]), ("1,1", [1])]
)
def test_seeds_as_typed(text, seeds):
    assert console.seed_range(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "1-", "0-99999999", "1.5"])
def test_seeds_that_are_none(text):
    with pytest.raises(BadInput, match="seeds"):
        console.seed_range(text)


def test_list_shows_networks_datasets_and_weights(capsys, tmp_path):
    assert cli.main(["list", "--store", str(tmp_path)]) == 0
    text = capsys.readouterr().out

    for word in ("resnet20", "plainnet20", "mnist5k", "resnet20@mnist5k#7", "shipped", "device: "):
        assert word in text


def test_list_shows_a_network_without_a_docstring(capsys, tmp_path):
    if "undocumented" not in nets:
        nets.register("undocumented")(lambda channels, classes: None)

    assert cli.main(["list", "--store", str(tmp_path)]) == 0
    assert "undocumented" in capsys.readouterr().out


def test_an_unknown_net_is_one_line_with_the_nearest_names(capsys, tmp_path):
    assert cli.main(["train", "plainet20", "mnist5k", "--store", str(tmp_path)]) == 2
    assert "unknown network 'plainet20': did you mean plainnet20" in capsys.readouterr().err


def test_an_unknown_dataset_is_one_line(capsys, tmp_path):
    assert cli.main(["train", "resnet20", "mnist5", "--store", str(tmp_path)]) == 2
    assert "did you mean mnist5k" in capsys.readouterr().err


def test_what_is_interrupted_says_the_command_that_goes_on(capsys, monkeypatch, tmp_path):
    def interrupted(given):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.listing, "show", interrupted)

    assert cli.main(["list", "--store", f"{tmp_path}/my store"]) == 130
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "probes: interrupted; what is done is kept, and the same command goes on from here:",
        f"  probes list --store '{tmp_path}/my store'",
    ]


def test_what_the_machine_refuses_is_one_line(capsys, monkeypatch):
    def refused(given):
        raise OSError(errno.EMFILE, "Too many open files", "a.npy")

    monkeypatch.setattr(cli.listing, "show", refused)

    assert cli.main(["list"]) == 2
    assert capsys.readouterr().err == "probes: Too many open files: a.npy\n"


def test_a_folder_that_is_no_report_is_said(capsys, tmp_path):
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "is it the folder of a report?" in capsys.readouterr().err
    assert cli.main(["verify", str(tmp_path)]) == 1


@pytest.mark.parametrize(
    ("words", "codes"),
    [("list", (141,)), ("--help", (0, 141)), ("run dynamics --levels x", (2,))],
)
def test_a_reader_that_has_gone_is_no_fault(words, codes):
    """As in ``probes list | head -1``."""
    read, write = os.pipe()
    os.close(read)
    argv = [sys.executable, "-m", "probes", *words.split()]
    done = subprocess.run(argv, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)

    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert done.returncode in codes
