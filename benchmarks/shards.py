"""Three shards as three machines would run them: three processes with a store each. The stores are
merged and judged; the evidence is that of one machine.

    python benchmarks/shards.py [--images 200]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

STUDY = "run dynamics resnet20 --dataset mnist5k --threads 1"


def probes(*command, **environment):
    """Run ``probes`` in a process of its own. Returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "probes.cli", *map(str, command)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def judged(folder):
    """The verdicts of a report, by claim and block."""
    lines = (folder / "evidence.jsonl").read_text().splitlines()
    return [
        (line["id"], v["label"], v["outcome"], v["estimate"], v["low"], v["high"])
        for line in map(json.loads, lines)
        for v in line["verdicts"]
    ]


def main():
    """Run the shards, merge them, judge, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        asked = [*STUDY.split(), "--images", given.images]
        for i in (1, 2, 3):
            part = ("--shard", f"{i}/3", "--store", here / str(i), "--out", here / "part")
            print(probes(*asked, *part).splitlines()[-1])
        print(probes("store", "merge", here / "all", *(here / str(i) for i in (1, 2, 3))), end="")
        print(probes("status", "--store", here / "all").splitlines()[0])
        for store, out in (("all", "together"), ("alone", "one")):
            probes(*asked, "--store", here / store, "--out", here / out)
        together, one = judged(here / "together"), judged(here / "one")
        assert together == one
        print(f"{len(one)} verdicts of the merged stores are those of one machine, digit for digit")


if __name__ == "__main__":
    main()
