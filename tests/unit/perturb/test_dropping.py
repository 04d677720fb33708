"""Dropout that stays on: named masks, the same whatever the batch, nested over rates."""

import numpy as np
import pytest
import torch
from torch import nn

from probes import Lab, dropout
from probes.batch import Batch, Draw
from probes.errors import BadInput
from probes.kept import Kept
from probes.measure import Predictions
from probes.perturb import layer_noise
from probes.perturb.layers import default_layers
from probes.perturb.protocol import Pass

IMAGES = torch.rand(30, 1, 6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(30) % 3


def net(*, spatial=False, p=0.2):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.Dropout2d(p) if spatial else nn.Dropout(p),
        nn.Flatten(),
        nn.Linear(64, 3),
    ).eval()


def losses(tmp_path, model, under, **options):
    how = {"quiet": True, "say": lambda _: None, "threads": 1} | options
    lab = Lab(model, (IMAGES, LABELS), tmp_path, **how)
    frame = lab.sweep(Predictions(floor=None), under=under, draws=2).frame
    return frame.sort_values(["level", "draw", "image"])


def passed(model, under, level, images):
    """What a model gives under dropout at a level."""
    seen, ids = [], np.arange(len(images))
    at = Pass(model, level, Draw(0, 0, "d"), Kept(), lambda x: x, lambda x: seen.append(model(x)))
    with under.resolved(model).open(at) as forward, torch.no_grad():
        forward(Batch(images, ids, np.zeros(len(images), int)))
    return seen[0]


def test_outputs_are_dropped_at_the_level_and_the_others_scaled_and_rates_are_nested():
    model, ones = nn.Sequential(nn.Dropout(0.5)).eval(), torch.ones(30, 4, 6, 6)
    masks = {level: passed(model, dropout(0, 0.25, 0.5), level, ones) for level in (0.25, 0.5)}
    for level, mask in masks.items():
        assert mask.unique().tolist() == pytest.approx([0.0, 1 / (1 - level)])
        assert abs((mask == 0).float().mean() - level) < 0.03
    assert bool(((masks[0.25] == 0) <= (masks[0.5] == 0)).all())


def test_level_0_is_the_network_as_it_is_and_draws_differ(tmp_path):
    frame = losses(tmp_path, net(), dropout(0, 0.3))
    logits = net()((IMAGES * 255).round() / 255)
    wanted = nn.functional.cross_entropy(logits, LABELS, reduction="none").detach().numpy()
    clean = frame[(frame.level == 0) & (frame.draw == 0)]
    noisy = [frame[(frame.level == 0.3) & (frame.draw == d)]["loss"].to_numpy() for d in (0, 1)]

    assert np.allclose(clean["loss"], wanted, atol=1e-6)
    assert not np.allclose(noisy[0], noisy[1])
    assert not np.allclose(noisy[0], wanted)


def test_what_is_dropped_does_not_depend_on_the_batch(tmp_path):
    found = [
        losses(tmp_path / str(n), net(), dropout(0, 0.3), batch_size=n)["loss"] for n in (7, 30)
    ]
    assert np.allclose(*found, atol=1e-6)


def test_layers_for_channels_drop_whole_channels():
    model = nn.Sequential(net(spatial=True)[1]).eval()
    out = passed(model, dropout(0, 0.5), 0.5, torch.ones(8, 4, 3, 3))
    sums = out.sum((2, 3)).unique().tolist()
    assert sums == [0.0, 18.0]


def test_a_network_without_dropout_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(BadInput, match=r"no dropout layer .* on='Linear'"):
        losses(tmp_path, net(p=0.0), dropout(0, 0.1))
    assert len(losses(tmp_path, net(p=0.0), dropout(0, 0.1, on="0")))


@pytest.mark.parametrize("rates", [(0.1,), (0, 1.0), (0, -0.1), (0, 0.1, 0.1)])
def test_rates_that_are_none(rates):
    with pytest.raises(BadInput, match="dropout at"):
        dropout(*rates)


# --- the default layers of layer noise


def norm(kind):
    return nn.Sequential(nn.Conv2d(1, 4, 3), kind, nn.Flatten(), nn.Linear(64, 3))


class FrozenBatchNorm(nn.Module):
    def forward(self, x):
        return x


@pytest.mark.parametrize(
    ("kind", "words", "names"),
    [
        (nn.BatchNorm2d(4), ["BatchNorm2d"], ["1"]),
        (nn.GroupNorm(2, 4), ["norm layers"], ["1"]),
        (nn.SyncBatchNorm(4), ["norm layers"], ["1"]),
        (FrozenBatchNorm(), ["norm layers"], ["1"]),
        (nn.LayerNorm([4, 4, 4]), ["norm layers"], ["1"]),
        (nn.Identity(), ["convolutions and linear layers"], ["0", "3"]),
    ],
)
def test_noise_goes_after_norms_of_every_spelling_else_after_weights(kind, words, names):
    model = norm(kind)
    assert [getattr(w, "__name__", w) for w in default_layers([model])] == words
    assert list(layer_noise(0, 0.1).resolved(model).on) == names


def test_the_page_says_where_the_noise_is(tmp_path):
    lab = Lab(norm(nn.GroupNorm(2, 4)).eval(), (IMAGES, LABELS), tmp_path, quiet=True)
    table = lab.sweep(Predictions(floor=None), under=layer_noise(0, 0.1))
    assert "on the outputs of norm layers" in table.design.perturbation
    assert len(table.frame)
