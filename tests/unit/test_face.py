"""The face of the package: one version everywhere, a small wheel with its license."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import probes

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WEIGHTS = tomllib.loads((ROOT / "weights" / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_one_version_everywhere():
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)

    assert PROJECT["dynamic"] == ["version"]
    assert {WEIGHTS["version"], CITATION["version"], first[1]} == {probes.__version__}


def test_the_citation_names_what_the_format_requires():
    assert {"cff-version", "message", "title", "authors"} <= CITATION.keys()
    assert CITATION["license"] == PROJECT["license"] == WEIGHTS["license"]


def test_both_distributions_hold_the_license():
    assert (ROOT / "LICENSE").read_text() == (ROOT / "weights" / "LICENSE").read_text()


def test_each_test_package_of_the_extra_is_a_requirement_once():
    for name, needs in PROJECT["optional-dependencies"].items():
        names = [re.split(r"[<>=!\[ ]", need)[0] for need in needs]
        assert len(names) == len(set(names)), name


@pytest.mark.slow
def test_the_wheel_is_under_15_megabytes_and_holds_the_license(tmp_path):
    for name in ("probes", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    made = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", "out", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        pytest.skip(f"no wheel can be built here: {made.stderr.strip().splitlines()[-1]}")
    (wheel,) = (tmp_path / "out").glob("*.whl")

    assert wheel.stat().st_size < 15e6
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "probes/tell/page.html" in names
    assert sum(name.endswith(".safetensors") for name in names) == 16
