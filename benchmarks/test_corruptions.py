"""What corrupting images costs, beside a pass of ResNet-18 over them, both at 32 px on one
thread.
"""

import pytest
import torch
from torchvision.models import resnet18

from probes.batch import Draw
from probes.errors import Unavailable
from probes.perturb.corrupting import CORRUPTIONS, corrupted_images

BATCH = 64


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return resnet18(num_classes=10).eval()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_beside_a_pass(ratio, threads, network, name):
    threads(1)
    images, ids = torch.rand(BATCH, 3, 32, 32), range(BATCH)

    def corrupt():
        return corrupted_images(images, ids, name, 3, Draw(0, "d", 0))

    try:
        corrupt()
    except Unavailable as missing:
        pytest.skip(str(missing))
    with torch.inference_mode():
        ratio(f"{name}, {BATCH} images of 32 px", corrupt, lambda: network(images), rounds=7)
