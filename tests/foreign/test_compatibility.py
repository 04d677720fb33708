"""Each row of docs/compatibility.md is a test: what happens with networks in every context."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from probes import Lab, block_metrics, dropout, feature_metrics, gaussian, layer_noise, weight_noise
from probes.axes import as_maps
from probes.errors import BadInput, ProbesError
from probes.measure import FeatureMetrics, Predictions, tap
from probes.subjects.wrapped import takes

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
IMAGES = torch.rand(24, 1, 12, 12, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(24) % 3
ANSWERS = Predictions(floor=None)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.a = nn.Conv2d(1, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 1, 1)
        self.b, self.drop, self.fc = nn.BatchNorm2d(4), nn.Dropout(0.2), nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        x = F.relu(x + self.b(self.a(x)))
        return self.fc(self.drop(x.mean((2, 3))))


def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def swept(tmp_path):
    """The table of a network, in memory, at two levels."""

    def sweep(model, measure=ANSWERS, under=None):
        lab = Lab(model, (IMAGES, LABELS), tmp_path, quiet=True, threads=1, say=lambda _: None)
        return lab.sweep(measure, under=under or gaussian(0, 0.1)).frame

    return sweep


def reads(swept, model, *, blocks=True, weights=True):
    """Every instrument gives as many rows as the plain network's."""
    plain = swept(net())
    assert np.allclose(swept(model)["loss"], plain["loss"], atol=1e-2)
    if blocks:
        assert len(swept(model, block_metrics)) >= 48
    if weights:
        assert len(swept(model, ANSWERS, weight_noise(0, 0.1))) == 48


def refused(swept, model, why, measure=ANSWERS, under=None):
    with pytest.raises(ProbesError, match=why):
        swept(model, measure, under)


ROWS = {}


def row(name):
    def file(test):
        ROWS[name] = test
        return test

    return file


@row("eval mode, plain modules")
def _(swept):
    reads(swept, net())
    assert len(swept(net(), ANSWERS, layer_noise(0, 0.1))) == 48


@row("training mode")
def _(swept):
    with pytest.raises(BadInput, match=r"training mode.*eval\(\)"), tap(net().train()):
        pass
    model = net().train()
    reads(swept, model)
    assert model.training


@row("`torch.compile`")
def _(swept):
    refused(swept, torch.compile(net()), "is compiled.*_orig_mod")


@row("TorchScript (`torch.jit.script`, `trace`)")
def _(swept):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = [torch.jit.script(net()), torch.jit.trace(net(), IMAGES[:2])]
    for model in made:
        refused(swept, model, "TorchScript.*pass the module that was scripted")


@row("`torch.fx` GraphModule")
def _(swept):
    reads(swept, torch.fx.symbolic_trace(net()))


@row("`torch.export`")
def _(swept):
    sizes = {"x": {0: torch.export.Dim("n", min=1)}}
    model = torch.export.export(net(), (IMAGES[:2],), dynamic_shapes=sizes).module()
    reads(swept, model, blocks=False, weights=False)
    refused(swept, model, "no residual sums", block_metrics)
    refused(swept, model, "weights for weight noise", ANSWERS, weight_noise(0, 0.1))


@row("`DataParallel`")
def _(swept):
    refused(swept, nn.DataParallel(net()), r"DataParallel.*\.module")


@pytest.fixture
def alone(tmp_path):
    """A process group of this process."""
    place = f"file://{tmp_path / 'group'}"
    torch.distributed.init_process_group("gloo", place, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@row("`DistributedDataParallel`")
def _(swept, alone):
    model = nn.parallel.DistributedDataParallel(net())
    refused(swept, model, r"DistributedDataParallel.*\.module")


@row("FSDP (`FullyShardedDataParallel`, `fully_shard`)")
def _(swept):
    for name in ("FullyShardedDataParallel", "FSDPModule"):  # both put their class into the MRO
        kind = type(name, (), {})
        sharded = type("Net", (Net, kind), {})()
        refused(swept, sharded, "sharded .FSDP.*full state dict")


@row("meta device")
def _(swept):
    refused(swept, net().to("meta"), "meta device.*to_empty")


@row("lazy layers")
def _(swept):
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(3))
    refused(swept, model, "no shape yet.*run the network once")
    with torch.no_grad():
        model(IMAGES[:1])
    assert len(swept(model)) == 48


@row("half, bfloat16, double")
def _(swept):
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        reads(swept, net().to(dtype))


@row("dynamic quantisation")
def _(swept):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.ao.quantization.quantize_dynamic(net(), {nn.Linear})
        plain, mine = swept(net())["loss"], swept(model)["loss"]
    assert np.allclose(plain, mine, atol=0.05)
    refused(swept, model, "quantised", ANSWERS, weight_noise(0, 0.1))


