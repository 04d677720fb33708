"""Answers under masks: a planted unit is found and random masks miss it, and nothing is computed
twice.
"""

import dataclasses

import numpy as np
import pytest
import torch

from probes.errors import BadInput
from probes.hooks import begins
from probes.measure.features import where
from probes.perturb.masks import scaled_units
from probes.run.forward import network
from probes.run.settings import Options
from probes.store import Store
from probes.studies.masking import work
from probes.studies.masking.guide import Guide, Guiding
from probes.studies.masking.masks import Mask
from probes.studies.masking.work import CLEAN, MaskedPredictions, pieces, top_classes
from probes.studies.sensitivity.plan import Plan
from probes.subjects.data import load as datasets_load
from probes.subjects.pretrained import load
from probes.subjects.sending import pixels
from probes.subjects.spec import parse


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def answered_by(bench_of):
    def made(subject, plan, store, draws=1, **options):
        lab, name = bench_of(subject, store, **options)
        return MaskedPredictions(lab, Guiding(name, plan, ("total",), lab.options.where), draws)

    return made


@pytest.fixture
def guide(store, planted, answered_by):
    return answered_by(planted.subject, planted.plan, store).guide


def test_the_planted_unit_is_found_by_the_mask_and_not_by_random_ones(store, planted, answered_by):
    """Without the units that brightness moves most, dark images are named wrong; clean ones lose
    nothing, random masks little.
    """
    answered = answered_by(planted.subject, planted.plan, store, draws=4)
    masks = [
        Mask(),
        Mask("guided", "brightness", q=0.95),
        *(Mask("random", "", 0.95, draw=d) for d in range(20)),
    ]
    found = answered.hits({CLEAN: masks[:2], "brightness": masks})
    mean = found.groupby(["input", "kind"])["correct"].mean()

    assert mean[CLEAN, "none"] == 1
    assert mean["brightness", "none"] == 1
    assert mean[CLEAN, "guided"] == 1
    assert mean["brightness", "guided"] < mean["brightness", "random"] - 0.1


def test_of_every_image_there_is_a_row_for_every_mask(store, planted, answered_by):
    masks = [
        Mask(),
        Mask("guided", "hflip"),
        Mask("matched", "hflip", draw=1),
        Mask("full", "hflip"),
        Mask("inverse", "hflip"),
    ]
    found, other = (
        answered_by(planted.subject, planted.plan, store, batch_size=size).hits({CLEAN: masks})
        for size in (7, 60)
    )

    assert len(found) == 60 * 5
    assert not found.duplicated(["image", "kind", "variable", "draw"]).any()
    assert (found["top5"] == 1).all()  # of two classes
    assert found.groupby("kind")["correct"].mean().equals(other.groupby("kind")["correct"].mean())


def test_pieces_of_work_are_the_same_whatever_is_asked_beside():
    random, more = ([Mask("random", "", 0.8, 0, d) for d in range(n)] for n in (20, 100))
    none = [Mask(), Mask("guided", "hflip")]

    assert pieces(more)[0] == pieces(random)[0] == pieces([*none, *random])[1] == random
    assert [len(p) for p in pieces([*none, *more])] == [2, 20, 20, 20, 20, 20]
    assert [
        len(p) for p in pieces([*random, *(dataclasses.replace(m, alpha=0.5) for m in random)])
    ] == [20, 20]


def test_what_is_kept_is_not_computed_again(store, monkeypatch, planted, answered_by):
    masks = [Mask(), *(Mask("random", draw=d) for d in range(25))]
    first = answered_by(planted.subject, planted.plan, store).of({CLEAN: masks})
    monkeypatch.setattr(work, "top_classes", lambda *_, **__: pytest.fail("computed again"))
    again = answered_by(planted.subject, planted.plan, store).of({CLEAN: masks})

    np.testing.assert_array_equal(again[CLEAN], first[CLEAN])
    assert first[CLEAN].shape[:3] == (26, 1, 60)


