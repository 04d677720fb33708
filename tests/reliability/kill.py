"""Kills the journey with SIGKILL at moments uniform over it, runs it again, and compares with an
undisturbed one.

    python tests/reliability/kill.py --kills 50 --out reports/reliability

After each kill the same command must finish, compute again at most the cell in flight (and at most
the epoch in flight), and end with the bytes of an undisturbed run in an empty store: weights,
cells, evidence and report, nothing else left.
"""

import argparse
import hashlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from probes import seeds
from probes.atomic import write_text

JOURNEY = Path(__file__).with_name("journey.py")


def contents(folder):
    """Every file below a folder with its SHA-256; lock files are left out."""
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.suffix != ".lock"
    }


class Process(subprocess.Popen):
    """A process whose lines are read as it says them."""

    def __init__(self, argv):
        argv = [sys.executable, *map(str, argv)]
        super().__init__(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def __iter__(self):
        return iter(self.stdout)

    def readline(self):
        return self.stdout.readline()


def start(folder):
    return Process([JOURNEY, folder])


def undisturbed(folder):
    """Run to the end: the lines said, and the seconds from the first phase to the last."""
    process, said, began = start(folder), [], None
    for line in process:
        began = began or (time.monotonic() if line.startswith("phase") else None)
        said.append(line.strip())
    assert process.wait() == 0, "\n".join(said)
    return said, time.monotonic() - began


def killed(folder, after):
    """Run, kill ``after`` seconds into the first phase; the lines said by then, None when it had
    finished before.
    """
    process = start(folder)
    first = process.readline()
    assert first.startswith("phase"), first
    time.sleep(after)
    process.kill()
    said = [first.strip(), *(line.strip() for line in process)]
    return None if process.wait() == 0 else said


def killed_at(folder, line, count):
    """Run, and kill as soon as ``line`` was said ``count`` times: the lines said by then."""
    process, said = start(folder), []
    for text in process:
        said.append(text.strip())
        if said.count(line) == count:
            break
    process.kill()
    said += [text.strip() for text in process]
    assert process.wait() == -signal.SIGKILL, "\n".join(said)
    return said


def one(number, seconds, expected, work):
    """A kill and the run after it, as a row of the table."""
    folder = work / f"kill-{number}"
    after = float(seeds.uniform(1, "kill", number)[0]) * seconds
    said = killed(folder, after)
    if said is None:
        shutil.rmtree(folder)
        return None
    # A report that is there at the kill is there afterwards: whole, old or new, never half of one.
    phase = [line.split()[1] for line in said if line.startswith("phase")][-1]
    there = len(list((folder / "store" / "cells").glob("*.json")))
    again, _ = undisturbed(folder)
    cells, epochs = again.count("cell"), again.count("epoch")
    found = contents(folder)
    row = {
        "phase": phase,
        "cells made": said.count("cell"),
        "cells kept": there,
        "cells made again": cells - (expected["cells"] - there),
        "epochs made again": max(0, epochs - (expected["epochs"] - said.count("epoch"))),
        "same bytes": found == expected["contents"],
        "left over": ", ".join(sorted(set(found) - set(expected["contents"]))[:2]),
    }
    shutil.rmtree(folder)
    return row


def campaign(kills, work):
    """A row for each kill, at moments uniform over the journey."""
    said, seconds = undisturbed(work / "undisturbed")
    expected = {
        "cells": said.count("cell"),
        "epochs": said.count("epoch"),
        "contents": contents(work / "undisturbed"),
    }
    rows, first = [], 0
    with ThreadPoolExecutor(2) as pool:
        while len(rows) < kills:
            batch = range(first, first + min(10, kills - len(rows)))
            first = batch.stop
            rows += [
                r
                for r in pool.map(lambda n: one(n, seconds, expected, work), batch)
                if r is not None
            ]
            print(f"{len(rows)} of {kills}", flush=True)
    return pd.DataFrame(rows), expected


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        table, expected = campaign(given.kills, Path(work))
    from probes.tell.markdown import grid

    hit = Counter(table["phase"])
    rows = [
        [
            phase,
            hit[phase],
            int(part["same bytes"].sum()),
            int(part["cells made again"].max()),
            int(part["epochs made again"].max()),
        ]
        for phase, part in table.groupby("phase", sort=False)
    ]
    text = [
        "# Killed at any moment",
        f"`python tests/reliability/kill.py --kills {given.kills} --out {given.out}`",
        (
            f"SIGKILL at moments uniform over a journey of training ({expected['epochs']} epochs),"
            f" a sweep of {expected['cells']} cells, evidence and report; then the same command"
            " again."
        ),
        (
            "*Same bytes*: weights, cells, evidence and report equal those of an undisturbed run in"
            " an empty store, and nothing else is left. A cell or an epoch made again is one that"
            " was in flight."
        ),
        grid(
            [
                "phase",
                "kills that hit it",
                "same bytes afterwards",
                "cells made again, at most",
                "epochs made again, at most",
            ],
            rows,
        ),
        f"**{int(table['same bytes'].sum())} of {len(table)} ended with the same bytes.**",
    ]
    given.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.out / "kills.csv", index=False, lineterminator="\n")
    write_text(given.out / "kills.md", "\n\n".join(text) + "\n")


if __name__ == "__main__":
    main()
