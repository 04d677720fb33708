"""Three kills of the journey, one in each third; the whole table is ``reports/reliability``, made
by ``kill.py``.
"""

import importlib.util
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("probes_kill", Path(__file__).with_name("kill.py"))
kill = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kill)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    said, seconds = kill.undisturbed(folder)
    return said, seconds, kill.contents(folder)


@pytest.mark.parametrize("third", [0.2, 0.5, 0.8])
def test_trap_p03_a_run_killed_at_any_moment_goes_on_to_the_same_bytes(expected, tmp_path, third):
    said, seconds, contents = expected
    before = kill.killed(tmp_path, third * seconds)
    again, _ = kill.undisturbed(tmp_path)

    assert kill.contents(tmp_path) == contents
    if before is not None:
        assert before.count("cell") + again.count("cell") <= said.count("cell") + 1
