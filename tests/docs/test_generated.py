"""Pages that are made from the code are those that the code makes today."""

import importlib
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))
generate = importlib.import_module("generate")
sys.path.pop(0)
MADE = generate.pages()


@pytest.mark.parametrize("name", sorted(MADE))
def test_a_page_is_what_its_command_writes(name):
    if name == "reference/commands.md" and sys.version_info[:2] != (3, 11):
        pytest.skip("argparse writes help in another way")

    assert (DOCS / name).read_text(encoding="utf-8") == MADE[name], "run: python docs/generate.py"


def test_no_page_is_left_from_before():
    made = {name for name in MADE if name.startswith("errors/")}

    assert {f"errors/{path.name}" for path in (DOCS / "errors").glob("*.md")} == made
