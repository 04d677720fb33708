"""Taps read the right tensors, and leave nothing behind."""

import hashlib

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet, resnet18

from probes.errors import BadInput, ProbesError, UnknownName
from probes.measure import BlockAdapter, block_sites, register_block, tap
from probes.subjects.nets import CifarNet


def net(**kwargs):
    torch.manual_seed(0)
    model = CifarNet(1, 10, blocks=2, width=4, **kwargs)
    for m in model.modules():  # statistics as after training, so that h has both signs
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.3)
            m.running_var.uniform_(0.5, 2)
    return model.eval()


def torchvision_net(block=BasicBlock):
    torch.manual_seed(0)
    return ResNet(block, [1, 1, 1, 1], num_classes=10).eval()


x = torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(1))
colour = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def state(model):
    """Everything that a probe could leave behind: parameters, buffers, modes, hooks."""
    h = hashlib.sha256()
    for name, t in model.state_dict().items():
        h.update(name.encode() + t.numpy().tobytes())
    for name, m in model.named_modules():
        hooks = [
            len(getattr(m, a))
            for a in (
                "_forward_hooks",
                "_forward_pre_hooks",
                "_backward_hooks",
                "_backward_pre_hooks",
            )
        ]
        h.update(repr((name, m.training, hooks, sorted(vars(m)))).encode())
    return h.hexdigest()


@pytest.mark.parametrize(
    ("make", "images"),
    [(net, x), (torchvision_net, colour), (lambda: torchvision_net(Bottleneck), colour)],
)
def test_trap_r01_h_and_the_sum_are_read_before_they_are_overwritten(make, images):
    """A hook that keeps bn2's output finds no negative value left in it."""
    model = make()
    with torch.no_grad(), tap(model) as seen:
        model(images)

    for streams in seen.values():
        assert (streams["h"] < 0).any()
        assert (streams["sum"] < 0).any()
        assert torch.equal(streams["x"] + streams["h"], streams["sum"])
        assert torch.equal(streams["sum"].relu(), streams["out"])


def test_trap_r01_a_reference_to_h_is_overwritten_by_the_block_itself():
    model, kept = torchvision_net(), []
    model.layer1[0].bn2.register_forward_hook(lambda _, __, out: kept.append(out))
    with torch.no_grad(), tap(model, ["layer1.0"]) as seen:
        model(colour)

    assert not (kept[0] < 0).any()
    assert not torch.equal(kept[0], seen["layer1.0"]["h"])


def test_trap_r02_the_relu_runs_twice_and_its_input_is_its_output():
    model, inputs = torchvision_net(), []
    model.layer1[0].relu.register_forward_hook(
        lambda _, i, out: inputs.append((i[0].data_ptr(), out.data_ptr()))
    )
    with torch.no_grad(), tap(model, ["layer1.0"]) as seen:
        model(colour)

    assert len(inputs) == 2
    assert all(i == o for i, o in inputs)
    assert (seen["layer1.0"]["sum"] < 0).any()


@pytest.mark.filterwarnings("ignore")
def test_trap_r03_the_extractor_of_torchvision_returns_the_tensor_after_the_relu():
    from torchvision.models.feature_extraction import create_feature_extractor

    model = torchvision_net()
    with torch.no_grad():
        extracted = create_feature_extractor(model, ["layer1.0.add", "fc"])(colour)["layer1.0.add"]
        with tap(model, ["layer1.0"]) as seen:
            model(colour)

    assert not (extracted < 0).any()
    assert torch.equal(extracted, seen["layer1.0"]["out"])


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return torch.relu(x + self.conv(x))


def test_trap_r04_an_unknown_block_is_read_by_its_sum_never_guessed():
    model = nn.Sequential(Functional()).eval()
    with torch.no_grad(), tap(model) as seen:
        model(x)
    assert all(torch.allclose(s["x"] + s["h"], s["sum"]) for s in seen.values())
    unknown = pytest.raises(UnknownName, match="unknown residual sum 'nowhere'")
    with unknown, torch.no_grad(), tap(model, ["nowhere"]):
        model(x)


class OwnForward(BasicBlock):
    def forward(self, x):
        return x


