"""A sweep over the strength of weight noise, beside the study's own loop: the same network, images,
strengths and draws.
"""

import copy
import itertools

import numpy as np
import pytest
import torch

from probes.measure import accuracy
from probes.perturb import weight_noise
from probes.run.bench import Bench
from probes.run.settings import Options
from probes.store import Store
from probes.subjects import training
from probes.subjects.dataset import Dataset
from probes.subjects.spec import parse
from probes.subjects.subject import Subject

ALPHAS, DRAWS = (0.0, 0.1, 0.5), 2


def images_of(n, channels, side=28):
    images = np.random.Generator(np.random.Philox(0)).integers(
        0, 256, (n, channels, side, side), dtype=np.uint8
    )
    constants = {"mean": (0.5,) * channels, "std": (0.25,) * channels}
    return Dataset(
        "bytes",
        "bytes",
        "test",
        images,
        np.arange(n) % 10,
        np.arange(n),
        tuple("0123456789"),
        **constants,
    )


def table(net, data, store, precision):
    model = training.initial(net, data, 0).eval().requires_grad_(False)
    subject = Subject(parse(f"{net}@bytes#0"), model, data, "random", "random")
    lab = Bench(
        [],
        store,
        Options(batch_size=250, precision=precision),
        subjects={f"{net}@bytes#0": subject},
    )
    return lab.sweep(accuracy, under=weight_noise(*ALPHAS), draws=DRAWS).frame


@pytest.fixture(scope="session")
def weight_study():
    from importlib import util
    from pathlib import Path

    spec = util.spec_from_file_location("weight_study", Path(__file__).with_name("weight_study.py"))
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("net", "images", "channels", "side", "precision", "limit", "rounds"),
    [
        ("mlp_small", 10_000, 3, 32, "bf16", 0.1, 7),
        ("mlp_small", 10_000, 3, 32, "fp32", None, 7),
        ("cnn", 4_000, 1, 28, "fp32", 0.75, 5),
        ("resnet18", 2_000, 3, 32, "bf16", 0.7, 5),
        ("resnet18", 2_000, 3, 32, "fp32", None, 5),
    ],
)
def test_a_sweep_of_weight_noise(
    ratio, weight_study, tmp_path, net, images, channels, side, precision, limit, rounds
):
    """Theirs makes the images anew for every pass; ours has them resized once, before (a view in
    the store).

    The limit of ``mlp_small`` is for bf16: in fp32 more than half of our time is the matrix product
    itself.
    """
    if precision == "bf16" and not torch.cpu._is_amx_tile_supported():
        pytest.skip("this CPU has no bf16 in hardware")
    data, raw = images_of(images, channels), images_of(images, channels, side)
    theirs = copy.deepcopy(training.initial(net, data, 0)).eval()
    stores = itertools.count()
    ratio(
        f"weight noise, {net}, {images:,} images of {channels} x {side} x {side}, {precision}",
        lambda: table(net, data, Store(tmp_path / str(next(stores))), precision),
        lambda: weight_study.sweep(theirs, raw.images, raw.labels, ALPHAS, DRAWS),
        rounds=rounds,
        limit=limit,
    )
