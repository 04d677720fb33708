"""What sensitivity costs: augmenting, reading and adding up all 205,672 units of AlexNet beside its bare forward, on one core."""

import numpy as np
import pytest
import torch
from torchvision.models import alexnet

from probes.measure.sensitivity import Pairs, Sums
from probes.run import engine
from probes.run.lab import Options
from probes.run.sensitivity import CHECKPOINTS, Passes, Plan, blocks
from probes.subjects.data import Dataset
from probes.subjects.pretrained import Subject
from probes.subjects.spec import parse


@pytest.fixture(scope="module")
def subject():
    torch.manual_seed(0)
    images = np.random.Generator(np.random.Philox(0)).integers(0, 256, (32, 3, 224, 224), dtype=np.uint8)
    labels = np.arange(32) % 10
    data = Dataset("bytes", "bytes", "test", images, labels, np.arange(32), tuple("0123456789"), (0.5,) * 3, (0.25,) * 3)
    return Subject(parse("alexnet@bytes"), alexnet().eval().requires_grad_(False), data, "random", "random")


@pytest.mark.parametrize(("which", "limit"), [("1", 1.6), ("2", 2.2)])
def test_a_block_of_rows(ratio, threads, subject, which, limit):
    """Images from bytes, augmentations, forward, sums of eight modules, for a block of eight base points."""
    threads(1)
    options = Options(threads=1)
    augmented, design, _ = Plan(which).design(3)
    passes = Passes(subject, CHECKPOINTS["alexnet"], augmented, design, options.where)
    rows, order = next(blocks(design, Plan(which, rows=8), 0, "benchmark"))
    sums = {name: Sums(design) for name in passes.names}
    x = torch.rand(rows.shape[0] * rows.shape[1], 3, 224, 224).to(memory_format=passes.layout)

    def plain():
        with engine.exact(1):
            passes.model(x)

    ratio(f"sensitivity of AlexNet, set {which}, {len(x)} rows, 224 px, one core",
          lambda: passes.add(sums, rows, order, subject.data), plain, rounds=5, limit=limit)  # fmt: skip
    assert sum(s.indices().mean.numel() for s in sums.values()) == 205_672


def test_accumulating(ratio, threads):
    """Sums of 205,672 units beside reading and writing their rows once: about 5 ns per row and unit on one core."""
    threads(1)
    design = Pairs({name: slice(i, i + 1) for i, name in enumerate("abcdefg")})
    values = torch.rand(design.rows, 8, 205_672)
    sums, other, order = Sums(design), torch.empty_like(values), list(range(7))
    ratio("sums of Sobol and Shapley, per copy of the rows", lambda: sums.add(values, order), lambda: other.copy_(values), rounds=7)
