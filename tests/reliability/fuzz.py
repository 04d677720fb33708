"""Hostile input: every reader of bytes and words from outside meets inputs that nobody meant.

    python tests/reliability/fuzz.py --inputs 100000 --out reports/reliability

Each input is a valid one, changed at random (``mutate.py``); ``guided.py`` makes others. A reader
may read it or refuse it with an error of ``probes.errors``, in a second, with 500 MB, without
writing and without running anything (``guard.py``). A reader that the table holds with as many
inputs is not tried again: the same command goes on where it was stopped (delete the table to begin
anew). ``--only NAME --number N`` tries one input again.
"""

import argparse
import contextlib
import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import pandas as pd
from guard import MEGABYTES, SECONDS, Guard
from mutate import Mutator
from readers import BY_NAME, READERS
from written import rows_by, write

from probes.errors import ProbesError

SHOWN = 20


def prepared(reader, scratch, seed=0):
    """What tries an input, and what makes the numbered ones."""
    folder = Path(scratch)
    mutator = Mutator(reader.seeds(), reader.tokens, seed)
    guard = Guard(folder)

    def given(data):
        if not reader.file:
            return data.decode("utf-8", "replace").replace("\0", "")
        path = folder / reader.file
        path.write_bytes(data)
        return path

    def tried(data):
        return guard.tried(reader.read, given(data))

    for seed in mutator.seeds:  # what is imported and kept lazily is there before the limits
        with contextlib.suppress(ProbesError, SystemExit):
            reader.read(given(seed))
    return tried, mutator, guard


def fuzzed(name, inputs, first=0, seed=0):
    """Numbers of inputs by what came of them, and the numbers of some that broke a rule."""
    logging.disable()
    warnings.simplefilter("ignore")
    os.environ["COLUMNS"] = "80"
    reader, found, broken = BY_NAME[name], Counter(), {}
    base = "/dev/shm" if os.path.isdir("/dev/shm") else None
    scratch = tempfile.mkdtemp(dir=base)
    sys.stderr = sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - what commands print
    try:
        tried, mutator, guard = prepared(reader, scratch, seed)
        guard.arm()
        for number in range(first, first + inputs):
            told = tried(mutator(number))
            kind = told if told in ("read", "refused") else "broken"
            found[kind] += 1
            if kind == "broken" and told not in broken and len(broken) < SHOWN:
                broken[told] = number
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return name, dict(found), broken


def together(inputs, seed=0):
    """Every reader in one process: what broke, by reader."""
    found = {}
    for reader in READERS:
        name, _, broken = fuzzed(reader.name, inputs, seed=seed)
        if broken:
            found[name] = broken
    return found


def page(table, command):
    from probes.tell.markdown import grid

    rows = [[r.reader, r.what, r.inputs, r.read, r.refused, r.broken] for r in table.itertuples()]
    whole = int(table["broken"].sum())
    lacking = [name for name in BY_NAME if name not in set(table["reader"])]
    return "\n\n".join(
        [
            "# Hostile input",
            f"`{command}`",
            f"Each reader met {table['inputs'].max():,} inputs: valid ones, changed at random, and"
            " a JSON text 100,000 deep. *Refused* is an error of `probes.errors`. *Broken* is any"
            f" other exception, more than {SECONDS:g} s or {MEGABYTES} MB, a file written, or a"
            " command run.",
            grid(["reader", "of", "inputs", "read", "refused", "broken"], rows),
            f"**{whole} of {int(table['inputs'].sum()):,} inputs broke a rule.**",
            *([f"Not tried yet: {', '.join(lacking)}."] if lacking else []),
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--only", choices=sorted(BY_NAME), action="append")
    parser.add_argument("--number", type=int)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--together", action="store_true", help="all in one process, quickly")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    names = given.only or [reader.name for reader in READERS]
    if given.number is not None:
        folder = tempfile.mkdtemp()
        tried, mutator, _ = prepared(BY_NAME[names[0]], folder)
        print(mutator(given.number)[:2000])
        print(tried(mutator(given.number)))
        return
    if given.together:
        shown = os.fdopen(os.dup(1), "w")
        broken = together(given.inputs)
        print(*(f"{name}: {what}" for name, what in broken.items()), sep="\n", file=shown)
        sys.exit(bool(broken))
    rows = {
        name: row
        for name, row in rows_by("reader", given.out, "fuzz").items()
        if row["inputs"] == given.inputs and not row["broken"]
    }
    command = f"python tests/reliability/fuzz.py --inputs {given.inputs} --out {given.out}"
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(given.jobs, context, max_tasks_per_child=1) as pool:
        todo = [pool.submit(fuzzed, n, given.inputs) for n in names if n not in rows]
        for one in as_completed(todo):
            name, found, broken = one.result()
            rows[name] = {"reader": name, "what": BY_NAME[name].what, "inputs": given.inputs} | {
                kind: found.get(kind, 0) for kind in ("read", "refused", "broken")
            }
            print(name, found, *(f"\n  {n}: {told}" for told, n in broken.items()), flush=True)
            table = pd.DataFrame([rows[name] for name in BY_NAME if name in rows])
            if given.out:
                write(given.out, "fuzz", table, page(table, command))
    sys.exit(any(row["broken"] for row in rows.values()))


if __name__ == "__main__":
    main()
