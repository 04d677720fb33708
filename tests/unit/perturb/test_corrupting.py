"""The published corruptions: named draws, bytes in and out, and what can be known of each."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probes import accuracy, corruption, corruptions, gaussian, quantised
from probes.batch import Draw
from probes.errors import BadInput, Unavailable, UnknownName
from probes.kept import Kept
from probes.lab import Lab
from probes.perturb import corrupting, pixelwise, weather
from probes.perturb.corrupting import CORRUPTIONS, FIFTEEN, corrupted_bytes, corrupted_images
from probes.perturb.drawing import Stream
from probes.perturb.published import PARAMETERS, table_of
from probes.run.cells import images_under

DRAW = Draw(0, "d", 0)
IDS = [3, 1, 4, 15, 9, 2]
PHOTOGRAPHS = weather.photographs


@pytest.fixture(scope="module", autouse=True)
def photographs():
    """Frost is laid on with photographs that are made up: the published ones may not be here."""
    g = np.random.default_rng(0)
    made = tuple(g.integers(0, 256, (400, 500, 3), np.uint8) for _ in weather.FROST)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(weather, "photographs", lambda: made)
        yield


def pictures(n=6, channels=3, side=16, seed=0):
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 5, 5, generator=g)
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear").clamp(0, 1)


def stream(*name):
    return Stream("test", *name)


def states():
    return torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_trap_n03_order_and_batch_size_change_no_draw(name):
    images = pictures()

    @settings(max_examples=8, deadline=None)
    @given(st.permutations(range(6)), st.integers(1, 6), st.integers(1, 5))
    def check(order, size, severity):
        whole = corrupted_images(images, IDS, name, severity, DRAW)
        for start in range(0, 6, size):
            part = list(order[start : start + size])
            found = corrupted_images(images[part], [IDS[i] for i in part], name, severity, DRAW)

            assert torch.equal(found, whole[part])

    check()


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_bytes_of_their_size_and_no_global_generator_is_touched(name, channels):
    images, before = pictures(3, channels), states()
    kept = images.clone()
    for severity in (1, 5):
        found = corrupted_images(images, IDS[:3], name, severity, DRAW)

        assert found.shape == images.shape
        assert found.dtype == torch.float32
        assert torch.equal((found * 255).round() / 255, found)
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
        assert channels == 1 or not torch.equal(found, images)
    assert torch.equal(images, kept)
    assert states() == before


DRAWN = tuple(
    n
    for n in CORRUPTIONS
    if n
    not in (
        *("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"),
        *("gaussian_blur", "saturate"),
    )
)


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize(
    "other", [Draw(1, "d", 0), Draw(0, "e", 0), Draw(0, "d", 1), Draw(0, "d", 0, run=7)]
)
def test_another_seed_dataset_or_draw_is_another_corruption_and_another_run_is_not(name, other):
    images = pictures(2, side=32)
    found = corrupted_images(images, IDS[:2], name, 3, other)

    assert torch.equal(found, corrupted_images(images, IDS[:2], name, 3, DRAW)) == (
        other.run is not None
    )


UNORDERED = ("elastic_transform", "spatter", "glass_blur", "saturate", "pixelate")
"""Corruptions whose published severities are not in the order of their distances."""


@pytest.mark.parametrize("name", [n for n in CORRUPTIONS if n not in UNORDERED])
@pytest.mark.parametrize("side", [28, 32, 96])
def test_a_higher_severity_is_further_from_the_clean_image(name, side):
    images = pictures(6, side=side)
    far = [
        float((corrupted_images(images, IDS, name, s, DRAW) - images).square().mean())
        for s in (1, 3, 5)
    ]

    assert far[0] < far[-1]


def test_the_tables_are_those_of_32_and_224_pixels():
    assert len(PARAMETERS) == 19
    assert len(FIFTEEN) == 15
    assert all(len(table) == 5 for both in PARAMETERS.values() for table in both.values())
    assert all(set(both) == {32, 224} for both in PARAMETERS.values())
    assert [table_of(side) for side in (1, 64, 65)] == [32, 32, 224]
    image = np.full((32, 32, 1), 200, np.uint8)
    for table, wanted in ((None, 200), (32, 200), (224, 200)):
        assert corrupted_bytes(image, "contrast", 5, stream(), table).max() in (wanted - 1, wanted)
    small, large = (corrupted_bytes(image, "brightness", 1, stream(), t).max() for t in (32, 224))
    assert (small, large) == (212, 225)


def test_noise_has_the_published_size():
    grey = np.full((200, 200, 1), 128.0)
    found = pixelwise.gaussian_noise(grey, 0.1, stream()) - grey
    speckle = pixelwise.speckle_noise(grey, 0.1, stream()) - grey
    shot = pixelwise.shot_noise(grey, 60, stream())
    hit = pixelwise.impulse_noise(grey, 0.27, stream()) != grey

    assert found.std() == pytest.approx(25.5, rel=0.02)
    assert speckle.std() == pytest.approx(12.8, rel=0.02)
    assert shot.mean() == pytest.approx(128, rel=0.01)
    assert shot.std() == pytest.approx(255 * np.sqrt(128 / 255 / 60), rel=0.02)
    assert hit.mean() == pytest.approx(0.27, abs=0.01)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 255), st.sampled_from([500, 60, 3]), st.integers(0, 100))
def test_photons_are_quantiles_of_the_poisson_distribution(value, c, seed):
    from scipy import stats

    image = np.full((4, 4, 1), float(value))
    u = stream(seed).uniform(4, 4, 1)
    wanted = np.clip(stats.poisson.ppf(u, value / 255 * c), 0, c) / c * 255

    np.testing.assert_allclose(pixelwise.shot_noise(image, c, stream(seed)), wanted)


@pytest.mark.parametrize("name", ["gaussian_blur", "defocus_blur", "zoom_blur", "motion_blur"])
@pytest.mark.parametrize("table", [32, 224])
def test_a_blur_leaves_an_even_image_as_it_is(name, table):
    image = np.full((40, 40, 3), 77, np.uint8)
    found = corrupted_bytes(image, name, 5, stream(), table).astype(int)

    assert abs(found - 77).max() <= 1


def test_glass_takes_colours_from_nearby():
    column = np.repeat(np.arange(32.0)[None], 32, 0)[:, :, None]
    found = pixelwise.glass_blur(column, (1e-6, 2, 1), stream())
    moved = found[3:-3, 3:-3, 0] - column[3:-3, 3:-3, 0]

    # a pixel that was moved already may be taken again, so that some come from further away
    assert np.isin(found.round(9), column).all()
    assert abs(moved).mean() < 2
    assert (moved != 0).mean() > 0.5


def test_hue_and_value_stay_where_saturation_changes():
    image = (pictures(1)[0].permute(1, 2, 0).numpy() * 255).astype(float)
    found = pixelwise.saturate(image, (0.3, 0), stream())
    value, saturation, hue = pixelwise._hue(image / 255)
    after = pixelwise._hue(found / 255)

    np.testing.assert_allclose(after[0], value)
    np.testing.assert_allclose(after[1], 0.3 * saturation, atol=1e-12)
    np.testing.assert_allclose(after[2], hue, atol=1e-9)
    np.testing.assert_allclose(pixelwise.saturate(image, (1, 0), stream()), image)
    np.testing.assert_allclose(pixelwise.brightness(image, 0.0, stream()), image)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([8, 16, 64]), st.floats(1.3, 3), st.integers(0, 100))
def test_fog_is_a_height_map_between_0_and_1_that_is_rougher_for_less_decay(side, decay, seed):
    heights = weather.plasma(side, decay, stream(seed))

    assert (heights.shape, heights.min(), heights.max()) == ((side, side), 0, 1)


def test_an_affine_map_takes_points_to_points():
    start, end = np.array([[0.0, 0], [1, 0], [0, 1]]), np.array([[2.0, 3], [5, 4], [1, 9]])
    found = weather._affine(start, end)

    np.testing.assert_allclose(np.column_stack([start, np.ones(3)]) @ found.T, end)


def test_edges_of_a_square_are_its_outline():
    image = np.zeros((20, 20), np.uint8)
    image[5:15, 5:15] = 200
    found = weather.edges(image)

    assert found[4:16, 4:16].sum() == found.sum() >= 36
    assert not found[8:12, 8:12].any()


def test_frost_without_its_photographs_is_refused_with_the_command(monkeypatch):
    monkeypatch.setattr(weather.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"pip install 'neural-probes\[corruptions\]'"):
        PHOTOGRAPHS.__wrapped__()


def test_what_is_none_is_refused():
    with pytest.raises(UnknownName, match="did you mean fog"):
        corruption("fogg")
    for severity in (0.5, 6, -1, (1, 1)):
        with pytest.raises(BadInput, match="whole numbers from 1 to 5"):
            corruption("fog", severity=severity)
    with pytest.raises(BadInput, match="32 and 224"):
        corruption("fog", table=64)
    with pytest.raises(BadInput, match="one or more"):
        corruption()
    with pytest.raises(BadInput, match="they have one or three"):
        corrupted_images(torch.rand(1, 2, 8, 8), [0], "fog", 1, DRAW)


def test_each_corruption_is_an_arm_and_one_is_none():
    every = corruptions(severity=(1, 5))

    assert [name for name, _ in every.arms(None)] == list(FIFTEEN)
    assert every.column == "corruption"
    assert len(corruptions(extra=True).names) == 19
    assert corruption("fog").column is None
    assert corruption("fog", "snow").column == "corruption"


def test_a_sweep_has_an_arm_per_corruption_and_level_0_is_clean(tmp_path):
    lab = Lab("resnet20@mnist5k", images=40, store=tmp_path, quiet=True)
    frame = lab.sweep(accuracy, under=corruption("contrast", "fog", severity=(1, 5))).frame
    clean = lab.sweep(accuracy, under=gaussian(0)).frame
    right = frame.groupby(["corruption", "level"], observed=True)["correct"].mean()

    for name in ("contrast", "fog"):
        part = frame[(frame["corruption"] == name) & (frame["level"] == 0)]
        assert part["loss"].tolist() == clean["loss"].tolist()
    assert right["fog", 5.0] < right["fog", 1.0] <= right["fog", 0.0]


def test_a_corruption_and_low_precision_are_one_perturbation(tmp_path):
    lab = Lab("resnet20@mnist5k", images=40, store=tmp_path, quiet=True)
    both = quantised(bits=(8, 2)) & corruption("gaussian_noise", severity=5, table=224)
    frame = lab.sweep(accuracy, under=both).frame
    loss = frame.groupby("level")["loss"].mean()

    assert both.levels == (0.0, 24.0, 30.0)
    assert loss[0.0] < loss[24.0] != loss[30.0]
    assert frame.loc[frame["level"] == 24, "sigma_realised"].gt(0.1).all()


@pytest.fixture
def made(monkeypatch):
    """How many images were corrupted, by the corruption."""
    counted = []
    clean = corrupting.corrupted_bytes

    def count(image, name, *rest):
        counted.append(name)
        return clean(image, name, *rest)

    monkeypatch.setattr(corrupting, "corrupted_bytes", count)
    return counted


def test_an_image_is_corrupted_once_for_all_networks_of_a_table(made, tmp_path):
    lab = Lab(["resnet20@mnist5k#0", "plainnet20@mnist5k#0"], tmp_path, images=20, quiet=True)
    lab.sweep(accuracy, under=corruption("fog", "contrast", severity=3)).frame  # noqa: B018

    assert len(made) == 2 * 20
    assert {made.count(name) for name in ("fog", "contrast")} == {20}


def test_other_images_under_the_same_names_are_corrupted_anew(made):
    kept, under = Kept(), corruption("contrast", severity=3)
    first, second = (pictures(2, seed=seed) for seed in (0, 1))
    found = [
        images_under(under, images, np.array([3, 1]), 3.0, DRAW, (0.0,), (1.0,), kept)
        for images in (first, second, first)
    ]

    assert len(made) == 4
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], corrupted_images(second, [3, 1], "contrast", 3, DRAW))
