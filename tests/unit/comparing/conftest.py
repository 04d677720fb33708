"""Two small networks in memory on the embedded digits: one that was fitted, and damaged copies."""

import copy

import pytest
import torch
from torch import nn

from probes.store import Store
from probes.subjects import data


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A linear network, fitted to 1,000 digits by least squares: about three of four test digits
    right.
    """
    digits = data.load("mnist5k", "train", Store(tmp_path_factory.mktemp("store"))).sample(1000)
    x = torch.from_numpy(digits.images).flatten(1).double() / 255
    x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    y = torch.eye(10, dtype=x.dtype)[torch.from_numpy(digits.labels)]
    found = torch.linalg.solve(x.T @ x + torch.eye(785, dtype=x.dtype), x.T @ y).float()
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with torch.no_grad():
        net[1].weight.copy_(10 * found[:-1].T)
        net[1].bias.copy_(10 * found[-1])
    return net.eval()


@pytest.fixture(scope="module")
def damaged(fitted):
    """A copy in which a share of the weights is 0, drawn by a seed: ``damaged(.5)``."""

    def make(share, seed=0):
        net = copy.deepcopy(fitted)
        weight = net[1].weight
        hit = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) < share
        with torch.no_grad():
            weight.masked_fill_(hit, 0)
        return net

    return make