def test_trap_r04_a_subclass_with_a_forward_of_its_own_is_another_block():
    assert block_sites(nn.Sequential(OwnForward(4, 4))) == {}
    assert list(block_sites(nn.Sequential(type("Same", (BasicBlock,), {})(4, 4)))) == ["0"]


class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.act = nn.Conv2d(1, 1, 3, padding=1), nn.ReLU()

    def forward(self, x):
        return self.act(self.f(x) + x)


def test_a_block_type_can_be_taught():
    register_block(Mine, BlockAdapter(branch="f", relu="act"))
    model = nn.Sequential(Mine()).eval()
    with torch.no_grad(), tap(model) as seen:
        model(x)

    assert torch.equal(seen["0"]["h"] + x, seen["0"]["sum"])
    with pytest.raises(BadInput, match="already registered"):
        register_block(Mine, BlockAdapter(branch="act", relu="act"))


def test_an_adapter_that_counts_wrong_is_an_error():
    class Twice(Mine):
        def forward(self, x):
            return self.act(self.act(self.f(x)) + x)

    register_block(Twice, BlockAdapter(branch="f", relu="act"))
    model = nn.Sequential(Twice()).eval()
    with torch.no_grad(), pytest.raises(ProbesError, match=r"calls=\.\.\."), tap(model):
        model(x)


def test_a_plain_block_has_h_and_the_sum_is_h():
    model = net(residual=False)
    with torch.no_grad(), tap(model) as seen:
        model(x)

    for streams in seen.values():
        assert "x" not in streams
        assert torch.equal(streams["h"], streams["sum"])


class Stop(Exception):
    pass


def failing(where, model):
    def stop(*_):
        raise {"interrupt": KeyboardInterrupt}.get(where, Stop)

    block = model.layer2[0]
    if where == "forward":
        block.conv2.forward = stop
        return lambda: block.conv2.__dict__.pop("forward")
    handle = (block.bn2 if where != "root" else model).register_forward_hook(stop)
    return handle.remove


@pytest.mark.parametrize("where", ["forward", "user hook", "interrupt", "root"])
def test_trap_r05_nothing_is_left_behind_after_an_exception(where):
    model = net()
    before = state(model)
    undo = failing(where, model)
    with pytest.raises((Stop, KeyboardInterrupt)), torch.no_grad(), tap(model):
        model(x)
    undo()

    assert state(model) == before


def test_trap_r05_nothing_is_left_behind_after_an_exception_in_our_own_hook():
    model = net()
    before = state(model)

    def reduce(part, tensor):
        raise Stop

    with pytest.raises(Stop), torch.no_grad(), tap(model, reduce=reduce):
        model(x)

    assert state(model) == before


def test_trap_r05_nested_taps_and_a_generator_that_is_closed_early_leave_nothing_behind():
    model = net()
    before = state(model)

    def passes():
        with torch.no_grad(), tap(model) as outer, tap(model, ["layer1.0"]) as inner:
            while True:
                model(x)
                yield outer, inner

    generator = passes()
    outer, inner = next(generator)
    assert torch.equal(outer["layer1.0"]["h"], inner["layer1.0"]["h"])
    generator.close()

    assert state(model) == before


def test_the_output_of_the_model_is_not_changed_by_a_tap():
    model = net()
    with torch.no_grad():
        plain = model(x)
        with tap(model):
            tapped = model(x)

    assert torch.equal(plain, tapped)


def test_a_second_pass_fills_the_dictionary_anew():
    model = net()
    with torch.no_grad(), tap(model, ["layer1.0"]) as seen:
        model(x)
        first = seen["layer1.0"]["h"]
        model(x[:1])

    assert len(first) == 3
    assert len(seen["layer1.0"]["h"]) == 1


def test_trap_n07_a_model_in_training_mode_is_refused():
    model = net().train()
    before = state(model)
    with pytest.raises(BadInput, match=r"model.eval\(\)"), tap(model):
        pass

    assert state(model) == before


def test_an_unknown_site_names_the_nearest():
    with pytest.raises(UnknownName, match=r"did you mean layer1\.0"), tap(net(), ["layer1.00"]):
        pass


def test_a_module_that_is_no_block_is_refused_as_a_site():
    with pytest.raises(BadInput, match="'fc' is a Linear"), tap(net(), ["fc"]):
        pass


