"""Work that accidents happen to: every study, a comparison, a baseline, an export, claims under
pytest, under every engine; each small, and each in a folder of its own.
"""

import contextlib
import dataclasses
import hashlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
ROOT = Path(__file__).parents[2]
CLAIM = """
import pytest
from probes import block_metrics, gaussian, falls, rises

@pytest.mark.subjects("resnet20@mnist5k", "plainnet20@mnist5k")
@pytest.mark.claim("Noise lowers the norm of h.", id="NORM", family="f", looks=2)
def test_norm(lab, claim):
    claim.holds(falls(lab.sweep(block_metrics, under=gaussian(0, .1)), "l2_h", by="site", sesoi="1 %"))

@pytest.mark.claim("Noise lowers the share of zeros.", id="ZEROS", family="f")
@pytest.mark.subjects("resnet20@mnist5k")
def test_zeros(lab, claim):
    claim.holds(falls(lab.sweep(block_metrics, under=gaussian(0, .2)), "sparsity", by="site", sesoi="1 point"))
"""  # noqa: E501
STUDIES = {
    "dynamics": "dynamics resnet20 --images 200 --levels 0,.1 --variants",
    "features": "features resnet20 --images mnist5k:12 --levels .4 --values none",
    "layer-noise": "layer-noise resnet20#0 plainnet20#0 --images 40 --strengths 0,.5",
    "masking": "masking resnet20 --set hflip,erasing --measures total --q .8 --alpha 0 --random 20"
    " --matched 2 --rows 8 --scramblings 2 --images 20",
    "robustness": "robustness resnet20#0 plainnet20#0 --images 40 --under noise:.1 quantised:3",
    "segments": "segments --rows 8 --scramblings 2 --images 12 --segments layer3"
    " --set erasing,rolling",
    "sensitivity": "sensitivity resnet20 --rows 8 --scramblings 2 --images 30 --modules layer2,fc",
    "weight-noise": "weight-noise mlp_small --dataset mnist5k --quick --images 100 --draws 2",
}
COMPARED = "resnet20#0 --dataset mnist5k --under noise:.1 --images 300"


@dataclasses.dataclass(frozen=True)
class Job:
    """Commands that run one after the other in one process; the last one is the one that counts.

    ``before`` runs once, undisturbed, and what it leaves is where each accident starts from.
    """

    name: str
    engine: str
    commands: tuple[str, ...]
    before: tuple[str, ...] = ()


def _study(name, words, engine="serial", more=""):
    return Job(name, engine, (f"probes run {words} --threads 1 --out out{more}",))


JOBS = [
    *(_study(name, words) for name, words in STUDIES.items()),
    _study("dynamics", STUDIES["dynamics"], "processes", " --jobs 2"),
    _study("robustness", STUDIES["robustness"], "processes", " --jobs 2"),
    Job(
        "dynamics",
        "shards",
        tuple(
            f"probes run {STUDIES['dynamics']} --threads 1 --out out{part}"
            for part in (" --shard 1/2", " --shard 2/2", "")
        ),
    ),
    Job("claims, ledger, report", "serial", ("pytest -q --probes-threads=1",)),
    Job("claims, ledger, report", "xdist", ("pytest -q -n 2 --probes-threads=1",)),
    Job("compare", "serial", (f"probes compare resnet20#1 {COMPARED} --out out",)),
    Job(
        "baseline",
        "serial",
        (
            f"probes baseline save main {COMPARED}",
            "probes compare resnet20#1 --baseline main --margin '4 points' --out out",
        ),
    ),
    Job(
        "export",
        "serial",
        tuple(
            f"probes export {ROOT}/reports/dynamics --to {to} --out out/{to}"
            for to in ("csv", "parquet")
        ),
    ),
    Job("page drawn again", "serial", ("probes report drawn",)),
    Job("training", "serial", ("probes train mlp_small mnist5k --recipe mnist5k --seeds 0",)),
]


def start(job, folder):
    """The process of a job, the leader of a session of its own, forked from this one, which has
    loaded torch; its words go into ``said.txt``.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        out = os.open("said.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(out, 1), os.dup2(out, 2)
        sys.stdout, sys.stderr = open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa: SIM115
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = run(job)
    except BaseException as e:  # noqa: BLE001
        import traceback

        print("ended by", repr(e), traceback.format_exc(), flush=True)
        code = 71
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def run(job):
    """Run the commands of a job in this folder; the exit code of the first that goes wrong."""
    import shlex

    from probes import cli

    os.environ |= {"PROBES_STORE": str(Path.cwd() / "store"), "COLUMNS": "100"}
    os.environ.pop("PROBES_LEDGER", None)
    code = 0
    for text in job.commands:
        words = shlex.split(text)
        if words[0] == "pytest":
            import pytest

            sys.argv = words
            code = int(pytest.main([*words[1:], "-p", "no:cacheprovider", "--rootdir=."]))
        else:
            code = cli.main(words[1:])
        if code not in EXPECTED:
            return code
    return code


EXPECTED = (0, 1, 2, 3)
"""Exit codes that a command may end with undisturbed: a claim may fail, a comparison be open."""


def prepare(job, folder):
    """A folder for a job."""
    folder.mkdir(parents=True)
    (folder / "test_claims.py").write_text(CLAIM)
    (folder / "conftest.py").write_text("")
    if job.name == "page drawn again":
        shutil.copytree(ROOT / "reports" / "feature-maps" / "resnet20" / "claims", folder / "drawn")


def wait(pid, seconds=300):
    """The exit code of a process, negative for a signal; None where it does not end in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return None


def left(session, seconds=20):
    """Processes of a session that live on, after so many seconds at most."""
    end = time.monotonic() + seconds
    while (found := _living(session)) and time.monotonic() < end:
        time.sleep(0.2)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(found)


def _living(session):
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            fields = place.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(place.parent.name))
    return found


VOLATILE = {"locks", "plans", "hashes", "partial", "checked", "batches"}
"""Of a store what is no result: who works on what, when files were seen."""
OURS = {"said.txt", "test_claims.py", "conftest.py", "__pycache__"}


def contents(folder):
    """Every result below the folder of a job with its SHA-256, by what it is called."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        parts = path.relative_to(folder).parts
        volatile = parts[0] == "store" and (len(parts) < 3 or parts[1] in VOLATILE)
        if parts[0] in OURS or (volatile and ".tmp" not in path.name):
            continue
        found["/".join(parts)] = hashlib.sha256(_told(path)).hexdigest()
    return found


def _told(path):
    """The bytes of a file; of what tells its time of day, the rest."""
    if path.parent.name == "baselines":
        import pandas as pd

        return pd.read_parquet(path).to_csv().encode()
    if path.name == "probes-looks.jsonl":  # workers write in the order in which they end
        return b"\n".join(sorted(path.read_bytes().splitlines()))
    return path.read_bytes()
