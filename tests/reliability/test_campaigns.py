"""The quick versions of what ``reports/reliability`` tells: the same code, fewer accidents. The
whole tables are made by the commands that stand in them.
"""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import changes  # noqa: E402
import mutants  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these ask Linux")
REPORTS = HERE.parents[1] / "reports" / "reliability"


def asked(tmp_path, name, *words):
    """Run a campaign in a process of its own, which may start others; its exit code and its
    words.
    """
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    env["PYTHONPATH"] = str(HERE.parents[1])
    argv = [sys.executable, HERE / name, *words, "--out", tmp_path]
    done = subprocess.run(argv, env=env, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_single_changes_of_a_report_are_caught():
    before = {name: changes.told(changes.REPORTS / name) for name in changes.COMMITTED}
    numbers = [n for n in range(25) if n % 10 > 2]  # of the small report
    rows = [changes.tried(n, before) for n in numbers]

    assert [row for row in rows if "missed" in (row["as it stands"], row["forged"])] == []
    assert sum(row["forged"] == "caught" for row in rows) > len(rows) / 3


def test_work_that_is_killed_or_stopped_ends_with_the_same_bytes(tmp_path):
    few = ("--only", "segments", "--kills", "1", "--signals", "2", "--jobs", "1")
    code, said = asked(tmp_path, "accidents.py", *few)

    assert code == 0, said
    assert "3 ended with the same bytes" in said
    assert "**3 of 3 ended with the same bytes.**" in (tmp_path / "accidents.md").read_text()


def test_troubles_of_every_day_end_in_words_and_the_same_bytes(tmp_path):
    code, said = asked(tmp_path, "troubles.py", "--quick", "--places", "1")

    assert code == 0, said
    assert "0 ended in a traceback" in (tmp_path / "troubles.md").read_text()


def test_a_small_share_of_the_load_is_carried(tmp_path):
    some = ("--only", "claims")
    code, said = asked(tmp_path, "load.py", "--share", ".002", "--once", *some)

    assert code == 0, said
    assert (tmp_path / "load.md").read_text().count("| claims, judged") == 1


def test_a_change_of_annotations_or_docstrings_is_no_mutant():
    before = 'def f(x: int | None) -> int:\n    """Words."""\n    return x + 1\n'

    assert mutants.meaning(before) == mutants.meaning(before.replace("|", "^").replace("Wo", "Ba"))
    assert mutants.meaning(before) != mutants.meaning(before.replace("+", "-"))


@pytest.mark.parametrize(
    "name", ["accidents", "changes", "fuzz", "guided", "kills", "load", "mutants", "troubles"]
)
def test_a_committed_table_names_its_command_and_nothing_was_lost(name):
    text = (REPORTS / f"{name}.md").read_text(encoding="utf-8")

    assert "`python tests/reliability/" in text.splitlines()[2]
    assert (REPORTS / f"{name}.csv").is_file()
    for lost in ("missed", "broke", "lost"):
        assert "**0 of " in text or f"{lost}.**" not in text


def test_every_survivor_of_the_mutants_has_its_reason():
    table = pd.read_csv(REPORTS / "mutants.csv", keep_default_na=False)
    reasons = tomllib.loads((HERE / "survivors.toml").read_text(encoding="utf-8"))
    lost = table.loc[~table["killed"], "mutant"]

    assert table["killed"].mean() >= 0.9
    assert set(lost) <= set(reasons), json.dumps(sorted(set(lost) - set(reasons)))
