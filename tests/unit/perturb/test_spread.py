"""The clean spread of layers: numpy's standard deviation, whatever the batching."""

import numpy as np
import pytest
import torch
from torch import nn

from probes.errors import BadInput, ProbesError
from probes.perturb.spread import layer_std


def spread_of(net, batches, names=("1",)):
    with (
        torch.inference_mode(),
        layer_std(net.eval(), {name: net.get_submodule(name) for name in names}) as read,
    ):
        for batch in batches:
            net(batch)
        return read()


def test_it_is_the_standard_deviation_over_all_images_and_places():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 6))
    x = torch.randn(30, 1, 2, 2) + 3
    with torch.inference_mode():
        out = net(x).double().numpy()

    assert spread_of(net, [x])["1"] == pytest.approx(np.std(out), rel=1e-6)
    assert spread_of(net, x.split(7))["1"] == pytest.approx(spread_of(net, [x])["1"], rel=1e-6)


def test_a_layer_that_did_not_run_or_gives_no_floats_is_named():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(ProbesError, match="'1' did not run"):
        spread_of(net, [])
    with pytest.raises(BadInput, match="'0' gives"):
        spread_of(
            nn.Sequential(nn.Flatten(), nn.Identity()),
            [torch.zeros(2, 1, 2, 2, dtype=torch.int64)],
            names=("0",),
        )
