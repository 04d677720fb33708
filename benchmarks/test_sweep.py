"""A whole sweep, six levels, noise included, beside the study's own loop over the same images; and
what bf16 changes.
"""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from torchvision.models import resnet18

from probes.measure import BlockMetrics
from probes.perturb import gaussian
from probes.run.bench import Bench
from probes.run.settings import Options
from probes.store import Store
from probes.subjects.dataset import Dataset
from probes.subjects.nets import Normalised
from probes.subjects.spec import parse
from probes.subjects.subject import Subject

LEVELS = (0, 0.05, 0.1, 0.15, 0.2, 0.25)
FOUR = ("l2_h", "var_h", "mean_sum", "sparsity")
IMAGES, BATCH = 1024, 128


def dataset(images):
    n = len(images)
    constants = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)}
    return Dataset(
        "bytes",
        "bytes",
        "test",
        images,
        np.zeros(n, int),
        np.arange(n),
        tuple("0123456789"),
        **constants,
    )


@pytest.fixture(scope="module")
def images():
    return np.random.Generator(np.random.Philox(0)).integers(
        0, 256, (IMAGES, 3, 32, 32), dtype=np.uint8
    )


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return resnet18(num_classes=10).eval().requires_grad_(False)


class Bench(Bench):
    """A lab whose subject is a network with random weights: what is timed does not depend on
    them."""

    def __init__(self, net, data, store, precision):
        super().__init__(
            [parse("resnet18@bytes")], store, Options(batch_size=BATCH, precision=precision)
        )
        model = Normalised(net, data.mean, data.std).eval()
        self.__dict__["subjects"] = {
            "resnet18@bytes": Subject(parse("resnet18@bytes"), model, data, "random", "random")
        }

    def table(self, metrics=FOUR):
        return self.sweep(BlockMetrics(metrics=metrics), under=gaussian(*LEVELS)).frame


@pytest.mark.parametrize(("precision", "limit"), [("fp32", 0.9), ("bf16", 0.6)])
def test_the_whole_sweep(ratio, study, net, images, tmp_path, precision, limit):
    if precision == "bf16" and not torch.cpu._is_amx_tile_supported():
        pytest.skip("this CPU has no bf16 in hardware")
    copy = resnet18(num_classes=10).eval().requires_grad_(False)
    copy.load_state_dict(net.state_dict())
    hooks = study.Hooks(copy)
    stores = itertools.count()
    ratio(
        f"sweep of six levels, {precision}",
        lambda: Bench(net, dataset(images), Store(tmp_path / str(next(stores))), precision).table(),
        lambda: study.sweep(copy, hooks, images, LEVELS, BATCH),
        rounds=5,
        limit=limit,
    )


def test_what_bf16_changes(net, images, tmp_path, capsys):
    """The deviation of each metric, relative to its mean in fp32; bf16 keeps 8 bits of a number."""
    if not torch.cpu._is_amx_tile_supported():
        pytest.skip("this CPU has no bf16 in hardware")
    few = dataclasses.replace(dataset(images[:256]))
    tables = {
        p: Bench(net, few, Store(tmp_path / p), p).table(BlockMetrics().metrics)
        for p in ("fp32", "bf16")
    }
    rows = []
    for name in BlockMetrics().metrics:
        a, b = (tables[p][name].to_numpy(float) for p in ("fp32", "bf16"))
        rows.append(
            (
                name,
                float(np.abs(b - a).mean() / np.abs(a).mean()),
                float((b - a).mean() / np.abs(a).mean()),
            )
        )
    frame = pd.DataFrame(rows, columns=["metric", "mean deviation", "bias"])
    with capsys.disabled():
        print(
            "\nbf16 beside fp32, relative to the metric's mean size:\n"
            + frame.to_string(index=False, float_format="%.2g")
        )

    assert frame["mean deviation"].max() < 0.05
