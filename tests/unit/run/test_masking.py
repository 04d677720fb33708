"""Guided masks: a planted unit is found and random masks miss it, one module or all of them, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from probes.errors import BadInput, UnknownName
from probes.perturb.masks import masked
from probes.run import masking
from probes.run.lab import Options
from probes.run.masking import CLEAN, Guide, Mask, answers, guide_of, hits
from probes.run.passes import pixels
from probes.run.scramblings import Plan
from probes.store import Store
from probes.subjects.data import Dataset, datasets
from probes.subjects.data import load as datasets_load
from probes.subjects.pretrained import Subject, load
from probes.subjects.spec import parse

SIDE = 12


def made(split="test", n=60):
    """Images of two classes, the bright and the dark half up; brightness moves both, flips nothing."""
    drawn = np.random.Generator(np.random.Philox(3 if split == "test" else 4))
    labels = np.arange(n) % 2
    images = drawn.integers(100, 120, (n, 3, SIDE, SIDE), dtype=np.uint8)
    images[labels == 0, :, : SIDE // 2] += 60
    images[labels == 1, :, SIDE // 2 :] += 60
    return Dataset("masks_made", "made", split, images, labels, np.arange(n), ("up", "down"), (0.5,) * 3, (0.5,) * 3)


datasets.register("masks_made")(lambda split, store: made(split))


class Planted(nn.Module):
    """Channel 0 says up or down; on dark images something else turns the answer round, and channel 1 puts it right.

    So channel 1 matters under one augmentation only, which is what moves it: on images as they are it is 0. 30 other channels
    compare pixels, whatever the light.
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
def store(tmp_path):
    return Store(tmp_path / "store")


PLAN = Plan(("brightness", "hflip"), rows=128, scramblings=2, names=("probe",))


@pytest.fixture
def guide(store):
    return guide_of(subject(), PLAN, ["total"], store, Options(threads=1))


def test_the_planted_unit_is_found_by_the_mask_and_not_by_random_ones(guide):
    """Without the units that brightness moves most, dark images are named wrong; clean ones lose nothing, random masks little."""
    wanted = {
        CLEAN: [Mask(), Mask("guided", "brightness", q=0.95)],
        "brightness": [Mask(), Mask("guided", "brightness", q=0.95), *(Mask("random", "", 0.95, draw=d) for d in range(20))],
    }
    found = hits(subject(), guide, wanted, Options(threads=1), draws=4)
    mean = found.groupby(["input", "kind"])["correct"].mean()

    assert mean[CLEAN, "none"] == 1
    assert mean["brightness", "none"] == 1
    assert mean[CLEAN, "guided"] == 1
    assert mean["brightness", "guided"] < mean["brightness", "random"] - 0.1


def test_of_every_image_there_is_a_row_for_every_mask(guide):
    masks = [Mask(), Mask("guided", "hflip"), Mask("matched", "hflip", draw=1), Mask("full", "hflip"), Mask("inverse", "hflip")]
    found = hits(subject(), guide, {CLEAN: masks, "hflip": masks[:2]}, Options(threads=1, batch_size=7))

    assert len(found) == 60 * 7
    assert not found.duplicated(["image", "input", "kind", "variable", "draw"]).any()
    assert (found["top5"] == 1).all()  # of two classes
    other = hits(subject(), guide, {CLEAN: masks, "hflip": masks[:2]}, Options(threads=1, batch_size=60))
    assert found.groupby(["input", "kind"])["correct"].mean().equals(other.groupby(["input", "kind"])["correct"].mean())


def test_what_runs_before_the_first_masked_module_is_shared_and_changes_nothing(guide, monkeypatch):
    masks = [Mask(), Mask("guided", "hflip"), Mask("random", draw=3)]
    shared = answers(subject(), guide, "brightness", masks, Options(threads=1), draws=2)
    monkeypatch.setattr(masking, "PREFIX_BYTES", -1)
    whole = answers(subject(), guide, "brightness", masks, Options(threads=1), draws=2)

    assert shared.shape == (3, 2, 60, 2)
    np.testing.assert_array_equal(shared, whole)