def test_a_piece_tells_how_far_it_is(guide, planted):
    shares = []
    where = Options(threads=1, batch_size=25).where
    top_classes(planted.subject, guide, "erasing", [Mask()], where, draws=2, tell=shares.append)

    assert shares == sorted(shares)
    assert len(shares) == 6
    assert shares[-1] == 1


def test_what_runs_before_the_first_masked_module_is_shared_and_changes_nothing(
    guide, monkeypatch, planted
):
    masks = [Mask(), Mask("guided", "hflip"), Mask("random", draw=3)]
    shared = top_classes(
        planted.subject, guide, "brightness", masks, Options(threads=1).where, draws=2
    )
    monkeypatch.setattr(work, "PREFIX_BYTES", -1)
    whole = top_classes(
        planted.subject, guide, "brightness", masks, Options(threads=1).where, draws=2
    )

    assert shared.shape == (3, 2, 60, 2)
    np.testing.assert_array_equal(shared, whole)


def test_what_differs_is_not_taken_from_the_store(store, planted, answered_by):
    """Another plan, seed, number of draws, measure or image, and guided masks are answered anew;
    random ones need no indices.
    """
    made = []

    def computed(masks, plan=planted.plan, draws=1, data=None, **options):
        subject = (
            planted.subject if data is None else dataclasses.replace(planted.subject, data=data)
        )
        before = (
            set((store.folder / "answers").glob("*.npy"))
            if (store.folder / "answers").exists()
            else set()
        )
        answered_by(subject, plan, store, draws, **options).of({"brightness": masks})
        made.append(len(set((store.folder / "answers").glob("*.npy")) - before))

    guided, random = [Mask("guided", "hflip")], [Mask("random")]
    for masks in (guided, random):
        computed(masks)
        computed(masks)
        computed(masks, plan=dataclasses.replace(planted.plan, rows=64))
        computed(masks, draws=2)
        computed(masks, seed=1)
        computed(masks, data=planted.subject.data.sample(30))

    assert made == [1, 0, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1]


def test_a_network_that_gives_no_number_for_each_class_is_refused(store, planted):
    planted.subject.model.forward = lambda x: planted.subject.model.probe(x)
    with pytest.raises(BadInput, match=r"gives \(60, 3, 12, 12\) for 60 images of 2 classes"):
        top_classes(planted.subject, Guide((), {}, {}), CLEAN, [Mask()], Options(threads=1).where)


def test_a_mask_of_one_module_leaves_the_others(store, answered_by):
    data = datasets_load("mnist5k", "test", store).sample(20)
    net = load(parse("resnet20@mnist5k"), data, store)
    guide = answered_by(net, Plan(("hflip", "erasing"), rows=8, scramblings=2), store).guide
    one = Mask("guided", "erasing", 0.5, module="layer2")

    assert list(guide.magnitude) == ["layer1", "layer2", "layer3"]
    assert guide.classes["total"].shape == (4, 10)
    assert list(one.scales(guide)) == ["layer2"]
    network(
        net, Options(threads=1).where
    )  # looked at before it is hooked, as is where a pass may begin
    with torch.inference_mode():
        few = pixels(data, slice(0, 4)).to(where(net.model))
        assert begins(net.model, few, ("layer2",), through=True)
    ran = []
    net.model.net.layer1.register_forward_hook(lambda *_: ran.append(1))
    net.model.net.layer1[0].register_forward_hook(lambda *_: ran.append(0))
    found = top_classes(net, guide, CLEAN, [Mask(), one, one, one], Options(threads=1).where)
    assert ran.count(0) == 1  # once, for the clean pass
    assert ran.count(1) == 1 + 3  # and it gives what it gave
    with torch.no_grad(), scaled_units(net.model, one.scales(guide)):
        out = net.model(pixels(data).to(where(net.model))).cpu()
    np.testing.assert_array_equal(found[1, 0, :, 0], out.argmax(1))