def test_a_block_that_runs_twice_is_refused():
    class Again(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Mine()

        def forward(self, x):
            return self.block(self.block(x))

    model = Again().eval()
    with torch.no_grad(), pytest.raises(ProbesError, match="more than once"), tap(model):
        model(x)


def test_a_block_that_does_not_run_is_named():
    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = Mine(), Mine()

        def forward(self, x):
            return self.used(x)

    model = Skips().eval()
    with torch.no_grad(), pytest.raises(ProbesError, match="'idle' did not run"), tap(model):
        model(x)


def test_compiled_and_data_parallel_models_are_refused():
    for wrapped in (torch.compile(net()), nn.DataParallel(net())):
        with pytest.raises(BadInput), tap(wrapped):
            pass


def test_torchvisions_resnet18_has_eight_blocks():
    assert len(block_sites(resnet18(num_classes=10))) == 8


def test_trap_r04_a_block_with_a_forward_of_its_own_beside_known_ones_is_named():
    model = torchvision_net()
    model.layer4[0] = OwnForward(256, 512).eval()
    with pytest.raises(BadInput, match=r"'layer4\.0' is a OwnForward"), tap(model):
        pass
    with tap(model, ["layer1.0"]):
        pass


def test_a_relu_that_blocks_share_is_read_in_its_own_block_only():
    class Shared(Mine):
        forward = Mine.forward

    register_block(Shared, BlockAdapter(branch="f", relu="act"))
    act = nn.ReLU()
    model = nn.Sequential(Shared(), Shared()).eval()
    model[0].act = model[1].act = act.eval()
    with torch.no_grad(), tap(model) as seen:
        model(x)

    assert torch.equal(seen["0"]["sum"], model[0].f(x) + x)
    assert torch.equal(seen["1"]["sum"], model[1].f(seen["0"]["out"]) + seen["0"]["out"])


class Scaled(nn.Module):
    """A block on vectors whose sum is scaled before its ReLU."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.f, self.act, self.scale = nn.Linear(4, 4), nn.ReLU(), scale

    def forward(self, x):
        return self.act((self.f(x) + x) * self.scale)


register_block(Scaled, BlockAdapter(branch="f", relu="act"))


def test_streams_of_vectors_are_read_and_one_without_a_batch_is_refused():
    model = nn.Sequential(Scaled()).eval()
    with torch.no_grad(), tap(model) as seen:
        model(torch.ones(3, 4))
        assert torch.equal(seen["0"]["h"], model[0].f(torch.ones(3, 4)))
    with (
        torch.no_grad(),
        pytest.raises(BadInput, match="'x' of block '0' is no batch of maps but Tensor"),
        tap(model),
    ):
        model(torch.ones(4))


@pytest.mark.parametrize(
    ("dtype", "fits", "fails"),
    [(torch.float32, 5e-5, 3e-4), (torch.float64, 5e-5, 3e-4), (torch.bfloat16, 1e-2, 8e-2)],
)
def test_streams_add_up_within_the_rounding_of_their_precision(dtype, fits, fails):
    given = torch.ones(3, 4, dtype=dtype)
    for off, adds in ((fits, True), (fails, False), (-fails, False)):
        model = nn.Sequential(Scaled(1 + off)).to(dtype).eval()
        model[0].f.weight.data.fill_(0.25)
        if adds:
            with torch.no_grad(), tap(model):
                model(given)
            continue
        with (
            torch.no_grad(),
            pytest.raises(BadInput, match=r"x \+ h is not the sum that 'act' is given"),
            tap(model),
        ):
            model(given)


def test_a_block_of_zeros_adds_up():
    model = nn.Sequential(Scaled()).eval()
    for p in model.parameters():
        p.data.zero_()
    with torch.no_grad(), tap(model) as seen:
        model(torch.zeros(3, 4))

        assert not seen["0"]["sum"].any()


def test_streams_that_are_not_asked_for_are_not_kept():
    model = nn.Sequential(Scaled()).eval()
    with torch.no_grad(), tap(model, parts=["sum"]) as seen:
        model(torch.ones(3, 4))

        assert set(seen["0"]) == {"sum"}
    with pytest.raises(UnknownName, match="unknown stream 'g'"), tap(model, parts=["g"]):
        pass
