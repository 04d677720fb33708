"""Everything stays on the device: on one that is not there, whose tensors refuse to meet others,
sweeps and studies give what they give on the CPU.
"""

import contextlib
import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from probes import (
    Measure,
    Perturbation,
    accuracy,
    agreement,
    augmented,
    bit_flips,
    block_metrics,
    certainty,
    corruption,
    feature_metrics,
    gaussian,
    layer_noise,
    masked,
    pruned,
    quantised,
    transform,
    weight_noise,
)
from probes.lab import Lab
from probes.measure.sensitivity import SobolSums
from probes.perturb import mapped
from probes.perturb.augment import augmentation
from probes.perturb.dropping import dropout
from probes.perturb.images import Gaussian
from probes.run.engine import loader
from probes.run.settings import Options
from probes.store import Store
from probes.studies.features.passes import passes_over
from probes.studies.masking.guide import Guide
from probes.studies.masking.masks import Mask
from probes.studies.masking.work import CLEAN, top_classes
from probes.studies.sensitivity import contrasts, plan, work
from probes.studies.sensitivity.reader import Reader
from probes.subjects import data, pretrained
from probes.subjects.spec import parse

pytestmark = pytest.mark.slow

PLACE = Path(__file__).parents[2] / "pretend.py"
NEAR = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def pretend():
    spec = importlib.util.spec_from_file_location("pretend", PLACE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["pretend"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["pretend"]


@pytest.fixture
def cuda(pretend, monkeypatch):
    """A device that is not there."""
    with pretend.pretended(monkeypatch) as here:
        yield here


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def swept(store, measure, under, device, draws=1):
    lab = Lab(
        "resnet20@mnist5k", store=store, quiet=True, images=30, threads=1, batch_size=20,
        device=device, say=lambda text: None,
    )  # fmt: skip
    return lab.sweep(measure, under=under, draws=draws).frame


@dataclasses.dataclass(frozen=True)
class Darker(Gaussian):
    """Noise that only darkens, made by numpy."""

    name, varied, unit = "darkening", "noise", "of the range"

    def describe(self):
        return "Noise that only darkens"

    def apply(self, images, noise, level, mean=(0.0,), std=(1.0,)):
        return torch.from_numpy(np.clip(images.numpy() - level * np.abs(noise.numpy()), 0, 1))


@dataclasses.dataclass(frozen=True)
class Occlusion(Perturbation):
    """A square of another tensor's grey."""

    levels: tuple[float, ...]

    def key(self, level):
        return {"kind": "occlusion", "version": 1, "level": level}

    @contextlib.contextmanager
    def open(self, at):
        def forward(batch):
            grey = torch.full(batch.images.shape, 0.5)
            seen = torch.lerp(batch.images, grey, at.level)
            at.plain(seen)
            return seen

        yield forward


class Brightness(Measure):
    """The mean of the clean image, read by numpy."""

    name = "sparsity"

    def count(self, model):
        return 1

    @contextlib.contextmanager
    def open(self, model):
        def read(batch):
            return {"site": np.array(["x"]), "loss": batch.images.numpy().mean((1, 2, 3))[None]}

        yield read


@augmentation("upside_down", "on", switch=True)
def upside_down(images, u):
    return torch.from_numpy(images.numpy()[:, :, ::-1].copy())


def darker(image, level, rng):
    return image * (1 - level * rng.uniform(0.5, 1))


UNITS = {"layer1": np.random.default_rng(0).random((16, 28, 28))}
SWEEPS = {
    "images": (block_metrics, gaussian(0, 0.1, 0.3), 2),
    "normalised": (accuracy, gaussian(0, 0.1, space="normalised"), 1),
    "compared": (feature_metrics, gaussian(0, 0.1), 1),
    "weights": (
        accuracy,
        weight_noise(0, 0.1, batch_norm=("frozen", "re-estimated"), images=40),
        2,
    ),
    "layers": (block_metrics, layer_noise(0, 0.3, layers=(1, 3)), 1),
    "each layer": (accuracy, layer_noise(0, 0.3, on=("layer1.0", "layer3.1"), choice="each"), 1),
    "units": (accuracy, masked(UNITS, 0, 0.2), 2),
    "dropout": (accuracy, dropout(0, 0.1, 0.37, on="Conv2d"), 1),
    "augmented": (accuracy, augmented("rolling", "erasing", "rotation", "upside_down"), 1),
    "two": (accuracy, augmented("gaussian_blur") & weight_noise(0, 0.1), 1),
    "corruptions": (certainty, corruption("gaussian_noise", "fog", severity=(1, 3)), 1),
    "agreement": (agreement, corruption("contrast", severity=5), 1),
    "transform": (accuracy, transform(darker, levels=(0, 0.5)), 1),
    "few bits": (certainty, quantised((8, 3)), 1),
    "pruned": (accuracy, pruned(0.5), 1),
    "flipped weights": (accuracy, bit_flips(0, 1e-5), 1),
    "flipped activations": (accuracy, bit_flips(0, 1e-5, on="activations"), 1),
    "few bits of corrupted images": (accuracy, quantised(4) & corruption("fog", severity=1), 1),
    "own noise": (accuracy, Darker((0, 0.1)), 1),
    "own perturbation": (block_metrics, Occlusion((0.0, 0.4)), 1),
    "own beside ours": (accuracy, Occlusion((0.0, 0.4)) & weight_noise(0, 0.1, 0.2), 1),
    "own measure": (Brightness(), gaussian(0, 0.1), 1),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_on_the_device_gives_what_it_gives_on_the_cpu(name, store, pretend, monkeypatch):
    measure, under, draws = SWEEPS[name]
    # gradients need a device that is there: attacks, and the check that weights reach the output
    monkeypatch.setattr(mapped, "refuse_lost", lambda *rest: None)
    here = swept(store, measure, under, "cpu", draws)
    with pretend.pretended(monkeypatch):
        there = swept(store, measure, under, "cuda", draws)

    assert list(here) == list(there)
    assert len(here) == len(there) > 0
    for column in here:
        a, b = np.asarray(here[column]), np.asarray(there[column])
        if a.dtype.kind != "f":
            assert (a == b).all(), column
        elif column == "sparsity":  # the share of zeros: one of 3,136 elements may change its sign
            np.testing.assert_allclose(a, b, atol=1e-3)
        else:
            np.testing.assert_allclose(a, b, **NEAR, err_msg=column)


def test_images_go_over_once_as_bytes_and_only_results_come_back(cuda, store):
    swept(store, block_metrics, gaussian(0, 0.2), "cuda")
    cuda.sent.clear(), cuda.brought.clear()
    swept(store, block_metrics, gaussian(0, 0.2, 0.25, 0.35), "cuda")
    images = [sent for sent in cuda.sent if sent[1][1:] == (1, 28, 28)]

    # two batches at each of two levels
    assert images == [(torch.uint8, (n, 1, 28, 28)) for n in (20, 10, 20, 10)]
    results = [shape for _, shape in cuda.brought if len(shape) == 2]

    # by one copy a batch: of 9 blocks' numbers, each of 7 for an image or fewer
    assert len(results) == 4
    assert {shape[1] for shape in results} == {20, 10}
    assert max(int(np.prod(shape)) for _, shape in cuda.brought) <= 9 * 7 * 20


def test_the_device_refuses_what_torch_refuses(cuda):
    there = torch.ones(3, device="cuda")

    with pytest.raises(RuntimeError, match="same device"):
        there + torch.ones(3)
    with pytest.raises(TypeError, match="to numpy"):
        there.numpy()
    assert there.cpu().numpy().sum() == 3


@pytest.fixture
def subject(store):
    return pretrained.load(parse("resnet20@mnist5k"), data.load("mnist5k").sample(12), store)


def both(function, pretend, monkeypatch):
    """A function of a device, on the CPU and there."""
    here = function("cpu")
    with pretend.pretended(monkeypatch):
        return here, function("cuda")


def test_a_scrambling_on_the_device_gives_the_indices_of_the_cpu(subject, pretend, monkeypatch):
    asked = plan.Plan(("rolling", "erasing", "gaussian_blur"), rows=16)
    parts = {"layer3": slice(0, 40), "fc": slice(0, 10)}

    def run(device):
        where = Options(threads=1, device=device).where
        passes = work.passes_of(subject, asked, parts, where)
        return work.scrambled(passes, asked, 0, asked.pool(subject.data, None), "x")[0]

    here, there = both(run, pretend, monkeypatch)

    for name in parts:
        for field in ("mean", "variance", "first", "total", "shapley"):
            a, b = getattr(here[name], field), getattr(there[name], field)
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_sums_stay_on_the_device(cuda, subject):
    asked = plan.Plan(("rolling", "erasing"), rows=16)
    where = Options(threads=1, device="cuda").where
    (passes,) = work.passes_of(subject, asked, {"fc": slice(0, 10)}, where)
    sums = SobolSums(passes.design)
    rows, order = next(work.blocks(passes.design, asked, 0, "x"))
    passes.add({"fc": sums}, rows, order, asked.pool(subject.data, None))

    assert {value.device.type for value in sums._sums.values()} == {"cuda"}


def test_contrasts_on_the_device_are_those_of_the_cpu(subject, pretend, monkeypatch):
    def run(device):
        where = Options(threads=1, device=device).where
        reader = Reader(subject, {"layer3": slice(0, 40)}, where)

        def under(x, rows, draw):
            few = contrasts.factors("rotation", subject.data, rows, contrasts.Contrasts(), draw)
            return contrasts.augmentations["rotation"](x, few)

        return contrasts._values(reader, subject.data, under, 2, {}, lambda share: None)["layer3"]

    np.testing.assert_allclose(*both(run, pretend, monkeypatch), **NEAR)


@pytest.mark.parametrize("name", [CLEAN, "erasing", "upside_down"])
def test_masked_predictions_on_the_device_are_those_of_the_cpu(name, subject, pretend, monkeypatch):
    guide = Guide(("a",), {"total": {"layer1": UNITS["layer1"][None]}}, UNITS)
    masks = [Mask(), Mask("guided", "a", q=0.9), Mask("random", "", 0.9, draw=1)]

    def run(device):
        where = Options(threads=1, device=device).where
        return top_classes(subject, guide, name, masks, where)

    here, there = both(run, pretend, monkeypatch)

    assert (here == there).all()


def test_maps_at_every_level_on_the_device_are_those_of_the_cpu(subject, pretend, monkeypatch):
    def run(device):
        where = Options(threads=1, device=device).where
        found = passes_over(subject, ["layer2"], gaussian(0, 0.2), where, 0, range(8))
        return [np.asarray(x.cpu()) for x in (found[0.2].maps["layer2"], found[0.2].logits)] + [
            found[0.2].images
        ]

    for here, there in zip(*both(run, pretend, monkeypatch), strict=True):
        np.testing.assert_allclose(here, there, **NEAR)


def test_a_loader_gives_batches_on_the_device(subject, pretend, monkeypatch):
    def run(device):
        batches = list(loader(subject.data, 0.2, 8, torch.device(device)))
        assert {x.device.type for pair in batches for x in pair} == {device}
        return torch.cat([x.cpu() for x, _ in batches])

    here, there = both(run, pretend, monkeypatch)

    assert (here - there).abs().max() <= 1e-6
