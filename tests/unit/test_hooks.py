"""Hooks are ours alone, and gone when the block ends."""

import pytest
import torch
from torch import nn

from probes.errors import BadInput
from probes.hooks import handles, refuse_wrapped


def test_trap_r05_our_hooks_go_and_the_users_stay():
    module = nn.Linear(2, 2)
    module.register_forward_hook(lambda *_: None)

    def work():
        with handles() as held:
            held.append(module.register_forward_hook(lambda *_: None))
            held.append(module.register_forward_pre_hook(lambda *_: None))
            assert len(module._forward_hooks) == 2
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        work()

    assert (len(module._forward_hooks), len(module._forward_pre_hooks)) == (1, 0)


def test_trap_r06_a_compiled_model_is_refused_with_the_way_out():
    with pytest.raises(BadInput, match="_orig_mod"):
        refuse_wrapped(torch.compile(nn.Linear(2, 2)))


def test_trap_r06_a_module_compiled_in_place_is_refused():
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].compile()
    with pytest.raises(BadInput, match="module '0' is compiled"):
        refuse_wrapped(model)


def test_trap_r07_data_parallel_is_refused_with_the_way_out():
    with pytest.raises(BadInput, match=r"\.module"):
        refuse_wrapped(nn.DataParallel(nn.Linear(2, 2)))


def test_a_plain_model_is_not_refused():
    refuse_wrapped(nn.Sequential(nn.Linear(2, 2)))
