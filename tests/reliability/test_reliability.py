"""Three kills of the journey: in training, in the sweep, in the report. The whole table is
``reports/reliability``, made by ``kill.py``.
"""

import importlib.util
import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

spec = importlib.util.spec_from_file_location("probes_kill", Path(__file__).with_name("kill.py"))
kill = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kill)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, child):
    """What an undisturbed journey says, and the bytes that it leaves."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as forked:
        forked.setattr(kill, "start", lambda folder: child([kill.JOURNEY, folder]))
        said, _ = kill.undisturbed(folder)
    return said, kill.contents(folder)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize(
    ("line", "count"), [("epoch", 1), ("cell", 12), ("phase report", 1)], ids=lambda v: str(v)
)
def test_trap_p03_a_run_killed_at_any_moment_goes_on_to_the_same_bytes(
    tmp_path, child, monkeypatch, whole, line, count
):
    """The kill comes at a line that the run says, so it always hits a run that is not over."""
    monkeypatch.setattr(kill, "start", lambda folder: child([kill.JOURNEY, folder]))
    said, contents = whole
    before = kill.killed_at(tmp_path, line, count)
    left = kill.contents(tmp_path)
    again, _ = kill.undisturbed(tmp_path)

    assert "phase done" not in before
    assert left != contents
    assert kill.contents(tmp_path) == contents
    for work in ("epoch", "cell"):
        done, todo = before.count(work), again.count(work)
        assert said.count(work) <= done + todo <= said.count(work) + 1
