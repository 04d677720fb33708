"""Three kills of the journey, one in each third; the whole table is ``reports/reliability``, made
by ``kill.py``.
"""

import importlib.util
from pathlib import Path

spec = importlib.util.spec_from_file_location("probes_kill", Path(__file__).with_name("kill.py"))
kill = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kill)


def test_trap_p03_a_run_killed_at_any_moment_goes_on_to_the_same_bytes(
    tmp_path, child, monkeypatch
):
    monkeypatch.setattr(kill, "start", lambda folder: child([kill.JOURNEY, folder]))
    said, seconds = kill.undisturbed(tmp_path / "undisturbed")
    contents = kill.contents(tmp_path / "undisturbed")
    for third in (0.2, 0.5, 0.8):
        folder = tmp_path / str(third)
        before = kill.killed(folder, third * seconds)
        again, _ = kill.undisturbed(folder)

        assert kill.contents(folder) == contents
        if before is not None:
            assert before.count("cell") + again.count("cell") <= said.count("cell") + 1
