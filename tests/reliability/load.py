"""Load: many claims, large tables, many blocks, many workers, a long session.

    python tests/reliability/load.py --out reports/reliability

Tables are synthetic, so that what is measured is the judge, the evidence and the report. Each load
runs in a process of its own, whose time and largest memory are told; a load of half the size beside
it shows how both grow. ``--only NAME`` runs one.
"""

import argparse
import dataclasses
import gc
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

IMAGES = 300
CLAIMS = """
import pytest
from probes import block_metrics, falls, gaussian

@pytest.mark.parametrize("case", range({n}))
@pytest.mark.claim("Noise lowers the norm of h.", id="LOAD", family="load")
@pytest.mark.subjects("resnet20@mnist5k")
def test_claim(lab, claim, case):
    sweep = lab.sweep(block_metrics, under=gaussian(0, 0.1))
    claim.holds(falls(sweep, "l2_h", by="site", sesoi=f"{{1 + case / 1000}} %"))
"""


def table(images, sites, levels=2, seed=0):
    """A table as a sweep gives it, which rises by some percent in half of its blocks."""
    from probes import table as tables

    rng = np.random.default_rng(seed)
    shape = (sites, images, levels)
    site, image, level = (index.ravel() for index in np.indices(shape))
    gain = np.where(site % 2, 0.05, -0.05) * level
    base = rng.normal(size=(sites, images, 1)).repeat(levels, axis=2).ravel() / 3
    names = [f"block{i}" for i in range(sites)]
    frame = pd.DataFrame(
        {
            "net": "synthetic",
            "weights": "none",
            "dataset": "none",
            "train_seed": 0,
            "image": image,
            "draw": 0,
            "level": level / 10,
            "site": pd.Categorical.from_codes(site, names, ordered=True),
            "l2_h": np.exp(base + gain + 0.02 * rng.normal(size=site.size)),
        }
    )
    return tables.join([frame])


def small(number):
    """One of a hundred small tables."""
    return table(IMAGES, 1, seed=number)


def line(store, found, ident):
    """The evidence of a question on a synthetic table."""
    from probes.judge.lazytable import summarise
    from probes.tell import evidence

    design = {"dataset": "none", "images": IMAGES, "images_sha256": "0", "levels": [0, 0.1]}
    design |= {"draws": 1, "seed": 0, "clamp": True, "perturbation": "none", "runs": {"none": 1}}
    claim = {"id": ident, "sentence": "It rises.", "family": "load", "test": None}
    return evidence.line(
        found,
        claim=claim | {"expect": None, "altered": []},
        subject="synthetic",
        designs=[design for _ in found.inputs],
        inputs=[evidence.deposit(frame, store) for frame in found.inputs],
        extra={
            "weights": {},
            "where": {"device": "cpu"},
            "summary": evidence.deposit(summarise(found.inputs[0]), store),
        },
    )


def _reported(found, work, ident="LOAD"):
    from probes.store import Store
    from probes.tell import origins, report
    from probes.tell.verify import verify

    lines = [line(Store(work / "store"), one, f"{ident}{i:05}") for i, one in enumerate(found)]
    out = report.assemble(lines, origins.provenance(work, ["load"], {}), work / "report")
    assert verify(out) == []
    return out


def claims(n, work):
    """Claims in one session, judged one after the other, and their report, which verifies."""
    from probes import rises

    def found():
        for i in range(n):
            yield rises(small(i % 100), "l2_h", by="site", sesoi="1 %")

    return _reported(found(), work)


def session(n, work):
    """Claims in one pytest session with its plugin: collection, verdicts, ledger, report."""
    import subprocess

    (work / "test_load.py").write_text(CLAIMS.format(n=n))
    (work / "conftest.py").write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})"
    )
    env = os.environ | {"PROBES_STORE": str(work / "store")}
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=."]
    argv += ["--probes-images=200"]
    done = subprocess.run(argv, cwd=work, env=env, capture_output=True, text=True)
    assert f"{n:,} claims judged" in done.stdout, done.stdout[-2000:]
    return work / "reports" / "latest"


