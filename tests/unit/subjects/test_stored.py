"""Stored precisions, and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from probes.errors import UnknownName
from probes.subjects.stored import pack, unpack


@given(st.integers(0, 2**31), st.sampled_from(["float32", "float16", "int8"]))
def test_storing_what_was_stored_changes_nothing(seed, stored):
    generator = torch.Generator().manual_seed(seed)
    state = {
        "w": torch.randn(4, 3, 3, 3, generator=generator),
        "b": torch.randn(4, generator=generator),
    }
    once = unpack(pack(state, stored))
    twice = unpack(pack(once, stored))

    for name in state:
        torch.testing.assert_close(twice[name], once[name], rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(
            once[name], state[name], rtol=0.01, atol=state[name].abs().max().item() / 120
        )


def test_counters_are_left_out():
    assert pack({"n": torch.tensor(3)}, "float16") == {}


def test_a_channel_of_zeros_stays_zero():
    assert unpack(pack({"w": torch.zeros(2, 3)}, "int8"))["w"].abs().max() == 0


def test_an_unknown_precision_is_an_error():
    with pytest.raises(UnknownName, match="did you mean int8"):
        pack({}, "int4")
