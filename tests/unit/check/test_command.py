"""The command `probes check`."""

import pytest

from probes import cli
from probes.check import command
from probes.check.instruments import Examined, Tried

BUILDER = """
from torch import nn


def small(channels, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(784 * channels, classes))
"""


def test_a_network_without_weights_is_checked_with_random_ones(tmp_path, monkeypatch, capsys):
    """Its module is named without a dot, as `net:weights` is."""
    (tmp_path / "checked_nets.py").write_text(BUILDER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PROBES_STORE", str(tmp_path / "store"))
    code = cli.main(["check", "checked_nets:small", "--dataset", "mnist5k"])
    said = capsys.readouterr().out

    assert code == 0
    assert "no weights here (probes train checked_nets:small mnist5k --seeds 0): random" in said


@pytest.mark.parametrize(("columns", "most"), [("80", 80), (None, 10_000)])
def test_what_works_fits_the_terminal_and_is_one_line_in_a_file(monkeypatch, columns, most):
    tried = [Tried("dropout(...)", False, "no layer " * 30)]
    monkeypatch.setenv("COLUMNS", columns) if columns else monkeypatch.delenv("COLUMNS", False)
    lines = command.told(Examined((), (), (), tuple(tried), "claim"))
    shown = [line for line in lines if "no layer" in line]

    assert max(map(len, shown)) <= most
    assert (len(shown) > 1) == bool(columns)
    assert shown[0].startswith("  no   dropout(...)           no layer")
