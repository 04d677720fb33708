"""What sensitivity costs: decoding, augmenting, forward, sums, indices of AlexNet's 205,672 units
beside its bare forward.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import alexnet

from probes.measure.sensitivity import SobolDesign, SobolSums
from probes.run import device
from probes.run.settings import Options
from probes.studies.sensitivity.plan import Plan, Pool
from probes.studies.sensitivity.reader import CHECKPOINTS, shapes_of, whole
from probes.studies.sensitivity.work import blocks, passes_of
from probes.subjects.dataset import Dataset
from probes.subjects.imagefiles import read_image
from probes.subjects.spec import parse
from probes.subjects.subject import Subject


@pytest.fixture(scope="module")
def subject():
    torch.manual_seed(0)
    images = np.random.Generator(np.random.Philox(0)).integers(
        0, 256, (32, 3, 224, 224), dtype=np.uint8
    )
    labels = np.arange(32) % 10
    data = Dataset(
        "bytes",
        "bytes",
        "test",
        images,
        labels,
        np.arange(32),
        tuple("0123456789"),
        (0.5,) * 3,
        (0.25,) * 3,
    )
    return Subject(
        parse("alexnet@bytes"), alexnet().eval().requires_grad_(False), data, "random", "random"
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """16 JPEGs of 500 x 375 pixels, as detailed as photographs are: octaves of noise."""
    folder, found = tmp_path_factory.mktemp("photos"), []
    drawn = np.random.Generator(np.random.Philox(1))
    for i in range(16):
        picture = np.zeros((375, 500, 3))
        for octave in range(1, 8):
            small = (
                drawn.normal(0, 140 / octave**1.5, (2**octave, 2**octave, 3)).clip(-120, 120) + 128
            )
            whole = Image.fromarray(small.astype(np.uint8)).resize(
                (500, 375), Image.Resampling.BICUBIC
            )
            picture += np.asarray(whole, dtype=float) - 128
        found.append(folder / f"{i}.jpg")
        Image.fromarray((picture + 128).clip(0, 255).astype(np.uint8)).save(found[-1], quality=92)
    return found


@pytest.mark.parametrize(("which", "limit"), [("1", 1.6), ("2", 2.2)])
def test_a_scrambling(ratio, threads, subject, photos, which, limit):
    """Four blocks of base points with two JPEGs decoded for each point, and the indices at the
    end."""
    threads(1)
    options, plan = Options(threads=1), Plan(which, rows=32 if which == "1" else 24)
    parts = whole(shapes_of(subject, CHECKPOINTS["alexnet"], options.where))
    (passes,), pool = passes_of(subject, plan, parts, options.where), Pool([subject.data])
    every = list(blocks(passes.design, plan, 0, "benchmark"))
    x = torch.rand(every[0][0].shape[0] * every[0][0].shape[1], 3, 224, 224).to(
        memory_format=passes.net.layout
    )
    units = []

    def ours():
        sums = {name: SobolSums(passes.design) for name in passes.parts}
        for rows, order in every:
            decoded = [read_image(path) for path in photos[: 2 * rows.shape[1]]]
            subject.data.images[: len(decoded)] = decoded
            passes.add(sums, rows, order, pool)
        units.append(sum(s.indices().mean.numel() for s in sums.values()))

    def plain():
        with device.exact(1):
            for _ in every:
                passes.model(x)

    ratio(
        f"sensitivity of AlexNet, set {which}, {4 * len(x)} rows, 224 px, one core",
        ours,
        plain,
        rounds=5,
        limit=limit,
    )
    assert units[0] == 205_672


def test_accumulating(ratio, threads):
    """Sums of 205,672 units beside reading and writing their rows once: about 5 ns per row and unit
    on one core.
    """
    threads(1)
    design = SobolDesign({name: slice(i, i + 1) for i, name in enumerate("abcdefg")})
    values = torch.rand(design.evaluations, 8, 205_672)
    sums, other, order = SobolSums(design), torch.empty_like(values), list(range(7))
    ratio(
        "sums of Sobol and Shapley, per copy of the rows",
        lambda: sums.add(values, order),
        lambda: other.copy_(values),
        rounds=7,
    )
