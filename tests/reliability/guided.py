"""Hostile input that is guided by which lines of ours it reaches: atheris on every reader.

    pip install atheris
    python tests/reliability/guided.py --minutes 10 --corpus .fuzz --out reports/reliability

Each reader has so many minutes of processor time, in a process of its own. What is in the corpus
counts, and so does a reader that the table holds with as many minutes: the same command goes on
where it was stopped (delete the table to begin anew). The rules are those of ``guard.py``. It keeps
(``--corpus``) what reaches a line of ours that nothing before did.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def guided(name, seconds, corpus):
    """Fuzz one reader in this process, which ends with it; its counts lie beside the corpus."""
    import atheris

    with atheris.instrument_imports(include=["probes"]):
        import readers
    import fuzz

    logging.disable()
    warnings.simplefilter("ignore")
    os.environ["COLUMNS"] = "80"
    scratch = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    tried, mutator, guard = fuzz.prepared(readers.BY_NAME[name], scratch)
    inputs = corpus / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(mutator.seeds):
        (inputs / f"seed{i}").write_bytes(seed)
    tally, quiet = corpus / "tally.json", open(os.devnull, "w")  # noqa: SIM115
    counts = {"seconds": 0.0, "read": 0, "refused": 0, "broken": {}}
    counts |= json.loads(tally.read_text()) if tally.exists() else {}
    begun, kept = time.process_time(), time.process_time()
    spent = counts["seconds"]
    sys.stdout = sys.stderr = quiet

    def keep():
        counts["seconds"] = spent + time.process_time() - begun
        tally.with_suffix(".new").write_text(json.dumps(counts))
        tally.with_suffix(".new").replace(tally)

    def one(data):
        nonlocal kept
        told = tried(data)
        if told in ("read", "refused"):
            counts[told] += 1
        elif told not in counts["broken"]:
            counts["broken"][told] = data[:2000].decode("latin-1")
            keep()
        if time.process_time() - kept > 5:
            kept = time.process_time()
            keep()
            if counts["seconds"] >= seconds:
                os._exit(0)

    guard.arm()
    # No alarm of its own: the guard has it. Its limit of memory is above the guard's.
    atheris.Setup(
        ["", "-timeout=0", "-rss_limit_mb=6000", "-max_len=65536", "-verbosity=0", str(inputs)], one
    )
    atheris.Fuzz()


def page(rows, lacking, minutes, command):
    from probes.tell.markdown import grid

    broken = sum(row["broken"] for row in rows)
    total = sum(row["inputs"] for row in rows)
    return "\n\n".join(
        [
            "# Hostile input, guided",
            f"`{command}`",
            "Each reader met inputs that a fuzzer (atheris) changed towards lines of ours that no"
            f" input before had reached, for {minutes:g} minutes of processor time. The rules are"
            " those of [fuzz.md](fuzz.md). *Kept* are the inputs that reached something new.",
            grid(
                ["reader", "minutes", "inputs", "kept", "read", "refused", "ways to break a rule"],
                [
                    [
                        row["reader"],
                        round(row["seconds"] / 60, 1),
                        *(f"{row[key]:,}" for key in ("inputs", "kept", "read", "refused")),
                        row["broken"],
                    ]
                    for row in rows
                ],
            ),
            f"**{broken} ways to break a rule in {total:,} inputs.**",
            *([f"Not tried yet: {', '.join(lacking)}."] if lacking else []),
        ]
    )


def row_of(name, corpus):
    tally = corpus / "tally.json"
    if not tally.exists():
        return None
    counts = json.loads(tally.read_text())
    kept = len(list((corpus / "inputs").iterdir()))
    inputs = counts["read"] + counts["refused"]
    return {"reader": name, "inputs": inputs, "kept": kept} | counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", action="append")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--corpus", type=Path, default=Path(".fuzz"))
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.in_this_process:
        name = given.only[0]
        guided(name, 60 * given.minutes, given.corpus / name.replace(" ", "-"))
    from readers import READERS
    from written import rows_by, write

    there = {
        name: row
        for name, row in rows_by("reader", given.out, "guided").items()
        if row["seconds"] >= 60 * given.minutes and not row["broken"]
    }
    names = [reader.name for reader in READERS]
    wanted = [name for name in given.only or names if name not in there]

    def run(name):
        corpus = given.corpus / name.replace(" ", "-")
        while not ((row := row_of(name, corpus)) and row["seconds"] >= 60 * given.minutes):
            words = ["--in-this-process", "--only", name, "--minutes", str(given.minutes)]
            words += ["--corpus", str(given.corpus)]
            argv = [sys.executable, __file__, *words]
            done = subprocess.run(argv, capture_output=True, text=True)
            if done.returncode:
                print(name, "ended with", done.returncode, done.stderr[-600:], flush=True)
                return
        print(name, {k: row[k] for k in ("inputs", "read", "refused")}, flush=True)
        for told in row["broken"]:
            print("  broken:", told, flush=True)

    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(run, wanted))
    made = {name: row_of(name, given.corpus / name.replace(" ", "-")) for name in names}
    enough = {k: v for k, v in made.items() if v and v["seconds"] >= 60 * given.minutes}
    rows = [
        there.get(name) or {**enough[name], "broken": len(enough[name]["broken"])}
        for name in names
        if name in there or name in enough
    ]
    if given.out and rows:
        import pandas as pd

        command = (
            f"python tests/reliability/guided.py --minutes {given.minutes:g} --out {given.out}"
        )
        lacking = [name for name in names if name not in there and name not in enough]
        text = page(rows, lacking, given.minutes, command)
        write(given.out, "guided", pd.DataFrame(rows), text, float_format="%.4g")
    sys.exit(any(row["broken"] for row in rows))


if __name__ == "__main__":
    main()
