"""Every committed report is drawn again from its files, byte for byte: pages, tables and evidence,
and figures by name; in every figure nothing is cut and nothing lies over another thing.
"""

import io
import shutil
from pathlib import Path

import pytest
from PIL import Image

from probes.studies import sections
from probes.tell import plots, report, reportfolder
from probes.tell.verify import verify
from tests.unit.tell.seen import faults

pytestmark = pytest.mark.slow

REPORTS = Path(__file__).parents[3] / "reports"
COMMITTED = sorted(
    p.parent for p in REPORTS.rglob("evidence.jsonl") if p.parent != REPORTS / "latest"
)
BLANK = io.BytesIO()
Image.new("RGB", (8, 8)).save(BLANK, "png")


def files(folder):
    inner = [p.parent for p in folder.rglob("evidence.jsonl") if p.parent != folder]
    return {
        p.relative_to(folder).as_posix(): p
        for p in folder.rglob("*")
        if p.is_file()
        and p.name != reportfolder.PAGE  # it holds the figures, which are blank here
        and not any(i in p.parents for i in inner)
    }


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda p: p.relative_to(REPORTS).as_posix())
def test_a_committed_report_is_drawn_again_byte_for_byte(folder, tmp_path, monkeypatch):
    wrong = []

    def blank(figure, path, *rest):
        plots.dress(figure)
        wrong.extend(f"{path.name}: {fault}" for fault in faults(figure))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BLANK.getvalue())

    monkeypatch.setattr(plots, "write_png", blank)
    again = tmp_path / folder.name
    shutil.copytree(folder, again, ignore=shutil.ignore_patterns("claims"))
    report.draw(again, sections=sections())

    before, after = files(folder), files(again)
    assert set(after) == set(before)
    figures = {name for name in before if name.endswith(".png")}
    changed = [
        name
        for name in set(before) - figures - {reportfolder.MANIFEST}
        if before[name].read_bytes() != after[name].read_bytes()
    ]
    assert changed == []
    assert wrong == []


def test_the_committed_page_is_of_its_report_and_small_enough_to_send():
    page = REPORTS / "dynamics" / reportfolder.PAGE

    assert page.stat().st_size < 5_000_000
    assert verify(REPORTS / "dynamics") == []
