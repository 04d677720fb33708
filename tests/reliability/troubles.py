"""Troubles of every day: what work meets, how it ends, and that the same command then ends as if
nothing had happened.

    python tests/reliability/troubles.py --out reports/reliability

A full disk, a read-only one, files that can't be opened any more and a clock that jumps are made in
the process itself: what opens a file for writing, or asks for the time, gets the answer of the
operating system. A worker that is out of memory is killed, as Linux does it.
"""

import argparse
import contextlib
import errno
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import jobs
import pandas as pd

BY_NAME = {(job.name, job.engine): job for job in jobs.JOBS}
STUDY = BY_NAME["robustness", "serial"]
CLAIMS = BY_NAME["claims, ledger, report", "serial"]
TEAM = BY_NAME["robustness", "processes"]


def refusing(number, at=None):
    """From the ``at``-th file on that is opened for writing below this folder (None: from the
    first), the system answers with an error.
    """
    here, seen = str(Path.cwd()), [0]

    def hook(event, args):
        if event != "open" or not isinstance(args[0], str | bytes):
            return
        path, mode, flags = os.fsdecode(args[0]), args[1], args[2]
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        writes = writes or (isinstance(mode, str) and set(mode) & set("wax+"))
        if not writes or not os.path.abspath(path).startswith(here) or path.endswith("said.txt"):
            return
        seen[0] += 1
        if at is None or seen[0] > at:
            raise OSError(number, os.strerror(number), path)

    sys.addaudithook(hook)


def few_files(more):
    """No more than so many files beside those that are open."""
    now = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (now + more, now + more))


def jumping():
    """A clock that jumps by a day, back and forth."""
    real, calls = time.time, [0]

    def now():
        calls[0] += 1
        return real() + (86_400 if calls[0] % 2 else -86_400)

    time.time = now


def without_locks():
    """A file system that knows no locks."""
    import fcntl

    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    fcntl.flock = flock


def older():
    """A store in which an older version of the package keeps what it made."""
    from probes import store
    from probes.versions import versions

    store.versions = lambda: versions() | {"package": "0.0.9"}


def begin(job, folder, trouble):
    """The process of a job with a trouble in it."""
    if trouble is None:
        return jobs.start(job, folder)

    class Troubled:
        commands = job.commands

    run = jobs.run

    def with_trouble(_):
        trouble()
        return run(job)

    jobs.run = with_trouble
    try:
        return jobs.start(Troubled, folder)
    finally:
        jobs.run = run


def one(job, trouble, expected, work, during=None):
    """The row of a trouble: how work ended in it, and whether it ended well after it."""
    shutil.rmtree(work, ignore_errors=True)
    jobs.prepare(job, work)
    pid = begin(job, work, trouble)
    if during:
        during(pid)
    code = jobs.wait(pid)
    jobs.left(pid)
    said = (work / "said.txt").read_text()
    told = ("probes: ", "no report: ", "could not", "can't be", "make room", "has no locks")
    words = [line for line in said.splitlines() if any(text in line for text in told)]
    (work / "said.txt").unlink()
    again = jobs.wait(jobs.start(job, work))
    found = {k: v for k, v in jobs.contents(work).items() if k in expected["contents"]}
    whole = again == expected["code"] and found == expected["contents"]
    clean = not any(".tmp" in name for name in jobs.contents(work))
    crashed = "Traceback" in said or code in (70, 71, None)
    return {"ended": code, "crashed": crashed, "same": whole and clean, "said": (words or [""])[0]}


def together(job, runs, expected, work):
    """Runs at once on one store, each in a folder of its own."""
    shutil.rmtree(work, ignore_errors=True)
    pids = []
    for i in range(runs):
        place = work / str(i)
        jobs.prepare(job, place)
        (work / "store").mkdir(exist_ok=True)
        (place / "store").symlink_to(work / "store")
        pids.append(jobs.start(job, place))
    codes = [jobs.wait(pid) for pid in pids]
    out = {k: v for k, v in expected["contents"].items() if not k.startswith("store")}
    store = {k: v for k, v in expected["contents"].items() if k.startswith("store")}
    same = all(
        {k: v for k, v in jobs.contents(work / str(i)).items() if not k.startswith("store")} == out
        for i in range(runs)
    )
    found = {f"store/{k}": v for k, v in jobs.contents(work / "store").items()}
    kept = {k: v for k, v in found.items() if k in store} == store
    right = all(code == expected["code"] for code in codes)
    return {"ended": codes[0], "crashed": not right, "same": same and kept, "said": ""}


