"""The engine: the best device, cells from the store, the same numbers whatever the batch."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from probes.errors import Unavailable, UnknownName
from probes.measure import block_metrics
from probes.perturb import gaussian
from probes.run import engine
from probes.run.lab import Lab, Options
from probes.store import Store
from probes.subjects.spec import parse


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def sweep(store, spec="resnet20@mnist5k", levels=(0, 0.1), draws=1, **options):
    lab = Lab([parse(spec)], store, Options(**({"images": 60, "threads": 1, "batch_size": 20} | options)))
    return lab.sweep(block_metrics, under=gaussian(*levels), draws=draws).frame


@pytest.mark.parametrize(
    ("cuda", "mps", "best"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu"), (True, False, "cuda")]
)
def test_the_best_device_is_cuda_then_mps_then_cpu(monkeypatch, cuda, mps, best):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    assert engine.best_device().type == best
    assert engine.best_device("cpu").type == "cpu"


def test_a_device_that_is_not_here_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Unavailable, match="leave --probes-device out"):
        engine.best_device("cuda")
    with pytest.raises(UnknownName, match="did you mean cpu"):
        engine.best_device("cpuu")


def test_a_sweep_is_a_row_per_image_draw_level_and_site(store):
    t = sweep(store, draws=2)

    assert len(t) == 9 * 60 * (1 + 2)
    assert t["site"].cat.categories[0] == "layer1.0"
    assert t["site"].cat.categories[-1] == "layer3.2"
    assert set(t["draw"]) == {0, 1}


def test_a_second_sweep_reads_the_store_and_runs_no_network(store, monkeypatch):
    first = sweep(store)
    monkeypatch.setattr(engine, "_compute", lambda *_: pytest.fail("computed again"))

    pd.testing.assert_frame_equal(sweep(store), first)


def test_other_levels_share_the_cells_they_have_in_common(store, monkeypatch):
    sweep(store)
    made = []
    compute = engine._compute
    monkeypatch.setattr(engine, "_compute", lambda cell, subject: (made.append(cell.level), compute(cell, subject))[1])
    sweep(store, levels=(0, 0.1, 0.3))

    assert made == [0.3]


def test_trap_n04_another_batch_size_changes_the_last_digits_only(store):
    """Even in eval mode an image's output depends on its batch in the last digits: never decide below that."""
    a, b = sweep(store), sweep(store, batch_size=7)
    keys = ["image", "level", "site"]
    a, b = (t.sort_values(keys, ignore_index=True) for t in (a, b))

    assert (a[keys].astype(str) == b[keys].astype(str)).all(axis=None)
    for name in ("l2_h", "var_h", "mean_abs_sum", "sigma_realised"):
        np.testing.assert_allclose(a[name], b[name], rtol=1e-4)
    np.testing.assert_allclose(a["sparsity"], b["sparsity"], atol=2e-3)


def test_the_batch_size_is_part_of_a_cells_key(store):
    lab = Lab([parse("resnet20@mnist5k")], store, Options(images=60, threads=1))
    cell = lab.sweep(block_metrics, under=gaussian(0, 0.1))._cells[1]
    other = dataclasses.replace(cell, where=dataclasses.replace(cell.where, batch_size=3))

    assert cell.key() != other.key()
    assert {"package", "torch", "weights", "images", "measure", "under", "where"} <= set(cell.key())


def test_the_noise_of_an_image_is_the_same_in_every_net(store):
    lab = Lab([parse("resnet20@mnist5k#0"), parse("plainnet20@mnist5k#1")], store, Options(images=60, threads=1))
    t = lab.sweep(block_metrics, under=gaussian(0, 0.2)).frame
    part = t[(t["level"] == 0.2) & (t["site"] == "layer1.0")]
    a, b = (part[part["net"] == net].set_index("image")["sigma_realised"] for net in ("resnet20", "plainnet20"))

    assert (a == b).all()


def test_realised_noise_is_in_the_table(store):
    t = sweep(store, levels=(0, 0.25))
    top = t[t["level"] == 0.25]

    assert (t[t["level"] == 0]["sigma_realised"] == 0).all()
    assert 0.1 < top["sigma_realised"].mean() < 0.2  # clamped on a black background: far below .25
    assert top["mean_shift"].mean() > 0.05


def test_trap_n07_state_is_bit_equal_after_a_sweep(store):
    from probes.subjects.pretrained import state_sha256

    lab = Lab([parse("resnet20@mnist5k")], Store(store.folder / "fresh"), Options(images=40, threads=1))
    model = next(iter(lab.subjects.values())).model
    before = state_sha256(model), [m.training for m in model.modules()], torch.get_num_threads(), torch.get_rng_state()
    lab.sweep(block_metrics, under=gaussian(0, 0.1)).frame  # noqa: B018

    assert state_sha256(model) == before[0]
    assert [m.training for m in model.modules()] == before[1]
    assert torch.get_num_threads() == before[2]
    assert torch.equal(torch.get_rng_state(), before[3])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_examples_show_one_image_of_each_class_at_every_level(store):
    lab = Lab([parse("resnet20@mnist5k")], store, Options())
    found = engine.examples(lab.data("mnist5k"), gaussian(0, 0.1, 0.2), 0)

    assert (found.shape, found.dtype) == ((3, 8, 1, 28, 28), np.uint8)


def test_a_loader_gives_the_noise_of_a_sweep(store):
    lab = Lab([parse("resnet20@mnist5k")], store, Options(images=50))
    data = lab.data("mnist5k")
    (clean, labels), (noisy, _) = (next(engine.loader(data, s, 50, torch.device("cpu"))) for s in (0, 0.3))
    under = gaussian(0, 0.3)
    noise = under.noise("mnist5k", data.ids, (1, 28, 28), 0, 0)

    assert torch.equal(noisy, under.apply(clean, noise, 0.3))
    assert labels.tolist() == data.labels.tolist()
    assert torch.equal(clean, torch.from_numpy(np.array(data.images)).float() / 255)
