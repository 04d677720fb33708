"""Hooks are ours alone, and gone when the block ends."""

import numpy as np
import pytest
import torch
from torch import nn

from probes.errors import BadInput
from probes.hooks import Prefix, handles, refuse_wrapped
from probes.measure.modules import outputs
from probes.naming import modules, plain, twins
from probes.perturb.layers import layers_of
from probes.subjects.dataset import Dataset
from probes.subjects.epochs import initial
from probes.subjects.nets import Normalised


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


def test_handles_are_removed_however_they_came_into_the_list():
    layer = nn.Linear(2, 2)
    with handles() as held:
        held.append(layer.register_forward_hook(print))
        held.extend([layer.register_forward_hook(print)])
        held += [layer.register_forward_pre_hook(print)]

    assert not layer._forward_hooks
    assert not layer._forward_pre_hooks


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


def test_torchscript_is_refused_with_the_way_out():
    with pytest.raises(
        BadInput, match=r"module '0' is TorchScript.* pass the module that was scripted"
    ):
        refuse_wrapped(nn.Sequential(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2))))


def test_a_plain_model_is_not_refused():
    refuse_wrapped(nn.Sequential(nn.Linear(2, 2)))


@pytest.mark.parametrize(
    "net", ["resnet20", "plainnet20", "cnn", "vit_lite", "row_lstm", "mobilenet_v2"]
)
def test_a_pass_from_the_middle_is_bit_for_bit_the_whole_one(net):
    """For every layer in turn, with a change of its output: what runs before it is not computed
    again.
    """
    images = np.zeros((4, 3, 16, 16), np.uint8)
    data = Dataset(
        "made",
        "made",
        "test",
        images,
        np.arange(4),
        np.arange(4),
        tuple("0123456789"),
        (0.4,) * 3,
        (0.2,) * 3,
    )
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
            handle = module.register_forward_hook(
                lambda _, __, out: out * 1.5 if isinstance(out, torch.Tensor) else None
            )
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
    """A module that runs twice is where its first run begins: what lies between its runs depends on
    it.
    """

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
    """What is kept is what the layer gave, before the hook changed it; the hook then runs on what
    is given again.
    """
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
    model = nn.Sequential(
        nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True)), nn.Sequential(nn.Linear(2, 2))
    ).eval()
    prefix, x = Prefix(model), torch.ones(3, 2)
    with torch.inference_mode():
        with prefix.record():
            clean = model(x)
        with prefix.replay("1.0"):
            assert torch.equal(model(x), clean)

    assert sorted(prefix._kept) == ["0", "0.0", "0.1", "1", "1.0"]
    assert prefix.nbytes == 3 * 3 * 2 * 4


class Own(nn.Module):
    """A network that keeps its layers in an attribute called ``net``, as many do."""

    def __init__(self):
        super().__init__()
        self.net, self.head = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.net(x))


def test_trap_f15_a_users_own_net_keeps_its_name_and_no_two_modules_become_one():
    own, wrapped = Own().eval(), Normalised(Own(), (0.0,), (1.0,)).eval()

    assert list(modules(own)) == ["net", "net.0", "net.1", "head"]
    assert list(modules(wrapped)) == ["net", "net.0", "net.1", "head"]
    assert modules(wrapped)["net.0"] is wrapped.net.net[0]
    assert {plain(wrapped, name) for name, _ in wrapped.named_parameters()} == {
        n for n, _ in own.named_parameters()
    }


@pytest.mark.parametrize(
    "wrap", [lambda net: net, lambda net: Normalised(net, (0.0,), (1.0,))], ids=["bare", "wrapped"]
)
def test_trap_f15_passes_that_begin_in_a_users_own_net_are_the_whole_ones(wrap):
    model, x = wrap(Own()).eval(), torch.rand(3, 1, 1, 4)
    with torch.no_grad():
        whole, prefix = model(x), Prefix(model)
        with prefix.record():
            model(x)
        for layer in ("net.0", "net.1", "head"):
            with prefix.replay(layer):
                assert torch.equal(model(x), whole)


def shared():
    relu = nn.ReLU()
    return nn.Sequential(nn.Linear(4, 4), relu, nn.Linear(4, 4), relu).eval()


def test_trap_f16_a_module_that_stands_twice_has_both_names():
    known = modules(shared())

    assert list(known) == ["0", "1", "2", "3"]
    assert twins(known, "3") == ["1"]


@pytest.mark.parametrize("layer", ["1", "3"])
def test_trap_f16_reading_one_of_two_names_of_a_module_says_that_they_are_one(layer):
    net = shared()
    with (
        torch.no_grad(),
        pytest.raises(BadInput, match=rf"'{layer}' and '{4 - int(layer)}' are one module"),
        outputs(net, [layer]),
    ):
        net(torch.rand(2, 4))


def test_trap_f16_noise_on_the_second_name_of_a_module_says_that_they_are_one():
    assert list(layers_of(shared(), "ReLU")) == ["1"]
    with pytest.raises(BadInput, match="'1' and '3' are one module"):
        layers_of(shared(), "3")


def test_trap_f13_a_forward_that_somebody_put_on_a_module_is_there_after_a_replay_and_after_one_that_fails():  # noqa: E501
    model, x = Own().eval(), torch.rand(3, 4)
    real = model.net.forward
    model.net.forward = patched = lambda x: real(x) + 1.0
    with torch.no_grad():
        before, prefix = model(x), Prefix(model)
        with prefix.record():
            model(x)
        with prefix.replay("head"):
            assert torch.equal(model(x), before)
        with pytest.raises(RuntimeError), prefix.replay("head"):
            raise RuntimeError
        assert model.net.__dict__["forward"] is patched
        assert "forward" not in model.net[0].__dict__
        assert torch.equal(model(x), before)
