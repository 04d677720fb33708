"""Tables of guided masks for claims: controls are paired with the guided mask, and nothing is
computed twice.
"""

import pytest

from probes.errors import BadInput
from probes.judge import falls, rises
from probes.lab import Lab
from probes.run.settings import Options
from probes.store import Store
from probes.studies.masking import work
from probes.studies.masking.claims import Masking


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_the_tables_of_a_claim(store):
    lab = Lab("resnet20@mnist5k", store=store, options=Options(images=30, threads=1), quiet=True)
    masks = lab.masking(
        which=("hflip", "erasing"), draws=2, rows=8, scramblings=2, images=20, names=("layer3",)
    )
    beside, own = masks.random.frame, masks.own.frame

    assert masks.random.design.images == 20
    assert beside.attrs["draws"] == "common"
    assert len(beside) == 20 * 2 * 2 * 2
    guided = beside[beside["level"] == 1].groupby(["image", "site"], observed=True)["correct"]
    assert (guided.nunique() == 1).all()  # the same whatever the control's draw
    assert list(beside["site"].cat.categories) == ["hflip", "erasing"]
    assert len(own) == 30 * 2 * 2  # all images: it has no draws
    assert lab.facts(masks.random)["summary"]
    assert (
        falls(masks.matched, "correct", by="site", unit="image and draw", sesoi="1 point").overall
        == "inconclusive"
    )
    asked = rises(masks.own, "mask_lost", by="site", sesoi="1 point")
    assert asked.overall == "inconclusive"
    assert (masks.random.design.varied, masks.own.design.varied) == ("mask", "augmentation")
    assert asked["hflip"].asked(masks.own.design.varied).endswith(", from augmentation 0 to 1")


def test_what_was_computed_is_not_computed_again(store, monkeypatch):
    def frame():
        lab = Lab(
            "resnet20@mnist5k", store=store, options=Options(images=20, threads=1), quiet=True
        )
        return lab.masking(
            which=("hflip", "erasing"), draws=2, rows=8, scramblings=2, images=20, names=("layer3",)
        ).own.frame

    first = frame()
    monkeypatch.setattr(work, "top_classes", lambda *_, **__: pytest.fail("computed again"))
    assert frame().equals(first)


def test_a_network_without_maps_is_refused(store):
    with pytest.raises(BadInput, match="none of its modules gives maps"):
        Lab(
            "resnet20@mnist5k", store=store, options=Options(images=20, threads=1), quiet=True
        ).masking(names=("fc",), rows=8).own.compute()


def test_the_design_is_declared():
    assert Masking() == Masking("1", "total", 0.8, 0.0, 20, 200, 1000, 128, 4, None)
