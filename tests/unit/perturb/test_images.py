"""Pixel noise: one draw per image at every strength, in any batch, in [0, 1]."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probes import seeds
from probes.errors import BadInput, UnknownName
from probes.perturb import gaussian

clean = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
ids = [3, 1, 4, 15, 9, 2]


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(6)), st.integers(1, 6))
def test_trap_n03_order_and_batch_size_change_nothing(order, size):
    under = gaussian(0, 0.1)
    whole = under.noise("d", ids, (1, 8, 8), 0, 0)
    for start in range(0, 6, size):
        part = order[start : start + size]
        noise = under.noise("d", [ids[i] for i in part], (1, 8, 8), 0, 0)

        assert torch.equal(noise, whole[list(part)])


def test_the_noise_is_common_to_all_levels_and_scales_with_them():
    under = gaussian(0, 0.1, 0.2, clamp=False)
    noise = under.noise("d", ids, (1, 8, 8), 0, 0)

    torch.testing.assert_close(
        under.apply(clean, noise, 0.2) - clean,
        2 * (under.apply(clean, noise, 0.1) - clean),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("other", [("d", ids, 1, 0), ("d", ids, 0, 1), ("e", ids, 0, 0)])
def test_another_seed_draw_or_dataset_is_other_noise(other):
    under = gaussian(0, 0.1)
    dataset, names, seed, draw = other

    assert not torch.equal(
        under.noise("d", ids, (1, 8, 8), 0, 0), under.noise(dataset, names, (1, 8, 8), seed, draw)
    )


def test_the_noise_is_contiguous_float32_on_the_cpu():
    noise = gaussian(0, 0.1).noise("d", ids, (3, 4, 5), 0, 0)

    assert (noise.dtype, noise.device.type, noise.is_contiguous(), tuple(noise.shape)) == (
        torch.float32,
        "cpu",
        True,
        (6, 3, 4, 5),
    )


def test_level_zero_is_the_images_themselves():
    under = gaussian(0, 0.1)

    assert under.apply(clean, under.noise("d", ids, (1, 8, 8), 0, 0), 0.0) is clean


def test_applying_noise_changes_neither_images_nor_noise():
    under = gaussian(0, 0.5)
    noise = under.noise("d", ids, (1, 8, 8), 0, 0)
    before = clean.clone(), noise.clone()
    under.apply(clean, noise, 0.5)

    assert torch.equal(clean, before[0])
    assert torch.equal(noise, before[1])


def test_trap_n02_clamping_shrinks_the_noise():
    """Nominal .10, .25, .50 on uniform images become .094, .214, .348."""
    images = torch.from_numpy(seeds.uniform(200_000, "uniform images").astype(np.float32)).reshape(
        1, 1, 400, 500
    )
    under = gaussian(0, 0.1, 0.25, 0.5)
    noise = under.noise("d", [0], (1, 400, 500), 0, 0)
    realised = [
        (under.apply(images, noise, level) - images).std().item() for level in (0.1, 0.25, 0.5)
    ]

    assert realised == pytest.approx([0.094, 0.214, 0.348], abs=0.002)


def test_trap_n02_clamping_lifts_the_mean_of_a_black_image():
    under = gaussian(0, 0.25)
    black = torch.zeros(1, 1, 100, 100)
    shift = under.apply(black, under.noise("d", [0], (1, 100, 100), 0, 0), 0.25).mean().item()

    assert shift == pytest.approx(0.25 / np.sqrt(2 * np.pi), abs=0.005)


def test_trap_n01_noise_in_pixel_space_is_not_noise_after_normalisation():
    """Sigma .1 after Normalize is about .02 in pixels, and clamping there cuts everything below the
    mean.
    """
    mean, std = 0.45, 0.2
    normalised = (clean - mean) / std
    noise = gaussian(0, 0.1).noise("d", ids, (1, 8, 8), 0, 0)
    theirs = ((normalised + 0.1 * noise).clamp(0, 1) * std + mean).sub(clean)
    ours = gaussian(0, 0.1, clamp=False).apply(clean, noise, 0.1) - clean

    assert ours.std().item() == pytest.approx(0.1, rel=0.1)
    assert (0.1 * noise * std).std().item() == pytest.approx(0.02, rel=0.1)
    assert (
        theirs[clean < mean].mean().item() > 0.1
    )  # dark pixels are lifted to the mean, whatever the noise


@pytest.mark.parametrize("clamp", [True, False])
def test_normalised_space_is_noise_after_normalising(clamp):
    mean, std = [0.45], [0.2]
    under = gaussian(0, 0.1, clamp=clamp, space="normalised")
    noise = under.noise("d", ids, (1, 8, 8), 0, 0)
    seen = (under.apply(clean, noise, 0.1, mean, std) - 0.45) / 0.2
    theirs = (clean - 0.45) / 0.2 + 0.1 * noise

    torch.testing.assert_close(seen, theirs.clamp(0, 1) if clamp else theirs, rtol=1e-4, atol=1e-5)
    assert under.key(0.1) != gaussian(0, 0.1, clamp=clamp).key(0.1)
    assert under.apply(clean, noise, 0.0, mean, std) is clean


def test_an_unknown_space_is_an_error():
    with pytest.raises(UnknownName, match="did you mean pixels"):
        gaussian(0, 0.1, space="pixel")


@pytest.mark.parametrize(
    ("levels", "sentence"),
    [
        ((0.1, 0.2), "lack 0"),
        ((0, -0.1), "from 0 up"),
        ((0, float("nan")), "finite"),
        ((0, float("inf")), "finite"),
        ((0, 0.1, 0.1), "twice"),
        ((0, "a"), "finite"),
        ((0, True), "finite"),
    ],
)
def test_levels_that_are_none(levels, sentence):
    with pytest.raises(BadInput, match=sentence):
        gaussian(*levels)


def test_levels_are_sorted():
    assert gaussian(0.2, 0, 0.1).levels == (0.0, 0.1, 0.2)


def test_clean_images_depend_on_no_option():
    assert gaussian(0, 0.1, clamp=False).key(0.0) == gaussian(0, 0.1).key(0.0)
    assert gaussian(0, 0.1, clamp=False).key(0.1) != gaussian(0, 0.1).key(0.1)
