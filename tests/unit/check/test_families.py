"""Every family of timm, a small network each: read right or refused by reason. `pytest -m slow`."""

import pytest

from probes.check import families
from probes.run.settings import Options
from probes.store import Store

pytest.importorskip("timm")
EVERY = families.members()


@pytest.mark.slow
@pytest.mark.parametrize("family", EVERY)
def test_a_family_is_read_right_or_refused_by_reason(family, tmp_path):
    row = families.row(family, EVERY[family], Store(tmp_path), Options(threads=1))
    assert row["outcome"] in ("right", "no sums", "refused")
    assert row["outcome"] != "refused" or row["why"]
