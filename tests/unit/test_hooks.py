"""Hooks are ours alone, and gone when the block ends."""

import numpy as np
import pytest
import torch
from torch import nn

from probes.errors import BadInput
from probes.hooks import Prefix, handles, refuse_wrapped
from probes.subjects.data import Dataset
from probes.subjects.training import initial


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


@pytest.mark.parametrize("net", ["resnet20", "plainnet20", "cnn", "vit_lite", "row_lstm", "mobilenet_v2"])
def test_a_pass_from_the_middle_is_bit_for_bit_the_whole_one(net):
    """For every layer in turn, with a change of its output: what runs before it is not computed again."""
    images = np.zeros((4, 3, 16, 16), np.uint8)
    data = Dataset("made", "made", "test", images, np.arange(4), np.arange(4), tuple("0123456789"), (0.4,) * 3, (0.2,) * 3)
    model = initial(net, data, 0).eval()
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    prefix = Prefix(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.inference_mode():
        with prefix.record():
            clean = model(x)
        assert torch.equal(model(x), clean)
        for name, module in model.named_modules():
            if name in ("", "net") or name not in prefix._began or isinstance(module, nn.RNNBase):
                continue
            handle = module.register_forward_hook(lambda _, __, out: out * 1.5 if isinstance(out, torch.Tensor) else None)
            whole = model(x)
            for through in (False, True):
                with prefix.replay(name.removeprefix("net."), through=through):
                    assert torch.equal(model(x), whole)
            handle.remove()
        assert torch.equal(model(x), clean)

    assert not any("forward" in vars(m) for m in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_replayed_pass_does_not_compute_what_comes_before():
    ran = []
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(4))).eval()
    for i, module in enumerate(model):
        module.weight.register_hook(lambda _: None)
        module.register_forward_hook(lambda *_, i=i: ran.append(i))
    prefix = Prefix(model)
    with torch.no_grad(), prefix.record():
        model(torch.ones(1, 2))
    with torch.no_grad(), prefix.replay("2"):
        model(torch.full((1, 2), float("nan")))  # the input is not looked at
        found = model(torch.full((1, 2), float("nan")))

    assert found.isfinite().all()
    assert prefix.nbytes == 4 * 2 * 4


def test_a_pass_that_begins_where_a_layer_ends_does_not_compute_it():
    """A module that runs twice is where its first run begins: what lies between its runs depends on it."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.first, self.second = nn.ReLU(), nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.act(self.second(self.act(self.first(x))))

    model, x, nothing = Twice().eval(), torch.ones(3, 2), torch.full((3, 2), float("nan"))
    prefix = Prefix(model)
    with torch.no_grad(), prefix.record():
        clean = model(x)
    with torch.no_grad(), prefix.replay("second", "first", through=True):
        assert torch.equal(model(nothing), clean)
    handle = model.act.register_forward_hook(lambda _, __, out: out * 2)
    with torch.no_grad():
        whole = model(x)
        with prefix.replay("act", through=True):
            assert torch.equal(model(nothing), whole)
    handle.remove()


def test_a_hook_of_the_users_own_runs_once_in_a_replayed_pass():
    """What is kept is what the layer gave, before the hook changed it; the hook then runs on what is given again."""
    model, x = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).eval(), torch.ones(3, 2)
    model[0].register_forward_hook(lambda _, __, out: out + 1)
    prefix = Prefix(model)
    with torch.no_grad():
        with prefix.record():
            whole = model(x)
        with prefix.replay("1"):
            assert torch.equal(model(x), whole)
    assert len(model[0]._forward_hooks) == 1


def test_replay_is_over_after_an_exception_and_refuses_what_did_not_run():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).eval()
    prefix = Prefix(model)
    with pytest.raises(BadInput, match="did not run"), prefix.replay("1"):
        pass
    with torch.no_grad(), prefix.record():
        model(torch.ones(1, 2))
    with pytest.raises(KeyboardInterrupt), prefix.replay("1"):
        raise KeyboardInterrupt

    assert not any("forward" in vars(m) for m in model)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model)


def test_what_a_stage_and_its_last_member_give_is_kept_once():
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True)), nn.Sequential(nn.Linear(2, 2))).eval()
    prefix, x = Prefix(model), torch.ones(3, 2)
    with torch.inference_mode():
        with prefix.record():
            clean = model(x)
        with prefix.replay("1.0"):
            assert torch.equal(model(x), clean)

    assert sorted(prefix._kept) == ["0", "0.0", "0.1", "1", "1.0"]
    assert prefix.nbytes == 3 * 3 * 2 * 4
