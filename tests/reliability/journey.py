"""The journey that the kill harness kills: train, sweep, judge, evidence, report; says what it
does, line by line.

python tests/reliability/journey.py FOLDER
"""

import sys
from pathlib import Path

from probes.judge import rises
from probes.measure import block_metrics
from probes.perturb import gaussian
from probes.run import cells
from probes.run.bench import Bench
from probes.run.settings import Options
from probes.store import Store
from probes.subjects.nets import CifarNet, nets
from probes.subjects.recipes import Recipe, recipes
from probes.subjects.spec import parse
from probes.subjects.training import train
from probes.tell import evidence, origins, report


def say(*words):
    print(*words, flush=True)


def main(folder):
    nets.register("tiny")(lambda channels, classes: CifarNet(channels, classes, blocks=1, width=4))
    store = Store(folder / "store")
    say("phase", "train")
    recipe = Recipe("short", epochs=2, batch_size=1000, max_lr=0.05)
    train("tiny", "mnist5k@14px", 0, store, recipe, lambda _: say("epoch"))

    make, keep = cells.Cell.make, cells.table.write

    def counted(cell, place, path):
        say("phase", "sweep")
        say("cell")
        return make(cell, place, path)

    def kept(frame, path):
        say("phase", "store")
        return keep(frame, path)

    cells.Cell.make, cells.table.write = counted, kept
    lab = Bench(
        [parse("tiny@mnist5k@14px#0")], store, Options(images=400, threads=1, batch_size=10)
    )
    sweep = lab.sweep(block_metrics, under=gaussian(0, 0.05, 0.1, 0.2))
    found = rises(sweep, "l2_h", by="site", sesoi="1 %")
    say("phase", "evidence")
    claim = {"id": "K", "sentence": "S.", "family": "", "test": None, "expect": None, "altered": []}
    inputs = [evidence.deposit(frame, store) for frame in found.inputs]
    designs = [table.design.json() for table in found.asked]
    facts = lab.facts(*found.asked)
    line = evidence.line(
        found,
        claim=claim,
        subject="tiny@mnist5k@14px#0",
        designs=designs,
        inputs=inputs,
        extra=facts,
    )
    say("phase", "report")
    run = origins.provenance(folder, ["journey"], {})
    report.assemble([line], run, folder / "report")
    say("phase", "done")


if __name__ == "__main__":
    assert "mnist5k" in recipes
    main(Path(sys.argv[1]))
