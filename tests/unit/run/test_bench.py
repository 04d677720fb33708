"""The lab: options, lazy sweeps, summaries."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from probes.errors import BadInput, Unavailable, UnknownName
from probes.measure import accuracy, block_metrics
from probes.perturb import gaussian, layer_noise, weight_noise
from probes.run import bench as labs
from probes.run.bench import Bench
from probes.run.settings import Options
from probes.store import Store
from probes.subjects import training
from probes.subjects.spec import parse
from probes.tell import evidence


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def lab(store, *specs, **options):
    return Bench(
        [parse(s) for s in specs or ("resnet20@mnist5k",)],
        store,
        Options(**({"images": 40, "threads": 1} | options)),
    )


def test_nothing_is_computed_before_the_table_is_looked_at(store, monkeypatch):
    monkeypatch.setattr(labs.engine, "run", lambda *_: pytest.fail("computed"))
    sweep = lab(store).sweep(block_metrics, under=gaussian(0, 0.1))

    assert (sweep.design.images, sweep.design.draws, sweep.design.levels) == (40, 1, (0.0, 0.1))
    assert sweep.design.runs == (("resnet20", 1),)


def test_a_star_runs_every_seed(store):
    assert len(lab(store, "resnet20@mnist5k#*").subjects) == 8


def test_options_override_literals_and_say_so(store):
    one = lab(store, levels=(0.0, 0.3), draws=2)
    sweep = one.sweep(block_metrics, under=gaussian(0, 0.1))

    assert (sweep.design.levels, sweep.design.draws) == ((0.0, 0.3), 2)
    assert sweep.altered == ["levels 0 0.3 instead of 0 0.1", "draws 2 instead of 1"]


def test_options_that_say_the_same_alter_nothing(store):
    one = lab(store, levels=(0.0, 0.1), draws=1)

    assert one.sweep(block_metrics, under=gaussian(0, 0.1)).altered == []


def test_levels_of_an_option_are_checked_like_any_other(store):
    with pytest.raises(BadInput, match="lack 0"):
        lab(store, levels=(0.1, 0.2)).sweep(block_metrics, under=gaussian(0, 0.1))


@pytest.mark.parametrize(
    "bad",
    [
        {"images": 0},
        {"draws": 0},
        {"batch_size": -1},
        {"threads": 0},
        {"seed": -1},
        {"alpha": 0.5},
        {"alpha": 0},
        {"precision": "fp8"},
    ],
)
def test_options_out_of_range_are_errors(bad):
    with pytest.raises((BadInput, UnknownName)):
        Options(**bad)


def test_a_subject_without_a_dataset_is_an_error(store):
    with pytest.raises(BadInput, match="names no dataset"):
        lab(store, "resnet20").subjects  # noqa: B018


def test_weights_that_are_not_here_are_unavailable(store):
    with pytest.raises(Unavailable, match="probes train resnet20 mnist5k --seeds 77"):
        lab(store, "resnet20@mnist5k#77").subjects  # noqa: B018


def test_a_summary_averages_draws_first_and_counts_images(store):
    sweep = lab(store, draws=3).sweep(block_metrics, under=gaussian(0, 0.1))
    summary = sweep.summary()
    row = summary[
        (summary["metric"] == "l2_h") & (summary["site"] == "layer2.1") & (summary["level"] == 0.1)
    ].iloc[0]
    f = sweep.frame
    values = f[(f["site"] == "layer2.1") & (f["level"] == 0.1)].groupby("image")["l2_h"].mean()

    assert row["n"] == 40
    assert row["mean"] == pytest.approx(values.mean(), rel=1e-6)
    assert row["high"] - row["mean"] == pytest.approx(1.6849 * values.std() / np.sqrt(40), rel=1e-3)


def test_facts_name_weights_where_and_the_summary(store):
    one = lab(store)
    sweep = one.sweep(block_metrics, under=gaussian(0, 0.1))
    facts = one.facts(sweep)
    (subject,) = one.subjects.values()
    correct = one.sweep(accuracy, under=gaussian(0)).frame["correct"]
    examples = np.load(facts["examples"]["file"])
    first = np.unique(subject.data.labels, return_index=True)[1][:8]

    assert facts["weights"]["resnet20@mnist5k"]["accuracy"] == f"{correct.mean():.1%} of 40"
    assert facts["weights"]["resnet20@mnist5k"]["sha256"] == subject.sha256
    assert facts["where"] == {
        "device": str(one.options.where.device),
        "precision": "fp32",
        "threads": 1,
        "batch_size": 250,
    }
    pd.testing.assert_frame_equal(
        pd.read_parquet(facts["summary"]["file"]), sweep.summary(), check_dtype=False
    )
    np.testing.assert_array_equal(examples[0], subject.data.take(first).images)
    assert examples.shape == (2, 8, 1, 28, 28)
    assert set(facts) == {"weights", "where", "summary", "examples"}


@pytest.fixture
def short(monkeypatch):
    """The recipes of the two regimes, one epoch long."""
    for name in ("clean", "noisy"):
        recipe = dataclasses.replace(training.recipes[name], epochs=1)
        monkeypatch.setitem(training.recipes._things, name, recipe)


def test_train_brings_the_runs_that_a_recipe_names(store, short):
    one = lab(store, "mlp_small:clean@mnist5k#*", "mlp_small:noisy@mnist5k#*")
    with pytest.raises(Unavailable, match="--recipe clean"):
        one.sweep(accuracy, under=weight_noise(0))
    sweep = one.train(2).sweep(accuracy, under=weight_noise(0, 1), draws=2)
    frame = sweep.frame

    assert sorted(one.subjects) == [
        f"mlp_small:{arm}@mnist5k#{seed}" for arm in ("clean", "noisy") for seed in (0, 1)
    ]
    assert sweep.design.runs == (("mlp_small:clean", 2), ("mlp_small:noisy", 2))
    assert sorted(frame["weights"].unique()) == ["clean", "noisy"]
    assert (
        frame.groupby(["weights", "train_seed", "level"], observed=True).size().tolist()
        == [40, 80] * 4
    )


def test_train_without_a_recipe_says_how_one_is_named(store):
    with pytest.raises(BadInput, match="mlp_small:clean@mnist5k"):
        lab(store).train(8)
    with pytest.raises(BadInput, match="no training seeds"):
        lab(store, "mlp_small:clean@mnist5k#*").train(0)


def test_weight_noise_has_one_direction_for_all_alphas_and_both_policies_share_the_clean_pass(
    store,
):
    sweep = lab(store).sweep(
        accuracy,
        under=weight_noise(0, 0.2, 0.5, batch_norm=("frozen", "re-estimated"), images=50),
        draws=2,
    )
    frame = sweep.frame
    clean = frame[frame["level"] == 0].pivot(index="image", columns="batch_norm", values="loss")

    assert (
        sweep.design.perturbation
        == "weight noise, batch norm frozen and re-estimated on 50 training images"
    )
    assert frame.attrs["keys"] == ["batch_norm"]
    assert frame.attrs["draws"] == "common"
    assert (clean["frozen"] == clean["re-estimated"]).all()
    assert (
        frame.groupby(["batch_norm", "level"], observed=True)["draw"].nunique().tolist()
        == [1, 2, 2] * 2
    )


def test_the_direction_belongs_to_the_training_seed_only_where_several_are_compared(store):
    under = weight_noise(0, 0.5)
    alone, again = (
        lab(store, f"resnet20@mnist5k#{seed}").sweep(accuracy, under=under) for seed in (0, 1)
    )
    both = lab(store, "resnet20@mnist5k#0", "resnet20@mnist5k#1").sweep(accuracy, under=under)

    assert {cell.run for cell in (*alone.cells, *again.cells)} == {None}
    assert {cell.run for cell in both.cells} == {0, 1}
    assert {cell.run for cell in lab(store).sweep(accuracy, under=under, per_run=True).cells} == {0}


@pytest.mark.parametrize(
    ("specs", "told"),
    [(("resnet20@mnist5k", "plainnet20@mnist5k"), True), (("resnet20@mnist5k#*",), False)],
)
def test_facts_tell_how_one_or_two_networks_were_trained(store, specs, told):
    one = lab(store, *specs, images=10)
    one.sweep(accuracy, under=gaussian(0, 0.1))

    assert {bool(w["history"]) for w in one.facts()["weights"].values()} == {told}


class Blur(type(gaussian(0))):
    """A perturbation of somebody's own, made from one of ours."""

    def apply(self, images, noise, level, mean=(0.0,), std=(1.0,)):
        return images if level == 0 else images * 0.5


