"""Images reach a device as bytes, and are there what they are here."""

import numpy as np
import pytest
import torch

from probes.subjects import data, sending

BYTES = np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8)


def test_images_that_are_sent_are_the_same_to_the_last_bit(monkeypatch):
    here = sending.floats(BYTES)
    monkeypatch.setattr(sending, "HOST", set())
    sent = sending.floats(BYTES)

    assert (sent.dtype, sent.shape) == (torch.float32, (4, 1, 8, 8))
    assert torch.equal(here, sent)
    assert torch.equal(here, torch.from_numpy(BYTES).float().div_(255))


def test_bytes_go_over_and_not_floats(monkeypatch):
    sent = []
    to = torch.Tensor.to

    def watched(tensor, *args, **kwargs):
        sent.append((tensor.dtype, kwargs["non_blocking"]))
        return to(tensor, *args, **kwargs)

    monkeypatch.setattr(sending, "HOST", set())
    monkeypatch.setattr(torch.Tensor, "to", watched)
    sending.floats(BYTES)

    assert sent == [(torch.uint8, False)]


@pytest.mark.parametrize(("batch_size", "sizes"), [(40, [40]), (30, [20, 20]), (13, [10] * 4)])
def test_batches_for_averages_have_nearly_equal_sizes(batch_size, sizes):
    images = data.load("mnist5k").sample(40)
    found = list(sending.evenly(images, batch_size))

    assert [len(batch) for batch in found] == sizes
    assert torch.equal(torch.cat(found), sending.pixels(images))