class Lora(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base_layer, self.lora_A = base, nn.Linear(4, 1, bias=False)
        self.lora_B = nn.Linear(1, 3, bias=False)

    def forward(self, x):
        return self.base_layer(x) + self.lora_B(self.lora_A(x)) * 0.01


@row("LoRA and other adapters")
def _(swept):
    model = net()
    model.fc = Lora(model.fc)
    reads(swept, model.eval(), weights=False)
    refused(swept, model, r"merge_and_unload\(\)", ANSWERS, weight_noise(0, 0.1))


@row("pruned, weight-normed, parametrised layers")
def _(swept):
    model = net()
    nn.utils.parametrizations.weight_norm(model.a)
    reads(swept, model)
    assert torch.is_tensor(model.a.weight), "what was handed over is left as it is"
    assert "weight" not in dict(model.a.named_parameters(recurse=False))


@row("hooks of others")
def _(swept):
    model, calls = net(), []
    model.b.register_forward_hook(lambda _, __, out: calls.append(1) or out * 2)
    doubled = swept(model, block_metrics)["l2_h"].to_numpy()
    assert np.allclose(doubled, 2 * swept(net(), block_metrics)["l2_h"].to_numpy(), rtol=1e-5)
    assert calls
    assert len(model.b._forward_hooks) == 1


class Wrapped(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.net, self.wrap = net(), wrap

    def forward(self, x):
        return self.wrap(self.net(x), x)


@row("outputs that are no tensor")
def _(swept):
    reads(swept, Wrapped(lambda out, x: {"logits": out, "hidden": x}))
    reads(swept, Wrapped(lambda out, x: (x, out)))
    refused(swept, Wrapped(lambda out, x: (out, out)), "no logits but a tuple of")


class Boxes(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        maps = self.conv(x)
        return [{"boxes": m.flatten(1)[:, : 1 + i % 2]} for i, m in enumerate(maps)]


@row("detection (a list of boxes for each image)")
def _(swept):
    refused(swept, Boxes(), "no logits but a list of")
    assert len(swept(Boxes(), FeatureMetrics(layers=("conv",)))) == 48


class Drawing(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        return self.net(F.dropout(x, 0.3, training=True))


@row("dropout that a forward calls as a function in eval mode")
def _(swept):
    refused(swept, Drawing(), "draws at random in eval mode.*self.training is False")


@row("Monte Carlo dropout")
def _(swept):
    table = swept(net(), ANSWERS, dropout(0, 0.1, 0.3))
    mean = table.groupby("level")["loss"].apply(list)
    assert len({tuple(losses) for losses in mean}) == 3


class Tokens(nn.Module):
    def __init__(self, last):
        super().__init__()
        self.patch, self.last = nn.Conv2d(1, 8, 4, 4), last
        self.mix, self.fc = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.patch(x).movedim(1, -1)
        x = self.mix(x if self.last else x.flatten(1, 2))
        return self.fc(x.flatten(1, -2).mean(1))


@row("tokens (N, T, C), channels last (N, H, W, C)")
def _(swept):
    torch.manual_seed(0)
    folded = [as_maps(nn.Linear(8, 8), torch.zeros(shape)) for shape in ((2, 9, 8), (2, 3, 3, 8))]
    assert [tuple(m.shape) for m in folded] == [(2, 8, 3, 3)] * 2
    for last in (True, False):
        assert len(swept(Tokens(last).eval(), FeatureMetrics(layers=("mix",)))) == 48


@row("images of another size than the network takes")
def _(swept, tmp_path, monkeypatch):
    from probes.subjects.nets import nets

    def small(channels, classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(49 * channels, classes))

    monkeypatch.setitem(nets._things, "of_7_px", takes(size=7)(small))
    lab = Lab("of_7_px:untrained@mnist5k", tmp_path, images=20, quiet=True, say=lambda _: None)
    assert len(lab.sweep(ANSWERS, under=gaussian(0, 0.1)).frame) == 40
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        swept(nn.Sequential(nn.Flatten(), nn.Linear(49, 3)))


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_so(name, request, recwarn):
    test = ROWS[name]
    wanted = test.__code__.co_varnames[: test.__code__.co_argcount]
    test(**{fixture: request.getfixturevalue(fixture) for fixture in wanted})


def test_each_row_of_the_page_is_a_test():
    rows = re.findall(r"^\| (.+?) \|", PAGE.read_text(encoding="utf-8"), re.M)
    assert rows[1:] == list(ROWS)
    assert rows[0] == "context"


def test_the_features_of_the_plain_network_are_read(swept):
    assert len(swept(net(), FeatureMetrics(layers=("a",)))) == 48
    with pytest.raises(BadInput, match="no stages"):
        swept(net(), feature_metrics)
