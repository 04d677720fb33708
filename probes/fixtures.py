"""Plain fixtures for a loop of one's own: ``model``, ``images``, ``noisy_loader``, ``device``.

They are there where a project asks for them, by one line in its ``conftest.py``, so that nobody's
own ``model`` meets ours::

    pytest_plugins = ["probes.fixtures"]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from probes.lab import Lab
    from probes.run.settings import Options

__all__ = ["device", "images", "model", "noisy_loader"]


@pytest.fixture
def device(_probes_options: Options) -> torch.device:
    """The device that claims run on: the one asked for, else cuda, else mps, else cpu."""
    import torch

    return torch.device(_probes_options.where.device)


@pytest.fixture
def model(_probes_lab: Lab, device: torch.device) -> nn.Module:
    """The pretrained network of the (first) subject, in eval mode on the device, for images in [0,
    1].
    """
    return next(iter(_probes_lab.subjects.values())).model.to(device)


@pytest.fixture
def images(noisy_loader: Callable[[float], Iterator[tuple[Tensor, Tensor]]]) -> Tensor:
    """The clean test images of the (first) subject: float32 (N, C, H, W) in [0, 1], on the
    device."""
    import torch

    return torch.cat([x for x, _ in noisy_loader(0)])


@pytest.fixture
def noisy_loader(
    _probes_lab: Lab, device: torch.device
) -> Callable[[float], Iterator[tuple[Tensor, Tensor]]]:
    """``noisy_loader(sigma)`` yields batches (images, labels) on the device; an image has the same
    noise at any sigma.
    """
    from probes.run.engine import loader

    data = next(iter(_probes_lab.subjects.values())).data
    options = _probes_lab.options
    return lambda sigma: loader(data, sigma, options.where.batch_size, device, options.seed)
