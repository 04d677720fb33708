"""What ``probes`` alone says: what to do next."""

from __future__ import annotations

import os
from pathlib import Path


def welcome(folder: Path | None = None) -> str:
    """What to do next in a folder, the current one if none is given, on one screen."""
    lines = ["Probes tests claims about neural networks. What to do next:", ""]
    for what, *how in steps(folder or Path.cwd()):
        lines += [f"  {what}", *(f"    {line}" for line in how), ""]
    return "\n".join([*lines, "All commands: probes --help. One of them: probes run --help."])


def steps(here: Path) -> list[tuple[str, ...]]:
    """What can be done in a folder, and how: a command, or a few lines of a file."""
    found: list[tuple[str, ...]] = [
        ("Run a study on digits and a network of the package, without a download:",
         "probes run dynamics --images 300"),
        ("Write a claim, in test_noise.py, and judge it with `pytest test_noise.py`:",
         "import pytest",
         "from probes import accuracy, falls, gaussian",
         '@pytest.mark.claim("Noise costs two points of accuracy.", id="COST")',
         "def test_noise(lab, claim):",
         "    table = lab.sweep(accuracy, under=gaussian(0, 0.3))",
         '    claim.holds(falls(table, "correct", sesoi="2 points"))'),
        ("Try your own network, build(channels, classes) in mynet.py:",
         "probes check mynet:build"),
        ("See which networks, images and weights are here:", "probes list"),
    ]  # fmt: skip
    if (here / "reports" / "latest" / "report.md").is_file():
        found.append(("Check the report of the last claims:", "probes verify reports/latest"))
    if (here / ".probes").is_dir() or os.environ.get("PROBES_STORE"):
        found.append(("See what the store holds and what is missing:", "probes status"))
    return found
