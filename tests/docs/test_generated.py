"""Pages that are made from the code are those that the code makes today."""

import importlib
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))
generate = importlib.import_module("generate")
sys.path.pop(0)


@pytest.mark.parametrize("name", sorted(generate.pages()))
def test_a_page_is_what_its_command_writes(name):
    made = generate.pages()[name]

    assert (DOCS / name).read_text(encoding="utf-8") == made, "run: python docs/generate.py"


def test_no_page_is_left_from_before():
    made = {name for name in generate.pages() if name.startswith("errors/")}

    assert {f"errors/{path.name}" for path in (DOCS / "errors").glob("*.md")} == made
