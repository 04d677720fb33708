"""``probes verify --rerun``: a report is measured again, in a store of its own, and compared."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from probes.errors import BadInput, ProbesError
from probes.store import Store
from probes.tell import evidence
from probes.tell.measuredagain import beside

NOT_MEASURED = ("weights", "checkpoints", "decoded", "hashes", "batches")
"""Kinds of entries of a store that are no measurements: weights, images as they are read, sizes of
batches."""
SAFE = ("-k", "-m", "-n", "--dist", "-p", "--maxfail")
"""Options of pytest that choose or order tests, and take a word."""
FLAGS = ("-q", "-v", "-x", "-s")


def rerun(folder: Path) -> list[str]:
    """Measure a report again by the command that made it, and say of each claim how it compares;
    what is wrong, a sentence each.

    It runs in this folder, in a store of its own that has the weights of this one and none of its
    measurements. Only ``pytest`` and ``probes run`` are run, without a shell, and of pytest only
    options that choose tests. Raises BadInput for any other command.
    """
    run = evidence.run_of(folder)
    here = Store.default()
    with tempfile.TemporaryDirectory(prefix="probes-rerun-") as scratch:
        out = Path(scratch) / "report"
        argv = command_of(run["command"], out)
        print(f"{folder}: measured again by\n  {run['command']}", flush=True)
        store = Path(scratch) / "store"
        for kind in NOT_MEASURED:
            if (here.folder / kind).is_dir():
                store.mkdir(exist_ok=True)
                (store / kind).symlink_to((here.folder / kind).absolute())
        env = os.environ | {"PROBES_STORE": str(store), "PROBES_LEDGER": ""}
        code, said = _run(argv, env)
        found = sorted(path.parent for path in out.rglob("evidence.jsonl"))
        found = [place for place in found if place.name == folder.name] or found
        if not found:
            raise ProbesError(
                f"{folder} could not be measured again: the command ended with {code}\n  "
                + "\n  ".join(said)
            )
        problems: list[str] = []
        for claim in beside(folder, found[0]):
            print(f"{folder}: {claim}" if not claim.problems else claim.problems[0], flush=True)
            problems += claim.problems
    return problems


def _run(argv: Sequence[str], env: Mapping[str, str]) -> tuple[int, list[str]]:
    """Run a command whose words are shown as they come; its exit code and its last lines."""
    said: deque[str] = deque(maxlen=5)
    pipe, both = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(argv, env=env, stdout=pipe, stderr=both, text=True) as running:
        assert running.stdout is not None
        for text in running.stdout:
            sys.stderr.write(text)
            said.append(text.rstrip())
    return running.returncode, list(said)


def command_of(text: str, out: Path) -> list[str]:
    """The command of a report as a list, which writes to another folder.

    >>> command_of("probes run dynamics --images 100 --out old", Path("new"))[1:]
    ['-m', 'probes', 'run', 'dynamics', '--images', '100', '--out', 'new']
    """
    try:
        words = shlex.split(text.strip().splitlines()[-1])
    except (ValueError, IndexError):
        words = []
    if words[:2] == ["probes", "run"]:
        return [sys.executable, "-m", "probes", *_without(words[1:], "--out"), "--out", str(out)]
    if words[:1] == ["pytest"]:
        words = _without(words[1:], "--probes-report")
        _only_tests(words)
        none = ["-p", "no:cacheprovider", "--probes-ledger="]
        return [sys.executable, "-m", "pytest", *words, *none, f"--probes-report={out}"]
    raise BadInput(
        f"its command is {text.strip()[:80]!r}: --rerun runs `pytest` and `probes run` only; run it"
        " yourself into another folder and compare"
    )


def _without(words: Sequence[str], option: str) -> list[str]:
    """Words without an option and its value."""
    found, skip = [], False
    for word in words:
        if not skip and word != option and not word.startswith(f"{option}="):
            found.append(word)
        skip = word == option
    return found


def _only_tests(words: Sequence[str]) -> None:
    """BadInput for an option of pytest that may load code that a report names."""
    before = ""
    for word in words:
        name = word.partition("=")[0]
        if before == "-p":
            allowed = word.startswith("no:")
        elif before in SAFE:
            allowed = True
        elif word.startswith("-"):
            allowed = name in SAFE or name in FLAGS or name.startswith("--probes-")
        else:
            place = Path(word.partition("::")[0])
            allowed = not place.is_absolute() and ".." not in place.parts
        if not allowed:
            raise BadInput(
                f"its command gives pytest {word!r}: --rerun takes tests of this folder and options"
                " that choose among them only; run it yourself into another folder and compare"
            )
        before = word if word in SAFE else ""