def test_a_mask_of_one_module_leaves_the_others(store):
    data = datasets_load("mnist5k", "test", store).sample(20)
    net = load(parse("resnet20@mnist5k"), data, store)
    guide = guide_of(net, Plan(("hflip", "erasing"), rows=8, scramblings=2), ["total"], store, Options(threads=1))
    one = Mask("guided", "erasing", 0.5, module="layer2")

    assert list(guide.magnitude) == ["layer1", "layer2", "layer3"]
    assert guide.classes["total"].shape == (4, 10)
    assert list(one.scales(guide)) == ["layer2"]
    found = answers(net, guide, CLEAN, [Mask(), one], Options(threads=1))
    with torch.no_grad(), masked(net.model, one.scales(guide)):
        out = net.model(pixels(data))
    np.testing.assert_array_equal(found[1, 0, :, 0], out.argmax(1))


def test_guides_of_two_sets_are_joined_and_what_both_have_is_told_apart():
    first = Guide(("a", "image"), {"total": {"m": np.zeros((2, 3, 1, 1))}}, {"m": np.ones((3, 1, 1))}, {"total": np.zeros((2, 4))})
    other = Guide(("b", "image"), {"total": {"m": np.ones((2, 3, 1, 1))}}, {"m": np.full((3, 1, 1), 2)}, {"total": np.ones((2, 4))})
    both = first.beside(other, "1", "2")

    assert both.variables == ("a", "image-1", "b", "image-2")
    assert both.index["total"]["m"][:, 0, 0, 0].tolist() == [0, 0, 1, 1]
    assert both.classes["total"].shape == (4, 4)
    assert both.magnitude["m"].tolist() == first.magnitude["m"].tolist()


def test_full_masks_scale_by_the_index_and_inverse_ones_by_the_rest(guide):
    index = guide.index["total"]["probe"][guide.variables.index("brightness")]
    full, inverse = (Mask(kind, "brightness").scales(guide)["probe"] for kind in ("full", "inverse"))

    np.testing.assert_allclose(full, np.nan_to_num(index).clip(0, 1), rtol=1e-6)
    torch.testing.assert_close(full + inverse, torch.ones_like(full))


def test_random_masks_are_common_to_variables_and_a_draw_is_its_name(guide):
    first, again, other = (Mask("random", v, 0.9, 0.5, d).scales(guide)["probe"] for v, d in (("", 0), ("hflip", 0), ("", 1)))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert set(first.unique().tolist()) == {0.5, 1.0}


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda g: Mask("guided", "hue").scales(g), UnknownName, "unknown variable of the indices 'hue'"),
        (lambda g: Mask("guidde", "hflip").scales(g), UnknownName, "did you mean guided"),
        (lambda g: Mask("guided", "hflip", q=1.2).scales(g), BadInput, "q 1.2"),
        (lambda g: Mask("guided", "hflip", module="layer9").scales(g), UnknownName, "unknown module of a mask 'layer9'"),
        (lambda g: Mask("guided", "hflip", measure="first").scales(g), UnknownName, "unknown measure 'first'"),
        (lambda g: Mask("guided", "hflip", alpha=-1).scales(g), BadInput, "alpha -1"),
        (lambda g: hits(subject(), Guide(("a",), {"total": {"probe": np.ones((1, 3, 2, 1))}}, {"probe": np.ones((3, 2, 1))}),
                        {CLEAN: [Mask("guided", "a", 0.5)]}, Options(threads=1)), BadInput, "is it another network's"),
        (lambda g: guide_of(subject(), PLAN, ["contrast"], Store.default(), Options(threads=1)), UnknownName, "unknown measure"),
    ],
)  # fmt: skip
def test_what_can_not_be_is_refused(guide, call, error, says):
    with pytest.raises(error, match=says):
        call(guide)