def killed(pid, many):
    """Kill the youngest process of a session as soon as it has so many beside its first: the one
    that workers are forked from is the second, workers are those after it.
    """
    end = time.monotonic() + 20
    while time.monotonic() < end:
        others = [p for p in jobs._living(pid) if p != pid]
        if len(others) >= many:
            time.sleep(0.3)
            with contextlib.suppress(ProcessLookupError):
                os.kill(max(others), signal.SIGKILL)
            return
        time.sleep(0.02)


def campaign(places, work, which=(STUDY, CLAIMS, TEAM)):
    """Every trouble, a row each; ``places`` is at how many writes the disk is full."""
    from accidents import undisturbed

    expected = {job: undisturbed(job, work) for job in which}
    names = {STUDY: "study", CLAIMS: "claims", TEAM: "study, 2 processes"}

    def row(trouble, job, found):
        print(trouble, names[job], found, flush=True)
        return {"trouble": trouble, "work": names[job]} | found

    # pytest itself needs a dozen files; an exception of its own is none of ours
    for job in which[:2]:
        few = [("thirty more files can be open", lambda: few_files(30))]
        few += [("ten more files can be open", lambda: few_files(10))] * (job is STUDY)
        for i in range(places):
            at = i * (60 if job is STUDY else 90) // places
            full = lambda at=at: refusing(errno.ENOSPC, at)  # noqa: E731
            told = f"the disk is full from write {at + 1} on"
            yield row(told, job, one(job, full, expected[job], work))
        for trouble, make in (
            ("the disk is read-only", lambda: refusing(errno.EROFS)),
            ("the file system has no locks", without_locks),
            *few,
            ("the clock jumps", jumping),
            ("the store is of an older version", older),
        )[: 2 if len(which) == 1 else None]:
            yield row(trouble, job, one(job, make, expected[job], work))
        for runs in (2, 8)[: len(which)]:
            told = f"{runs} runs at once on one store"
            yield row(told, job, together(job, runs, expected[job], work))
    for many, whose in ((4, "a worker"), (2, "what forks the workers")) * (TEAM in which):
        found = one(TEAM, None, expected[TEAM], work, lambda pid, many=many: killed(pid, many))
        yield row(f"{whose} is out of memory", TEAM, found)


def page(table, command):
    from probes.tell.markdown import grid

    full = table["trouble"].str.startswith("the disk is full")
    rows = []
    for (work, is_full), part in table.groupby(["work", full], sort=False):
        if is_full:
            kinds = ", ".join(f"{c} ({n})" for c, n in part["ended"].value_counts().items())
            same = f"{int(part['same'].sum())} of {len(part)}"
            where = f"the disk is full from a write on, at {len(part)} writes"
            said = next((text for text in part["said"] if text), "")
            rows.append([where, work, kinds, same, _short(said)])
            continue
        for r in part.itertuples():
            rows.append([r.trouble, r.work, r.ended, "yes" if r.same else "NO", _short(r.said)])
    head = ["trouble", "work", "exit code", "afterwards the same bytes", "it said"]
    crashed = int(table["crashed"].sum())
    return "\n\n".join(
        [
            "# Troubles of every day",
            f"`{command}`",
            "Work meets a trouble; then the same command runs without it, and must end with the"
            " exit code, the results and the files of undisturbed work, and nothing half-written."
            " Exit codes of `probes` are 0 and 2, of pytest 0 to 3: a claim here does not hold,"
            " which is 1.",
            grid(head, rows),
            f"**{int(table['same'].sum())} of {len(table)} ended with the same bytes; {crashed}"
            " ended in a traceback.**",
        ]
    )


def _short(text):
    """Words without the folders of this run."""
    import re

    return re.sub(r"/\S*/(?=\S)", "", text)[:110]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--places", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="one study only")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    import probes.tell.plots  # noqa: F401 - what every child would load
    from probes import cli  # noqa: F401

    base = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    table = pd.DataFrame(campaign(given.places, base / "work", *[(STUDY,)] * given.quick))
    shutil.rmtree(base)
    if given.out:
        from written import write

        command = f"python tests/reliability/troubles.py --out {given.out}"
        write(given.out, "troubles", table.drop(columns="said"), page(table, command))
    sys.exit(bool(table["crashed"].any() or not table["same"].all()))


if __name__ == "__main__":
    main()
