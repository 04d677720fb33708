"""Accidents at any moment of any work: SIGKILL, SIGTERM, Ctrl-C; then the same command again.

    python tests/reliability/accidents.py --kills 200 --signals 80 --out reports/reliability

Each accident hits a job of ``jobs.py`` at a moment that is uniform over it: SIGKILL hits all its
processes or the first alone, SIGTERM the first, Ctrl-C all. Whatever lives on must end by itself.
The same command must then end as it does undisturbed, with the same bytes and nothing left over.
Rows are kept as they come (``--work``), so that the command goes on where it was stopped.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import jobs
import pandas as pd

KINDS = ("kill", "term", "int")


def undisturbed(job, work):
    """Seconds, exit code and contents of a job that nothing happens to."""
    shutil.rmtree(work, ignore_errors=True)
    jobs.prepare(job, work)
    began = time.monotonic()
    code = jobs.wait(jobs.start(job, work))
    assert code in jobs.EXPECTED, (job, code, (work / "said.txt").read_text()[-500:])
    found = {"seconds": time.monotonic() - began, "code": code, "contents": jobs.contents(work)}
    shutil.rmtree(work)
    return found


def accident(job, kind, number, expected, work):
    """A row of the table; None where the job had ended before."""
    from probes import seeds

    shutil.rmtree(work, ignore_errors=True)
    jobs.prepare(job, work)
    share = float(seeds.uniform(1, f"accident {kind}", number)[0])
    pid = jobs.start(job, work)
    time.sleep(share * expected["seconds"])
    alone = number % 2 == 1
    with contextlib.suppress(ProcessLookupError):
        if kind == "term" or (kind == "kill" and alone):
            os.kill(pid, {"kill": signal.SIGKILL, "term": signal.SIGTERM}[kind])
        else:
            os.killpg(pid, {"kill": signal.SIGKILL, "int": signal.SIGINT}[kind])
    stopped = jobs.wait(pid, 60)
    lives = jobs.left(pid)
    if stopped is not None and stopped >= 0 and (kind == "kill" or stopped == expected["code"]):
        shutil.rmtree(work)
        return None
    said = (work / "said.txt").read_text()
    report = next(work.glob("reports/latest/report.md"), None)
    partial = "Partial" in report.read_text() if report else None
    (work / "said.txt").unlink()
    code = jobs.wait(jobs.start(job, work))
    found = jobs.contents(work)
    same = found == expected["contents"] and code == expected["code"]
    row = {
        "kind": kind,
        "number": number,
        "job": job.name,
        "engine": job.engine,
        "all processes": not alone or kind == "int",
        "share": round(share, 3),
        "stopped": stopped,
        "says so": "goes on" in said,
        "partial": partial,
        "lives on": lives,
        "same": same,
        "why": "" if same else _why(expected, code, found, work),
    }
    shutil.rmtree(work)
    return row


def _why(expected, code, found, work):
    was = expected["contents"]
    names = [name for name in sorted(set(was) | set(found)) if was.get(name) != found.get(name)]
    return f"{code}: {names[:4]} {(work / 'said.txt').read_text()[-300:]}"


def campaign(share, shares, counts, work, rows, chosen):
    """The accidents of one of several processes; a line of ``rows`` each."""
    import torch

    torch.set_num_threads(1)
    known, expected = done(rows), {}
    for kind in KINDS:
        for wanted in range(share, counts[kind], shares):
            number = wanted
            while (kind, wanted) not in known:
                job = chosen[wanted % len(chosen)]
                if job not in expected:
                    expected[job] = undisturbed(job, work)
                if row := accident(job, kind, number, expected[job], work):
                    known.add((kind, wanted))
                    with rows.open("a") as out:
                        out.write(json.dumps(row | {"wanted": wanted}) + "\n")
                number += 10_000  # it had ended before: another moment


def done(rows):
    """The accidents that have a row."""
    texts = rows.read_text().splitlines() if rows.exists() else []
    return {(row["kind"], row["wanted"]) for row in map(json.loads, texts)}


def page(table, command):
    from probes.tell.markdown import grid

    rows = []
    for (job, engine), part in table.groupby(["job", "engine"], sort=False):
        hit = Counter(part["kind"])
        ended = [int(part["same"].sum()), int(part["lives on"].sum())]
        rows.append([job, engine, *(hit[kind] for kind in KINDS), *ended])
    stopped = table[table["kind"] != "kill"]
    codes = []
    for (kind, claims), part in stopped.groupby(["kind", stopped["job"].str.startswith("claims")]):
        name = {"term": "SIGTERM", "int": "Ctrl-C"}[kind]
        counts = [f"{code} ({n} times)" for code, n in part["stopped"].value_counts().items()]
        told = [int(part["says so"].sum()), int((part["partial"] == True).sum())]  # noqa: E712
        codes.append([name, "pytest" if claims else "probes", ", ".join(counts), *told])
    signals = ["signal", "command", "exit code", "says how it goes on", "partial report"]
    head = ["work", "engine", "SIGKILL", "SIGTERM", "Ctrl-C", "same bytes", "processes left"]
    return "\n\n".join(
        [
            "# Accidents at any moment",
            f"`{command}`",
            "Each accident hits the work at a moment that is uniform over it; then the same command"
            " runs again. *Same bytes*: it ends with the exit code, the results in the store and"
            " the files of undisturbed work, and nothing else is left (of a baseline its rows, of"
            " the ledger its looks are compared: both tell the time). *Processes left*: live on 20"
            " seconds later.",
            grid(head, rows),
            "How work ends that is stopped, and what it tells. A claim that was judged before is in"
            " a report that says *Partial*. A process that is stopped while it loads, before it has"
            " anything to lose, ends by the signal itself (a negative code).",
            grid(signals, codes),
            f"**{int(table['same'].sum())} of {len(table)} ended with the same bytes.**",
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--signals", type=int, default=80, help="half SIGTERM, half Ctrl-C")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", action="append", help="work by its name, e.g. robustness")
    parser.add_argument("--work", type=Path, help="where rows are kept (default: nowhere)")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    chosen = [job for job in jobs.JOBS if not given.only or job.name in given.only]
    counts = {"kill": given.kills, "term": given.signals // 2, "int": given.signals // 2}
    import probes.tell.plots  # noqa: F401 - what every child would load
    from probes import cli  # noqa: F401

    base = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    rows = (given.work or base) / "accidents.jsonl"
    rows.parent.mkdir(parents=True, exist_ok=True)
    children = []
    for share in range(given.jobs):
        if not (pid := os.fork()):
            try:
                campaign(share, given.jobs, counts, base / f"{share}" / "work", rows, chosen)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(pid)
    ended = [os.waitpid(pid, 0)[1] for pid in children]
    table = pd.DataFrame(map(json.loads, rows.read_text().splitlines()))
    table = table.sort_values(["kind", "wanted"], key=lambda c: c.map(_order), kind="stable")
    shutil.rmtree(base, ignore_errors=True)
    other = table[~table["same"]]
    print(other.to_string() if len(other) else f"{len(table)} ended with the same bytes")
    if given.out:
        command = f"python tests/reliability/accidents.py --kills {given.kills}"
        command += f" --signals {given.signals} --out {given.out}"
        from written import write

        kept = table.drop(columns=["why", "wanted"])
        write(given.out, "accidents", kept, page(table, command))
    sys.exit(bool(any(ended) or not table["same"].all() or table["lives on"].any()))


def _order(value):
    return KINDS.index(value) if value in KINDS else value


if __name__ == "__main__":
    main()