class Named(Blur):
    name, varied, unit = "blur", "radius", "pixels"

    def describe(self):
        return "Half of every image"


def test_a_perturbation_of_ones_own_is_not_shown_under_the_name_of_ours(store):
    """A page about a blur once said "Gaussian noise in pixel space, clamped, nominal σ 1, 2"."""
    with pytest.raises(
        BadInput, match=r"Blur does something else than Gaussian.*name, varied, unit, describe"
    ):
        lab(store).sweep(accuracy, under=Blur((0.0, 1.0)))


def test_a_perturbation_of_ones_own_says_what_it_is_wherever_it_is_shown(store):
    sweep = lab(store).sweep(accuracy, under=Named((0.0, 1.0)))
    design = sweep.design.json()

    assert (design["perturbation"], design["varied"], design["unit"]) == (
        "blur: Half of every image",
        "radius",
        "pixels",
    )
    assert "examples" in lab(store).facts(sweep)  # pictures of what the network sees
    assert sweep.frame["level"].nunique() == 2


@pytest.mark.parametrize(
    ("under", "varied"),
    [
        (gaussian(0, 0.1), "noise σ"),
        (weight_noise(0, 0.1), "alpha"),
        (layer_noise(0, 0.1), "strength"),
    ],
)
def test_every_perturbation_has_a_name_a_unit_and_a_sentence(store, under, varied):
    design = lab(store).sweep(accuracy, under=under).design

    assert design.varied == varied
    assert design.unit
    assert len(design.description) > 20


