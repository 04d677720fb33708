"""A network with a unit that matters under one augmentation only."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from probes.run.bench import Bench
from probes.run.settings import Options
from probes.studies.sensitivity.plan import Plan
from probes.subjects.dataset import Dataset, datasets
from probes.subjects.spec import parse
from probes.subjects.subject import Subject

SIDE = 12


def made(split="test", n=60):
    """Images of two classes, the bright and the dark half up; brightness moves both, flips
    nothing."""
    drawn = np.random.Generator(np.random.Philox(3 if split == "test" else 4))
    labels = np.arange(n) % 2
    images = drawn.integers(100, 120, (n, 3, SIDE, SIDE), dtype=np.uint8)
    images[labels == 0, :, : SIDE // 2] += 60
    images[labels == 1, :, SIDE // 2 :] += 60
    return Dataset(
        "masks_made",
        "made",
        split,
        images,
        labels,
        np.arange(n),
        ("up", "down"),
        (0.5,) * 3,
        (0.5,) * 3,
    )


datasets.register("masks_made")(lambda split, store: made(split))


class Planted(nn.Module):
    """Channel 0 says up or down; on dark images something else turns the answer round, and channel
    1 puts it right.

    So channel 1 matters under one augmentation only, which is what moves it: on images as they are
    it is 0. 30 other channels compare pixels, whatever the light.
    """

    def __init__(self):
        super().__init__()
        self.probe = nn.Identity()

    def forward(self, x):
        up, down = x[:, :, : SIDE // 2].mean((1, 2, 3)), x[:, :, SIDE // 2 :].mean((1, 2, 3))
        sign, dark = torch.sign(up - down), ((up + down) / 2 < 0.35).float()
        others = torch.sign(x[:, 0, :5, :6] - x[:, 1, :5, :6]).flatten(1) * 0.01
        units = torch.cat([sign[:, None], 5 * (sign * dark)[:, None], others], 1)
        out = self.probe(units[:, :, None, None].expand(-1, -1, 2, 1))
        answer = out[:, :2].sum((1, 2, 3)) - 6 * sign * dark
        return torch.stack([answer, -answer], 1)


def subject():
    return Subject(parse("planted@masks_made"), Planted().eval(), made(), "weights", "random")


@pytest.fixture
def planted():
    """The subject, and a plan that samples the indices of its one module."""
    return SimpleNamespace(
        subject=subject(),
        plan=Plan(("brightness", "hflip"), rows=128, scramblings=2, names=("probe",)),
    )


@pytest.fixture
def bench_of():
    """A bench with a network that exists in this process only, and its name there."""

    def made(subject, store, **options):
        name = str(subject.spec)
        options = {"threads": 1, "images": len(subject.data)} | options
        return Bench([subject.spec], store, Options(**options), subjects={name: subject}), name

    return made


@pytest.fixture(autouse=True)
def figures(request):
    """Figures of a test are not drawn, unless it is marked ``drawn``."""
    if not request.node.get_closest_marker("drawn"):
        request.getfixturevalue("undrawn")
