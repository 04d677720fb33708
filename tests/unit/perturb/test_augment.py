"""Augmentations of a factor vector: foreign references, closed forms, and rows that know nothing of
each other.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as vision

from probes.errors import BadInput, UnknownName
from probes.perturb.augment import augmentation, augmentations
from probes.perturb.composed import SETS, Augmented, _orders

PARAMETRIC = (
    "erasing",
    "rolling",
    "gaussian_blur",
    "brightness",
    "contrast",
    "saturation",
    "hue",
    "rotation",
    "elliptic_blur",
)
RANGES = {
    "brightness": (0.1, 2.5),
    "contrast": (0.01, 3.5),
    "saturation": (0.01, 3.5),
    "hue": (-0.5, 0.5),
}


def pictures(n=3, channels=3, side=24, seed=0):
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(seed))


def apply(name, images, *factors):
    u = torch.tensor([factors] * len(images), dtype=torch.float32)
    return augmentations[name].apply(images.clone(), u)


@given(
    st.sampled_from(["1", "2"]), st.sampled_from([1, 3]), st.integers(8, 30), st.integers(0, 2**31)
)
@settings(max_examples=60, deadline=None)
def test_images_stay_images(which, channels, side, seed):
    g = torch.Generator().manual_seed(seed)
    augmented, _ = Augmented.of(which, channels)
    images = torch.rand(4, channels, side, side, generator=g)
    before = images.clone()
    found = augmented(images, torch.rand(4, len(augmented.columns), generator=g))

    assert found.shape == images.shape
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6
    assert torch.equal(images, before)


@given(st.sampled_from(["1", "2"]), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_a_row_is_the_same_alone_as_in_a_batch(which, seed):
    g = torch.Generator().manual_seed(seed)
    augmented, _ = Augmented.of(which)
    images, u = (
        torch.rand(5, 3, 16, 16, generator=g),
        torch.rand(5, len(augmented.columns), generator=g),
    )
    whole = augmented(images, u)
    parts = torch.cat([augmented(images[i : i + 1], u[i : i + 1]) for i in range(5)])

    torch.testing.assert_close(whole, parts, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
@pytest.mark.parametrize("u", [0.0, 0.2, 0.5, 0.77, 1.0])
def test_colours_are_torchvisions(name, u):
    images = pictures()
    low, high = RANGES[name]
    factor = low + (high - low) * u
    theirs = getattr(vision, f"adjust_{name}")(images, factor)

    torch.testing.assert_close(apply(name, images, u), theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("u", [0.0, 0.4, 1.0])
def test_the_blur_is_torchvisions(u):
    images, sigma = pictures(), 0.1 + 1.9 * u
    theirs = vision.gaussian_blur(images, [7, 7], [sigma, sigma])

    torch.testing.assert_close(apply("gaussian_blur", images, u), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("sharpness", lambda x: vision.adjust_sharpness(x, 1.5)),
        ("grayscaling", lambda x: vision.rgb_to_grayscale(x, num_output_channels=3)),
        ("hflip", vision.horizontal_flip),
    ],
)
def test_switches_are_torchvisions_and_off_above_a_half(name, theirs):
    images = pictures()
    one = Augmented((name,))

    torch.testing.assert_close(one(images, torch.tensor([[0.5]] * 3)), theirs(images))
    assert torch.equal(one(images, torch.tensor([[0.51]] * 3)), images)


def test_hue_leaves_grey_alone_and_a_whole_turn_is_none():
    grey = pictures(channels=1).expand(-1, 3, -1, -1).contiguous()
    images = pictures()

    torch.testing.assert_close(apply("hue", grey, 0.3), grey)
    torch.testing.assert_close(apply("hue", images, 0.5), images, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        apply("hue", images, 0.0), apply("hue", images, 1.0), rtol=0, atol=1e-6
    )


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_erasing_takes_its_share_of_the_area_and_is_cut_at_the_edges(y, x, area, ratio):
    """The published one does nothing where the box would cross the lower or right edge: 15.7 % of
    draws.
    """
    side = 64
    found = apply("erasing", torch.ones(1, 3, side, side), y, x, area, ratio)
    black = (found == 0).all(1)[0]
    share = 0.02 + 0.31 * area
    h = math.exp(math.log(0.3) + (math.log(3.3) - math.log(0.3)) * ratio)
    high, wide = math.sqrt(share * h), math.sqrt(share / h)
    at = [44 / 224 + (180 - 44) / 224 * v for v in (y, x)]
    ends = [
        (max(0, c - size / 2), min(1, c + size / 2))
        for c, size in zip(at, (high, wide), strict=True)
    ]
    expected = (ends[0][1] - ends[0][0]) * (ends[1][1] - ends[1][0])

    assert black.any()
    assert black.float().mean().item() == pytest.approx(expected, abs=2.5 / side)
    assert ((found == 0) | (found == 1)).all()


def test_rolling_is_a_circular_shift_of_whole_pixels():
    images = pictures(side=56)

    assert torch.equal(apply("rolling", images, 0.5, 0.5), images)
    assert torch.equal(apply("rolling", images, 1.0, 0.0), images.roll((11, -11), (2, 3)))


def test_rotation_keeps_what_is_the_same_from_all_sides():
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, 65)] * 2, indexing="ij")
    round_ = (1 - (y**2 + x**2) / 2).expand(1, 1, 65, 65).contiguous()
    zoom = 1 / (math.cos(math.radians(10)) + math.sin(math.radians(10)))
    inside = slice(8, -8)

    for u in (0.0, 1.0):
        found = apply("rotation", round_, u)
        expected = 1 - zoom**2 * (y**2 + x**2) / 2
        torch.testing.assert_close(
            found[0, 0, inside, inside], expected[inside, inside], rtol=0, atol=2e-3
        )
    torch.testing.assert_close(apply("rotation", round_, 0.5), round_, rtol=0, atol=1e-6)


def test_rotation_turns_by_its_angle():
    side = 101
    spot = torch.zeros(1, 1, side, side)
    spot[0, 0, 50, 80] = 1  # right of the centre
    found = apply("rotation", spot, 1.0)[0, 0]
    weights = found / found.sum()
    y, x = (float((weights.sum(axis) * torch.arange(side)).sum()) - 50 for axis in (1, 0))

    assert abs(math.degrees(math.atan2(y, x))) == pytest.approx(10, abs=1)


def test_elliptic_blur_changes_nothing_outside_its_ellipse():
    images = pictures(side=112)
    found = apply("elliptic_blur", images, 0.0, 1.0, 0.5, 0.5, 0.5)
    changed = (found != images).any(1)[0]
    rows, columns = (np.flatnonzero(changed.any(axis).numpy()) for axis in (1, 0))

    assert np.ptp(rows) + 1 == pytest.approx(112 * 20 / 224, abs=2)
    assert np.ptp(columns) + 1 == pytest.approx(112 * 64 / 224, abs=2)
    assert changed.float().mean().item() == pytest.approx(math.pi * 10 * 32 / 224**2, rel=0.1)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_orders_are_all_permutations_in_their_order(k):
    assert _orders(torch.arange(math.factorial(k)), k).tolist() == [
        list(p) for p in itertools.permutations(range(k))
    ]


@given(st.sampled_from(["1", "2"]), st.floats(0, 1), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_augmentations_follow_one_another_in_the_order_of_the_last_factor(which, order, seed):
    g = torch.Generator().manual_seed(seed)
    augmented, _ = Augmented.of(which)
    images, u = (
        torch.rand(2, 3, 12, 12, generator=g),
        torch.rand(2, len(augmented.columns), generator=g),
    )
    u[:, -1] = order
    k = len(augmented.names)
    number = min(int(float(u[0, -1]) * math.factorial(k)), math.factorial(k) - 1)
    sequence = next(itertools.islice(itertools.permutations(augmented.names), number, None))
    expected = images
    for name in sequence:
        one = Augmented((name,))
        expected = one(expected, u[:, augmented.groups[name]])

    torch.testing.assert_close(augmented(images, u), expected, rtol=0, atol=2e-6)


def test_the_two_sets_have_the_studys_scalars():
    sizes = {which: len(Augmented.of(which)[0].columns) for which in SETS}

    assert sizes == {"1": 9 + 1, "2": 11 + 1}
    assert list(Augmented.of("1")[0].groups) == [*SETS["1"], "order"]


def test_a_switch_for_every_augmentation_turns_it_off():
    """Under the study's second law: off above a half, and else what it is without the switch; a
    switch stays its own.
    """
    images = pictures()
    plain, switched = (
        Augmented(("brightness", "hflip")),
        Augmented(("brightness", "hflip"), switched=True),
    )
    u = torch.tensor([[0.9, 0.2, 0.3]] * 3)

    assert switched.columns == ("brightness.on", "brightness.factor", "hflip.on", "order")
    assert torch.equal(
        switched(images, torch.cat([torch.full((3, 1), 0.4), u], 1)), plain(images, u)
    )
    off = switched(images, torch.tensor([[0.6, 0.9, 0.7, 0.3]] * 3))
    assert torch.equal(off, images)


def test_grey_images_leave_colours_out_and_say_so():
    augmented, left = Augmented.of("2", channels=1)

    assert left == ("saturation", "hue")
    assert augmented.names == ("brightness", "contrast", "hflip", "rotation", "elliptic_blur")


def test_your_own_augmentation_is_one_of_them():
    @augmentation("of_my_own", "amount")
    def mine(images, u):
        return images * u.view(-1, 1, 1, 1)

    both = Augmented(("of_my_own", "hflip"))
    images = pictures(2)
    found = both(images, torch.tensor([[0.25, 1.0, 0.0], [0.5, 1.0, 0.0]]))

    torch.testing.assert_close(found, images * torch.tensor([0.25, 0.5]).view(2, 1, 1, 1))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: Augmented(("brightnes",)), UnknownName, "did you mean brightness"),
        (lambda: Augmented(()), BadInput, "one or more"),
        (lambda: Augmented(("hue", "hue")), BadInput, "none of them twice"),
        (lambda: Augmented(("hflip",))(pictures(), torch.rand(3, 3)), BadInput, "1 columns"),
        (
            lambda: Augmented(("hflip",))(pictures(), torch.full((3, 1), 1.1)),
            BadInput,
            r"in \[0, 1\]",
        ),
        (
            lambda: Augmented(("hflip",))(pictures(), torch.full((3, 1), float("nan"))),
            BadInput,
            r"in \[0, 1\]",
        ),
        (lambda: augmentation("without"), BadInput, "one or more, a switch exactly one"),
        (lambda: augmentation("twofold", "a", "b", switch=True), BadInput, "a switch exactly one"),
    ],
)
def test_what_can_not_be_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_every_parametric_augmentation_moves_an_image_when_its_factor_moves():
    images = pictures(1, side=32)
    for name in PARAMETRIC:
        k = len(augmentations[name].factors)
        assert not torch.equal(apply(name, images, *[0.2] * k), apply(name, images, *[0.9] * k)), (
            name
        )
