"""The command `probes check`."""

from probes import cli

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