@pytest.mark.parametrize("precisions", [("fp32", "bf16"), ("bf16", "fp32")])
def test_two_precisions_in_one_process_are_each_their_own(store, precisions):
    """Draws were kept without a word on precision, and the second one crashed under layer noise."""
    under = layer_noise(0, 0.5, scale="absolute")
    found = [
        lab(store, images=20, precision=p).sweep(accuracy, under=under).frame["loss"].to_numpy()
        for p in precisions
    ]

    assert not np.array_equal(*found)
    np.testing.assert_allclose(*found, atol=0.3)


def test_what_got_weight_noise_is_told_with_its_share(store):
    one = lab(store, "mlp_small:untrained@mnist5k")
    facts = one.facts(one.sweep(accuracy, under=weight_noise(0, 0.1)))

    assert facts["perturbed"] == {
        "mlp_small": {"1.weight": 784 * 3 * 256, "3.weight": 256 * 128, "5.weight": 128 * 10}
    }
    assert evidence.perturbed(facts)[0].startswith(
        "changed are 3 weight tensors of mlp_small, 636,160 numbers, 99.9% of its parameters"
    )


class Greedy(Named):
    """Works in place on the images and on the noise that it is given."""

    name = "greedy"

    def apply(self, images, noise, level, mean=(0.0,), std=(1.0,)):
        return images.add_(noise.mul_(level))


class Modest(Named):
    name = "modest"

    def apply(self, images, noise, level, mean=(0.0,), std=(1.0,)):
        return images + noise * level


def test_trap_f01_a_perturbation_that_works_in_place_is_that_of_the_twin_that_does_not(store):
    found = [
        lab(store).sweep(accuracy, under=kind((0.0, 0.1, 0.2, 0.4))).frame
        for kind in (Greedy, Modest)
    ]

    for column in ("loss", "sigma_realised"):
        np.testing.assert_allclose(found[0][column], found[1][column], rtol=1e-5, atol=1e-6)


class Drawing(Named):
    name = "drawing"

    def apply(self, images, noise, level, mean=(0.0,), std=(1.0,)):
        return images + level * torch.randn_like(images)


class Smaller(Named):
    name = "smaller"

    def apply(self, images, noise, level, mean=(0.0,), std=(1.0,)):
        return images[..., 1:]


@pytest.mark.parametrize(
    ("kind", "says"), [(Drawing, "draws at random by itself"), (Smaller, "it keeps their shape")]
)
def test_a_perturbation_of_ones_own_that_has_no_named_draw_or_another_shape_is_refused(
    store, kind, says
):
    with pytest.raises(BadInput, match=says):
        lab(store).sweep(accuracy, under=kind((0.0, 0.1))).frame  # noqa: B018


def test_what_is_no_perturbation_is_said(store):
    class Duck:
        name, varied, unit, levels = "duck", "quack", "", (0.0, 1.0)

    with pytest.raises(
        BadInput, match=r"Duck is no perturbation: derive it from probes\.Perturbation"
    ):
        lab(store).sweep(accuracy, under=Duck())


def test_options_reach_a_perturbation_with_an_initialiser_of_its_own(store):
    class Own(Named):
        def __init__(self, levels, k):
            super().__init__(levels)
            object.__setattr__(self, "k", k)

    sweep = lab(store, levels=(0.0, 0.5)).sweep(accuracy, under=Own((0.0, 1.0), 3))

    assert sweep.under.levels == (0.0, 0.5)
    assert sweep.under.k == 3


@pytest.mark.parametrize("draws", [0, -1, 1.5, True])
def test_draws_that_are_no_number_are_refused(store, draws):
    with pytest.raises(BadInput, match=f"draws {draws}: allowed are whole numbers from 1 up"):
        lab(store).sweep(accuracy, under=gaussian(0, 0.1), draws=draws)
