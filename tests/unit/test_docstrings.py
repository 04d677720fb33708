"""Every example in a docstring runs, and every public thing has a docstring."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "probes").rglob("*.py"))


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_examples_of_a_module_run(path, monkeypatch, tmp_path):
    monkeypatch.setenv("PROBES_STORE", str(tmp_path))
    if name_of(path) == "probes.philoxkernel":
        pytest.importorskip("triton", reason="Triton is not installed")
    found = doctest.testmod(importlib.import_module(name_of(path)), optionflags=doctest.ELLIPSIS)

    assert found.failed == 0


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_public_thing_has_a_docstring(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    things = [
        tree,
        *(
            n
            for n in tree.body
            if isinstance(n, ast.FunctionDef | ast.ClassDef)
            and not n.name.startswith(("_", "pytest_"))
        ),
    ]

    assert [getattr(n, "name", "module") for n in things if ast.get_docstring(n) is None] == []