def rows(n, work):
    """Rows of one table: judged, kept, told and verified."""
    from probes import rises

    return _reported([rises(table(n // 20, 10), "l2_h", by="site", sesoi="1 %")], work)


def blocks(n, work):
    """Blocks of one claim."""
    from probes import rises

    return _reported([rises(table(IMAGES, n), "l2_h", by="site", sesoi="1 %")], work)


def workers(n, work):
    """Workers of pytest-xdist that each send a line of evidence of 1 MB: what the controller does
    with them.
    """
    from probes import rises
    from probes.store import Store
    from probes.tell import report
    from probes.tell.reporter import Teller

    one = line(Store(work / "store"), rises(small(0), "l2_h", by="site", sesoi="1 %"), "LOAD")
    one["note"] = "x" * 1_000_000
    params = SimpleNamespace(args=["-n", str(n)])
    config = SimpleNamespace(
        rootpath=work,
        invocation_params=params,
        pluginmanager=SimpleNamespace(hasplugin=lambda name: True),
    )
    teller = Teller(config, work / "report", {}, {}, report_sections)
    for i in range(n):
        sent = json.dumps(one | {"id": f"LOAD{i:03}"})
        told = SimpleNamespace(
            user_properties=[("probes", sent)],
            when="call",
            passed=True,
            failed=False,
            skipped=False,
            nodeid=f"test_load.py::test[{i}]",
        )
        teller.pytest_runtest_logreport(told)
        node = SimpleNamespace(workeroutput={"probes": json.dumps({})})
        teller.pytest_testnodedown(node)
    teller.pytest_sessionfinish(SimpleNamespace(exitstatus=0), 0)
    assert not teller.trouble, teller.trouble
    assert len(report.evidence.read(work / "report" / "evidence.jsonl")) == n
    return work / "report"


def report_sections():
    from probes.tell.reportfolder import NOTHING

    return NOTHING


def rounds(n, work):
    """Rounds of a long session: a network is opened, measured under noise and judged, each time
    with another seed.
    """
    from probes import Lab, block_metrics, falls, gaussian

    store, grown = work / "store", []
    for i in range(n):
        lab = Lab(
            "resnet20@mnist5k", images=40, store=store, seed=i, quiet=True, say=lambda _: None
        )
        falls(lab.sweep(block_metrics, under=gaussian(0, 0.1)), "l2_h", by="site", sesoi="1 %")
        gc.collect()
        with open("/proc/self/statm") as told:
            memory = int(told.read().split()[1]) * resource.getpagesize() / 2**20
        grown.append((memory, len(os.listdir("/proc/self/fd"))))
        if i % 50 == 49:
            shutil.rmtree(store)
    third = n // 3
    first, last = grown[third : 2 * third], grown[2 * third :]
    return {
        "memory": np.median([m for m, _ in last]) - np.median([m for m, _ in first]),
        "files": max(f for _, f in last) - max(f for _, f in first),
    }


@dataclasses.dataclass(frozen=True)
class Load:
    """What is loaded, how much, and its words."""

    run: object
    size: int
    what: str


LOADS = {
    "claims": Load(claims, 10_000, "claims, judged, reported and verified"),
    "session": Load(session, 1_000, "claims in a session of pytest"),
    "rows": Load(rows, 1_000_000, "rows of a table"),
    "blocks": Load(blocks, 500, "blocks of a claim"),
    "workers": Load(workers, 64, "workers that send 1 MB each"),
    "rounds": Load(rounds, 480, "rounds of a long session"),
}


def measured(name, size, answer):
    """One load in this process: seconds, MB, and what it left."""
    work = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    try:
        import torch

        torch.set_num_threads(1)
        import probes.tell.plots  # noqa: F401 - what is loaded is no load

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.monotonic()
        out = LOADS[name].run(size, work)
        seconds = time.monotonic() - began
        both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        peak = max(resource.getrusage(who).ru_maxrss for who in both)
        found = {"seconds": seconds, "memory": (peak - before) / 1024}
        if isinstance(out, Path):
            every = [p for p in out.rglob("*") if p.is_file()]
            found |= {"report": sum(p.stat().st_size for p in every) / 2**20}
            page = out / "report.html"
            found |= {"page": page.stat().st_size / 2**20 if page.exists() else float("nan")}
        else:
            found |= {"grown": out["memory"], "files": out["files"]}
        answer.put(found)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def run(name, size):
    """One load in a process of its own."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    child = context.Process(target=measured, args=(name, size, answer))
    child.start()
    while child.is_alive() and answer.empty():
        time.sleep(0.1)
    found = answer.get(timeout=5)
    child.join()
    return found


def page(rows, command):
    from probes.tell import composing
    from probes.tell.markdown import grid

    shown = [
        [
            LOADS[r["load"]].what,
            f"{r['size']:,}",
            f"{r['seconds']:.1f}",
            f"{r['memory']:.0f}",
            f"{r['report']:.1f}" if "report" in r and r["report"] == r["report"] else "",
            f"{r['page']:.1f}" if "page" in r and r["page"] == r["page"] else "",
        ]
        for r in rows
    ]
    long = next((r for r in rows[::-1] if r["load"] == "rounds"), None)
    text = [
        "# Load",
        f"`{command}`",
        "Each load runs in a process of its own, and once more at half the size, so that one sees"
        " how it grows. Memory is what it takes beyond the libraries, at most; of pytest with them."
        " Tables are synthetic, but for those of pytest; every report verifies. A report of more"
        f" than {composing.MANY} claims draws figures only where it is asked to.",
        grid(
            ["load", "number", "seconds", "memory (MB)", "report (MB)", "of it the page (MB)"],
            shown,
        ),
    ]
    if long:
        text.append(
            f"A long session in fast motion: {long['size']:,} times a network is opened, measured"
            " under noise of another seed and judged (eight hours, at one a minute). From the"
            f" second third to the last its memory grows by {long['grown']:+.1f} MB, and the number"
            f" of open files by {long['files']:+d}."
        )
    return "\n\n".join(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=sorted(LOADS), action="append")
    parser.add_argument("--share", type=float, default=1.0, help="of the sizes, e.g. .01")
    parser.add_argument("--once", action="store_true", help="not at half the size, too")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows = []
    for name in given.only or LOADS:
        for part in (1.0,) if given.once else (0.5, 1.0):
            size = max(2, int(LOADS[name].size * part * given.share))
            rows.append({"load": name, "size": size} | run(name, size))
            shown = {k: round(v, 1) if isinstance(v, float) else v for k, v in rows[-1].items()}
            print(shown, flush=True)
    if given.out:
        from written import write

        command = f"python tests/reliability/load.py --out {given.out}"
        write(given.out, "load", pd.DataFrame(rows), page(rows, command), float_format="%.4g")


if __name__ == "__main__":
    main()
