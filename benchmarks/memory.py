"""Runs eight scramblings of a torchvision network with random weights at 224 pixels: ``python
memory.py NET SET``.

A program of its own, so that its anonymous memory can be watched; a block of rows a scrambling is
enough, since the sums do not grow with the rows.
"""

import sys

import numpy as np
import torch
import torchvision

from probes.measure.indices import Replicates
from probes.run.settings import Options
from probes.studies.sensitivity import work as scramblings
from probes.studies.sensitivity.plan import Plan, Pool
from probes.studies.sensitivity.reader import CHECKPOINTS, shapes_of, whole
from probes.subjects.dataset import Dataset
from probes.subjects.spec import parse
from probes.subjects.subject import Subject


def run(net, which):
    images = np.random.Generator(np.random.Philox(0)).integers(
        0, 256, (32, 3, 224, 224), dtype=np.uint8
    )
    data = Dataset(
        "bytes",
        "bytes",
        "test",
        images,
        np.arange(32) % 10,
        np.arange(32),
        tuple("0123456789"),
        (0.5,) * 3,
        (0.25,) * 3,
    )
    model = torchvision.models.get_model(net, weights=None).eval().requires_grad_(False)
    subject = Subject(parse(f"{net}@bytes"), model, data, "random", "random")
    plan, options = Plan(which, rows=8), Options(threads=1)
    parts = whole(shapes_of(subject, CHECKPOINTS[net], options.where))
    passes = scramblings.passes_of(subject, plan, parts, options.where)
    found = {name: Replicates() for name in parts}
    for number in range(8):
        for name, one in scramblings.scrambled(passes, plan, number, Pool([data]), "memory")[
            0
        ].items():
            found[name].add(one)
    return sum(r.estimate("shapley").half[0].numel() for r in found.values())


if __name__ == "__main__":
    torch.manual_seed(0)
    print(run(sys.argv[1], sys.argv[2]))
