"""Anybody's transform: one line, named draws, and a refusal of what draws otherwise."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from probes import accuracy, gaussian, transform
from probes.batch import Batch, Draw
from probes.errors import BadInput
from probes.kept import Kept
from probes.lab import Lab
from probes.perturb import Pass
from probes.perturb.transforming import drawn_globally, seeded
from probes.run.cells import images_under

IDS = [3, 1, 4, 15, 9, 2]
IMAGES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def seen(under, ids=IDS, images=IMAGES, level=1.0, draw=Draw(0, "d", 0)):  # noqa: B008
    return images_under(under, images, np.array(ids), level, draw, (0.0,), (1.0,))


def noisy(image, level, rng):
    return (image + level * torch.from_numpy(rng.normal(size=image.shape)).float()).clamp(0, 1)


def noisy_by_torch(image, level, rng):
    return (image + level * torch.randn(image.shape, generator=rng)).clamp(0, 1)


OURS = [
    transform(noisy, levels=(0, 1)),
    transform(noisy_by_torch, levels=(0, 1), rng="torch"),
    transform(v2.RandomRotation(90)),
    transform(v2.Compose([v2.RandomHorizontalFlip(), v2.GaussianBlur(3), v2.ColorJitter(0.5)])),
]


@pytest.mark.parametrize("under", OURS, ids=["numpy", "torch", "rotation", "several"])
def test_trap_n03_order_and_batch_size_change_no_draw(under):
    @settings(max_examples=10, deadline=None)
    @given(st.permutations(range(6)), st.integers(1, 6))
    def check(order, size):
        whole = seen(under)
        for start in range(0, 6, size):
            part = list(order[start : start + size])

            assert torch.equal(seen(under, [IDS[i] for i in part], IMAGES[part]), whole[part])

    check()


@pytest.mark.parametrize("under", OURS, ids=["numpy", "torch", "rotation", "several"])
def test_global_generators_and_images_are_left_alone_and_draws_have_names(under):
    def states():
        return torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()

    before, kept = states(), IMAGES.clone()
    whole = seen(under)

    assert states() == before
    assert torch.equal(IMAGES, kept)
    assert not torch.equal(whole, seen(under, draw=Draw(0, "d", 1)))
    assert not torch.equal(whole, seen(under, draw=Draw(1, "d", 0)))
    assert seen(under, level=0.0) is IMAGES


def test_a_transform_of_torchvision_is_that_transform():
    image = IMAGES[:1]

    assert torch.equal(
        seen(transform(v2.GaussianBlur(3, 1.0)), IDS[:1], image),
        v2.functional.gaussian_blur(image, [3, 3], [1.0, 1.0]),
    )
    level = transform(lambda x, level, rng: v2.functional.adjust_brightness(x, 1 - level), (0, 0.5))
    torch.testing.assert_close(seen(level, level=0.5), IMAGES * 0.5)


def test_the_draw_is_common_to_all_levels():
    under = transform(noisy, levels=(0, 0.001, 0.002))
    inside = IMAGES.clamp(0.1, 0.9)
    one, two = (seen(under, images=inside, level=v) - inside for v in (0.001, 0.002))

    torch.testing.assert_close(two, 2 * one, rtol=1e-3, atol=1e-6)


def by_torch(image, level, rng):
    return torch.rand(image.shape)


def by_numpy(image, level, rng):
    return torch.from_numpy(np.random.uniform(size=image.shape)).float()


def by_random(image, level, rng):
    return image * random.random()


def by_itself(image, level, rng):
    return torch.from_numpy(np.random.default_rng().uniform(size=image.shape)).float()


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (by_torch, "by_torch draws from the global generator of torch"),
        (by_numpy, "global generator of numpy.random"),
        (by_random, "global generator of random"),
        (by_itself, "by_itself draws at random by itself"),
        (lambda image, level, rng: image[:, :4], r"gives \(3, 4, 8\) for an image of \(3, 8, 8\)"),
        (lambda image, level, rng: image * 9, r"gives values from .* an image lies in \[0, 1\]"),
        (lambda image, level, rng: None, "gives NoneType"),
        (lambda image, level, rng: image * float("nan"), "gives values from nan"),
    ],
)
def test_what_draws_otherwise_or_gives_no_image_is_refused(function, sentence):
    with pytest.raises(BadInput, match=sentence):
        seen(transform(function))


def test_what_is_none_is_refused():
    for given_, sentence in (
        (lambda: transform("blur"), "a transform of an image, or a function"),
        (lambda: transform(v2.GaussianBlur(3), levels=(0, 1, 2)), "takes an image only"),
        (lambda: transform(noisy, levels=(1, 2)), "ascend from 0"),
        (lambda: transform(noisy, rng="jax"), "'numpy' or 'torch'"),
    ):
        with pytest.raises(BadInput, match=sentence):
            given_()


def test_the_key_knows_the_code_and_the_settings_of_a_transform():
    one, other = (transform(v2.GaussianBlur(3, s)).key(1.0) for s in (1.0, 2.0))

    assert one != other
    assert one == transform(v2.GaussianBlur(3, 1.0)).key(1.0)
    assert transform(noisy).key(1.0) != transform(noisy_by_torch).key(1.0)
    assert transform(noisy).key(0.0) == transform(noisy_by_torch).key(0.0)


def test_seeding_is_undone_also_after_an_exception():
    before = torch.get_rng_state()
    with pytest.raises(ValueError), seeded(5):
        float(torch.rand(1) * int("x"))

    assert torch.equal(torch.get_rng_state(), before)
    assert drawn_globally(lambda: torch.rand(1))[1] == "torch"
    assert drawn_globally(lambda: 7) == (7, "")


def test_a_transform_is_swept_in_one_line_and_its_clean_pass_is_everybodys(tmp_path):
    lab = Lab("resnet20@mnist5k", images=40, store=tmp_path, quiet=True)
    frame = lab.sweep(accuracy, under=transform(v2.RandomRotation((60, 90)))).frame
    clean = lab.sweep(accuracy, under=gaussian(0)).frame
    right = frame.groupby("level")["correct"].mean()

    assert frame.loc[frame["level"] == 0, "loss"].tolist() == clean["loss"].tolist()
    assert right[1.0] < right[0.0] - 0.2


def test_a_batch_of_one_level_runs_the_network_on_what_it_saw():
    ran = []
    at = Pass(torch.nn.Identity(), 1.0, Draw(0, "d", 0), Kept(), torch.Tensor.clone, ran.append)
    with transform(noisy).open(at) as forward:
        found = forward(Batch.of(IDS, images=IMAGES))

    assert ran[0] is found
