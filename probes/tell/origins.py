"""Where a report comes from: command, versions, machine, commit."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from probes import __version__
from probes.tell.evidence import SCHEMA

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "matplotlib",
    "pytest",
    "mlxtend",
)


def provenance(root: Path, command: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Where and with what a run was made: commit and dirty flag, versions, machine, command,
    options.
    """

    return {
        "schema": SCHEMA,
        "command": shlex.join(command),
        "commit": git(root, "rev-parse", "HEAD") or None,
        "dirty": bool(git(root, "status", "--porcelain", "--untracked-files=no")),
        "probes": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "options": dict(options),
    }


def git(root: Path, *words: str) -> str:
    """What git says in a folder; empty where it fails, or is not there."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def commits_since(commit: str, root: Path, *paths: str) -> int | None:
    """How many commits a checkout has since a commit, of those that change ``paths`` if there are
    some; None where the commit is not in it.
    """
    if not re.fullmatch("[0-9a-f]{7,64}", commit):  # it comes from a file, and goes to a command
        return None
    found = git(root, "rev-list", "--count", f"{commit}..HEAD", "--", *paths)
    return int(found) if found else None


CODE = "*.py"
"""The files of a checkout that evidence hangs on."""


def older(run: Mapping[str, Any], root: Path) -> list[str]:
    """How evidence is older than the code that made it, a sentence each: commits since that change
    Python files of the checkout at ``root``, changes that were not committed then or are not now,
    another version of the package. Empty where nothing changed.
    """
    found = []
    if (commit := run.get("commit")) is not None:
        since = commits_since(commit, root, CODE)
        changed = git(root, "status", "--porcelain", "--untracked-files=no", "--", CODE)
        if since is None:
            found.append(f"the evidence is of commit {commit[:10]}, which is not in this checkout")
        elif since:
            many = "1 commit changes" if since == 1 else f"{since:,} commits change"
            found.append(
                f"the evidence is older than the code that made it: {many} Python files since"
                f" {commit[:10]}"
            )
        elif run.get("dirty"):
            found.append(f"made at {commit[:10]} with changes that were not committed")
        elif changed:
            found.append(f"Python files were changed since {commit[:10]}, without a commit")
    if run["probes"] != __version__:
        found.append(f"made by probes {run['probes']}, this is {__version__}")
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        for row in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if row.startswith("model name"):
                return row.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or sys.platform
