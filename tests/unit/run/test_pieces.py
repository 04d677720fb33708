"""One piece of every kind gives the numbers that it gave before the house was rebuilt.

``pieces.json`` was recorded at the commit that it names, before the first move; ``index_shift``
when it became a squared distance. On that processor and with that torch the numbers are equal bit
for bit, elsewhere to the last digits.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from probes import accuracy, block_metrics, feature_metrics, gaussian, layer_noise, weight_noise
from probes.lab import Lab
from probes.store import Store

RECORDED = json.loads(Path(__file__).with_name("pieces.json").read_text(encoding="utf-8"))
METRICS = [
    *("l2_h", "var_h", "sparsity", "map_distance", "map_zeros", "loss", "correct"),
    *("sigma_realised", "index_peak", "index_rho", "index_shift", "mask_lost"),
]
BOTH = ("frozen", "re-estimated")
PIECES = {
    "gauss": lambda lab: lab.sweep(block_metrics, under=gaussian(0, 0.1, 0.2), draws=2),
    "norm": lambda lab: lab.sweep(
        feature_metrics, under=gaussian(0, 0.3, clamp=False, space="normalised")
    ),
    "weights": lambda lab: lab.sweep(
        accuracy, under=weight_noise(0, 0.5, batch_norm=BOTH, images=50), draws=2
    ),
    "layers": lambda lab: lab.sweep(accuracy, under=layer_noise(0, 0.5, layers=(1, 2)), draws=2),
    "each": lambda lab: lab.sweep(accuracy, under=layer_noise(0, 0.5, choice="each", on="*.bn2")),
    "sens": lambda lab: lab.sensitivity(rows=8, groups=4),
    "mask-random": lambda lab: _masks(lab).random,
    "mask-matched": lambda lab: _masks(lab).matched,
    "mask-own": lambda lab: _masks(lab).own,
}


def _masks(lab):
    return lab.masking(rows=8, scramblings=2, draws=3, images=30, own_images=30)


def machine():
    """What the last bits depend on: the processor with what it can do, and torch."""
    place = Path("/proc/cpuinfo")
    lines = place.read_text(encoding="utf-8").splitlines() if place.exists() else []
    told = {
        name: next((x for x in lines if x.startswith(name)), "") for name in ("model name", "flags")
    }
    flags = hashlib.sha256(" ".join(sorted(told["flags"].split())).encode()).hexdigest()[:16]
    return [told["model name"].partition(": ")[2], flags, torch.__version__]


def told(frame):
    """A few numbers of every metric: the first, and the mean of all."""
    found = {}
    for name in METRICS:
        if name in frame:
            values = frame[name].to_numpy(np.float64)
            found[name] = [*values[:3].tolist(), float(values.mean())]
    return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    return Lab("resnet20@mnist5k", store, images=40, threads=1, batch_size=20, quiet=True)


@pytest.mark.parametrize("kind", PIECES)
def test_a_piece_is_what_it_was(lab, kind):
    found, wanted = told(PIECES[kind](lab).frame), RECORDED["pieces"][kind]

    assert list(found) == list(wanted)
    for name in wanted:
        if RECORDED["machine"] == machine():
            assert found[name] == wanted[name], name
        else:
            np.testing.assert_allclose(found[name][-1], wanted[name][-1], rtol=0.02, atol=0.02)
