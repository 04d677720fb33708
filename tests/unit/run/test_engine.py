"""The engine: the best device, cells from the store, the same numbers whatever the batch."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from probes import seeds
from probes.errors import Unavailable, UnknownName
from probes.measure import accuracy, block_metrics
from probes.perturb import gaussian, layer_noise, outputs, weight_noise
from probes.run import device, engine
from probes.run.bench import Bench
from probes.run.cells import Cell
from probes.run.settings import Options
from probes.store import Store
from probes.subjects.spec import parse


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def sweep(store, spec="resnet20@mnist5k", levels=(0, 0.1), draws=1, **options):
    lab = Bench(
        [parse(spec)], store, Options(**({"images": 60, "threads": 1, "batch_size": 20} | options))
    )
    return lab.sweep(block_metrics, under=gaussian(*levels), draws=draws).frame


@pytest.mark.parametrize(
    ("cuda", "mps", "best"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu"), (True, False, "cuda")],
)
def test_the_best_device_is_cuda_then_mps_then_cpu(monkeypatch, cuda, mps, best):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    assert device.best_device().type == best
    assert device.best_device("cpu").type == "cpu"


def test_a_device_that_is_not_here_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Unavailable, match="leave the option out"):
        device.best_device("cuda")
    with pytest.raises(UnknownName, match="did you mean cpu"):
        device.best_device("cpuu")


def test_a_sweep_is_a_row_per_image_draw_level_and_site(store):
    t = sweep(store, draws=2)

    assert len(t) == 9 * 60 * (1 + 2)
    assert t["site"].cat.categories[0] == "layer1.0"
    assert t["site"].cat.categories[-1] == "layer3.2"
    assert set(t["draw"]) == {0, 1}


def test_a_second_sweep_reads_the_store_and_runs_no_network(store, monkeypatch):
    first = sweep(store)
    monkeypatch.setattr(Cell, "make", lambda *_: pytest.fail("computed again"))

    pd.testing.assert_frame_equal(sweep(store), first)


def test_other_levels_share_the_cells_they_have_in_common(store, monkeypatch):
    sweep(store)
    made = []
    make = Cell.make
    monkeypatch.setattr(
        Cell, "make", lambda cell, *more: (made.append(cell.level), make(cell, *more))[1]
    )
    sweep(store, levels=(0, 0.1, 0.3))

    assert made == [0.3]


def test_all_perturbations_share_the_clean_pass_except_a_users_own(store, monkeypatch):
    """Level 0 is the network as it is: made once, and each sweep says of it what is its own."""
    lab = Bench(
        [parse("resnet20@mnist5k")], store, Options(images=40, threads=1, batch_size=20, seed=3)
    )

    def swept(under):
        frame = lab.sweep(accuracy, under=under).frame
        return frame[frame["level"] == 0].reset_index(drop=True)

    class Halved(type(gaussian(0))):
        name, varied, unit = "halved", "level", ""

        def describe(self):
            return "Half of the noise."

        def apply(self, images, noise, level, mean=(0.0,), std=(1.0,)):
            return super().apply(images, noise, level / 2, mean, std)

    noisy = swept(gaussian(0, 0.1))
    made, make = [], Cell.make
    monkeypatch.setattr(
        Cell, "make", lambda cell, *more: (made.append(cell.level), make(cell, *more))[1]
    )
    both = swept(layer_noise(0, 0.5) & gaussian(0, 0.1))
    layers, weights = swept(layer_noise(0, 0.5)), swept(weight_noise(0, 0.1))
    assert 0 not in made
    own = swept(Halved((0.0, 0.1)))
    assert made.count(0) == 1

    pd.testing.assert_frame_equal(own, noisy)
    pd.testing.assert_frame_equal(both.drop(columns="layers"), noisy)
    assert noisy["sigma_realised"].dtype == noisy["mean_shift"].dtype == np.float32
    assert (noisy[["sigma_realised", "mean_shift"]] == 0).all(axis=None)
    for frame, column in ((layers, "layers"), (weights, "batch_norm")):
        still = noisy.drop(columns=["sigma_realised", "mean_shift"])
        pd.testing.assert_frame_equal(frame.drop(columns=column), still)


def test_trap_n04_another_batch_size_changes_the_last_digits_only(store):
    """Even in eval mode an image's output depends on its batch in the last digits: never decide
    below that.
    """
    a, b = sweep(store), sweep(store, batch_size=7)
    keys = ["image", "level", "site"]
    a, b = (t.sort_values(keys, ignore_index=True) for t in (a, b))

    assert (a[keys].astype(str) == b[keys].astype(str)).all(axis=None)
    for name in ("l2_h", "var_h", "mean_abs_sum", "sigma_realised"):
        np.testing.assert_allclose(a[name], b[name], rtol=1e-4)
    np.testing.assert_allclose(a["sparsity"], b["sparsity"], atol=2e-3)


def test_the_batch_size_is_part_of_a_cells_key(store):
    lab = Bench([parse("resnet20@mnist5k")], store, Options(images=60, threads=1))
    cell = lab.sweep(block_metrics, under=gaussian(0, 0.1)).cells[1]
    other = dataclasses.replace(cell, where=dataclasses.replace(cell.where, batch_size=3))

    assert cell.key() != other.key()
    assert {"weights", "code", "images", "measure", "under", "where", "layout"} <= set(cell.key())


def test_the_noise_of_an_image_is_the_same_in_every_net(store):
    lab = Bench(
        [parse("resnet20@mnist5k#0"), parse("plainnet20@mnist5k#1")],
        store,
        Options(images=60, threads=1),
    )
    t = lab.sweep(block_metrics, under=gaussian(0, 0.2)).frame
    part = t[(t["level"] == 0.2) & (t["site"] == "layer1.0")]
    a, b = (
        part[part["net"] == net].set_index("image")["sigma_realised"]
        for net in ("resnet20", "plainnet20")
    )

    assert (a == b).all()


def test_realised_noise_is_in_the_table(store):
    t = sweep(store, levels=(0, 0.25))
    top = t[t["level"] == 0.25]

    assert (t[t["level"] == 0]["sigma_realised"] == 0).all()
    assert 0.1 < top["sigma_realised"].mean() < 0.2  # clamped on a black background: far below .25
    assert top["mean_shift"].mean() > 0.05


def test_trap_n07_state_is_bit_equal_after_a_sweep(store):
    from probes.subjects.statedict import state_sha256

    lab = Bench(
        [parse("resnet20@mnist5k")], Store(store.folder / "fresh"), Options(images=40, threads=1)
    )
    model = next(iter(lab.subjects.values())).model
    before = (
        state_sha256(model),
        [m.training for m in model.modules()],
        torch.get_num_threads(),
        torch.get_rng_state(),
    )
    lab.sweep(block_metrics, under=gaussian(0, 0.1)).frame  # noqa: B018

    assert state_sha256(model) == before[0]
    assert [m.training for m in model.modules()] == before[1]
    assert torch.get_num_threads() == before[2]
    assert torch.equal(torch.get_rng_state(), before[3])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_examples_show_one_image_of_each_class_at_every_level(store):
    lab = Bench([parse("resnet20@mnist5k")], store, Options())
    found = engine.examples(lab.data("mnist5k"), gaussian(0, 0.1, 0.2), 0)

    assert (found.shape, found.dtype) == ((3, 8, 1, 28, 28), np.uint8)


def test_a_loader_gives_the_noise_of_a_sweep(store):
    lab = Bench([parse("resnet20@mnist5k")], store, Options(images=50))
    data = lab.data("mnist5k")
    (clean, labels), (noisy, _) = (
        next(engine.loader(data, s, 50, torch.device("cpu"))) for s in (0, 0.3)
    )
    under = gaussian(0, 0.3)
    noise = under.noise("mnist5k", data.ids, (1, 28, 28), 0, 0)

    assert torch.equal(noisy, under.apply(clean, noise, 0.3))
    assert labels.tolist() == data.labels.tolist()
    assert torch.equal(clean, torch.from_numpy(np.array(data.images)).float() / 255)


def test_bf16_casts_convolutions_and_the_metrics_stay_near(store):
    full, half = (sweep(store, precision=p) for p in ("fp32", "bf16"))

    assert (full["l2_h"] != half["l2_h"]).mean() > 0.9
    for name in ("l2_h", "var_h", "mean_abs_sum"):
        assert abs(half[name].mean() / full[name].mean() - 1) < 0.01


@pytest.mark.parametrize(
    ("size", "padding", "expected"),
    [
        (1, 1, torch.float32),
        (2, 1, torch.bfloat16),
        (3, 0, torch.float32),
        (3, "valid", torch.bfloat16),
        (4, 1, torch.bfloat16),
    ],
)
def test_convolutions_to_a_single_position_stay_in_fp32_where_bf16_is_asked_for(
    size, padding, expected
):
    conv, point = nn.Conv2d(4, 4, 3, padding=padding), nn.Conv2d(4, 4, 1)
    x = torch.randn(2, 4, size, size)
    with torch.no_grad(), device.cast(torch.device("cpu"), "bf16"):
        found = conv(x)
        assert point(x[..., :1, :1]).dtype == torch.bfloat16
    with torch.no_grad():
        assert conv(x).dtype == torch.float32
        torch.testing.assert_close(found.float(), conv(x), rtol=0.05, atol=0.05)

    assert found.dtype == expected


def test_trap_n09_tf32_is_off_inside_a_sweep_and_as_before_after_it():
    flags = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before, inside = [f.allow_tf32 for f in flags], []

    def interrupted():
        with device.exact(1):
            inside.extend(f.allow_tf32 for f in flags)
            raise KeyboardInterrupt

    try:
        for f in flags:
            f.allow_tf32 = True
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        after = [f.allow_tf32 for f in flags]
    finally:
        for f, value in zip(flags, before, strict=True):
            f.allow_tf32 = value

    assert inside == [False, False]
    assert after == [True, True]


def test_trap_n09_no_randomness_depends_on_the_loader_or_its_workers(store):
    """Noise is named by the image, so it is the same in any order and from any process."""
    lab = Bench([parse("resnet20@mnist5k")], store, Options(images=50))
    data = lab.data("mnist5k")
    whole = torch.cat([x for x, _ in engine.loader(data, 0.3, 50, torch.device("cpu"))])
    torch.manual_seed(1)
    parts = torch.cat([x for x, _ in engine.loader(data, 0.3, 7, torch.device("cpu"))])

    assert torch.equal(whole, parts)


def test_a_measure_that_compares_with_clean_images_gets_them_first(store):
    from probes.measure import feature_metrics

    lab = Bench([parse("resnet20@mnist5k")], store, Options(images=30, threads=1, batch_size=10))
    t = lab.sweep(feature_metrics, under=gaussian(0, 0.1, 0.3)).frame
    by_level = t.groupby("level")["map_distance"].mean()

    assert by_level[0.0] == 0
    assert 0 < by_level[0.1] < by_level[0.3]
    assert (t[t["level"] == 0]["map_cosine"] == 1).all()
    assert list(t["site"].cat.categories) == ["layer1", "layer2", "layer3"]


def test_every_legal_convolution_runs_where_bf16_is_asked_for():
    x, w = torch.rand(2, 3, 3, 3), torch.rand(4, 3, 3, 3)
    with torch.no_grad(), device.cast(torch.device("cpu"), "bf16"):
        found = [
            torch.conv2d(input=x, weight=w),
            torch.conv2d(x, w, stride=(2,)),
            torch.conv2d(x[..., :1, :1], w, padding=(1,)),
        ]

    assert {t.dtype for t in found} == {torch.float32}


def test_layers_one_at_a_time_begin_in_the_middle_with_the_same_numbers(
    store, tmp_path, monkeypatch
):
    """The kept clean pass is not recomputed for every layer, and changes no bit."""
    under = layer_noise(0, 0.5, choice="each", on="*.bn2")

    def table_of(place):
        lab = Bench(
            [parse("resnet20@mnist5k")], Store(place), Options(images=40, threads=1, batch_size=20)
        )
        return lab.sweep(accuracy, under=under).frame

    fast = table_of(tmp_path / "fast")
    monkeypatch.setattr(outputs, "PREFIX_BYTES", 0)
    plain = table_of(tmp_path / "plain")

    assert fast["layer"].nunique() == 9
    pd.testing.assert_frame_equal(fast, plain)


def test_noise_on_layers_is_relative_to_their_clean_spread_which_is_measured_once(tmp_path):
    lab = Bench(
        [parse("resnet20@mnist5k")], Store(tmp_path), Options(images=40, threads=1, batch_size=20)
    )
    frame = lab.sweep(accuracy, under=layer_noise(0, 0.25, 0.5, layers=(1, 3))).frame
    (spread,) = (tmp_path / "spreads").glob("*.txt")
    loss = frame.groupby(["layers", "level"], observed=True)["loss"].mean().unstack("level")

    assert len(json.loads(spread.read_text())) == 19
    assert loss.loc["1", 0.0] == loss.loc["3", 0.0]
    assert loss.loc["3", 0.5] > loss.loc["3", 0.0]


def test_clean_passes_tell_the_spread_of_layers_too(tmp_path):
    """The spread is that of passes of its own, which are made where the clean ones are not."""
    found, passes = [], []
    for name, before in (("one", layer_noise(0, 0.5)), ("two", gaussian(0))):
        lab = Bench(
            [parse("resnet20@mnist5k")],
            Store(tmp_path / name),
            Options(images=40, threads=1, batch_size=20),
        )
        (subject,) = lab.subjects.values()
        lab.sweep(accuracy, under=gaussian(0, 0.1)).cells  # noqa: B018 - the network is checked
        hook = subject.model.register_forward_hook(lambda *_: passes.append(name))  # noqa: B023
        frames = [lab.sweep(accuracy, under=under).frame for under in (before, layer_noise(0, 0.5))]
        hook.remove()
        (spread,) = (tmp_path / name / "spreads").glob("*.txt")
        found.append((spread.read_bytes(), frames[-1]))

    assert (passes.count("one"), passes.count("two")) == (2 + 2, 2 + 2 + 2)
    assert found[0][0] == found[1][0]
    pd.testing.assert_frame_equal(found[0][1], found[1][1])


def test_networks_share_the_noise_on_layers_of_one_name_and_size(store, monkeypatch):
    names, normals = [], seeds.normals
    monkeypatch.setattr(
        seeds, "normals", lambda size, every: normals(size, names.extend(every) or every)
    )
    lab = Bench(
        [parse("resnet20@mnist5k#0"), parse("plainnet20@mnist5k#1")],
        store,
        Options(images=20, threads=1, batch_size=20, seed=5),
    )
    under = layer_noise(0, 0.5, on="layer1.*.bn2", choice="each")
    together = lab.sweep(accuracy, under=under).frame

    assert len(names) == len(set(map(str, names))) == 3 * 20
    alone = Bench(
        [parse("plainnet20@mnist5k#1")],
        Store(store.folder / "alone"),
        Options(images=20, threads=1, batch_size=20, seed=5),
    )
    part = together[together["net"] == "plainnet20"].reset_index(drop=True)
    expected = alone.sweep(accuracy, under=under).frame
    pd.testing.assert_frame_equal(part.drop(columns="net"), expected.drop(columns="net"))


def test_draws_of_layers_are_nested_in_images_unless_they_are_common(tmp_path):
    lab = Bench(
        [parse("resnet20@mnist5k")], Store(tmp_path), Options(images=20, threads=1, batch_size=20)
    )
    own = lab.sweep(accuracy, under=layer_noise(0, 0.5, layers=1 / 8))
    common = lab.sweep(accuracy, under=layer_noise(0, 0.5, choice="common"), draws=2)

    assert own.frame.attrs["keys"] == ["layers"]
    assert common.frame.attrs["keys"] == ["layers"]
    assert common.frame.attrs["draws"] == "common"
    assert own.design.perturbation.endswith(
        "of BatchNorm2d: 0.125 of all layers, drawn by each image, p = 1"
    )
