"""Where a network runs, and what is said of one that runs on two devices at once."""

from types import SimpleNamespace

import pytest
import torch

from probes.errors import BadInput
from probes.run.device import on_one_device


def test_a_forward_that_makes_tensors_elsewhere_is_named_with_a_way_out():
    """Torch's own words, from a machine with a GPU."""
    words = "Expected all tensors to be on the same device, but found at least two devices, cuda:0"
    subject = SimpleNamespace(spec="mine:net@mnist5k")

    with pytest.raises(BadInput, match=r"mine:net@mnist5k makes tensors.*--probes-device cpu"):  # noqa: SIM117
        with on_one_device(subject):
            raise RuntimeError(words)
    with pytest.raises(RuntimeError, match="shape"), on_one_device(subject):
        raise RuntimeError("a shape is wrong")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_torch_still_says_so_in_these_words():
    subject = SimpleNamespace(spec="mine:net@mnist5k")
    with pytest.raises(BadInput, match="makes tensors on another device"), on_one_device(subject):
        torch.ones(2, device="cuda") + torch.ones(2)
