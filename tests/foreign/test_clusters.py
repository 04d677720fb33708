"""What docs/many-machines.md shows of other people's schedulers runs as it stands."""

import os
import re
from pathlib import Path

import pytest

from probes import holdings
from probes.store import Store

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "many-machines.md").read_text(encoding="utf-8")


def test_the_example_with_submitit_fills_the_store(tmp_path, child):
    pytest.importorskip("submitit", reason="submitit is not installed: pip install submitit")
    (example,) = re.findall(r"```python\n(import sys\nimport submitit\n.*?)```", PAGE, re.DOTALL)
    (tmp_path / "shards.py").write_text(example)
    code, out, err = child(
        ["shards.py"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ).told()

    assert code == 0, err
    assert "of other shards are not" in out or "report: report/report.md" in out
    found = list(holdings.entries(Store(tmp_path / "store")))
    mine = [entry for entry in found if entry.about == "resnet20@mnist5k"]
    assert sum(entry.kind == "cells" for entry in mine) == 6


def test_every_command_and_option_of_the_page_exists():
    from probes.run.options import OPTIONS

    typed = set(re.findall(r"--probes-([a-z-]+)", PAGE))
    assert typed <= {option.name for option in OPTIONS}
    assert len(typed) >= 8
