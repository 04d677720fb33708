"""What reading residual sums costs, found without an adapter, beside the plain forward: ResNet-18
by sums and by its adapter, a vision transformer, a ConvNeXt; and beside other tools that capture
activations, which must be told where to look.
"""

import copy
import functools

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor

from probes.batch import Batch
from probes.measure import BlockMetrics, residuals
from probes.measure.adapters import block_sites

FOUR = ("l2_h", "var_h", "mean_sum", "mean_abs_sum")
BATCH = 16


class Nothing(TorchFunctionMode):
    """A mode that does nothing."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class Bare(models.ResNet):
    """ResNet-18 whose blocks are of a class without an adapter: they are read as sums."""

    class Block(models.resnet.BasicBlock):
        """The same forward, in a class of its own."""

        def forward(self, x):
            identity = x if self.downsample is None else self.downsample(x)
            out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            out += identity
            return self.relu(out)

    def __init__(self):
        super().__init__(Bare.Block, [2, 2, 2, 2])


NETS = {
    "ResNet-18 by sums": (Bare, 224),
    "ViT-B/32": (functools.partial(models.vit_b_32, weights=None), 224),
    "ConvNeXt-T": (functools.partial(models.convnext_tiny, weights=None), 224),
}
MADE = {}


def made(name):
    """A network with random weights, and images for it."""
    if name not in MADE:
        build, side = NETS[name]
        torch.manual_seed(0)
        net = build().eval().requires_grad_(False)
        MADE[name] = net, torch.rand(BATCH, 3, side, side)
    return MADE[name]


@pytest.mark.parametrize("name", NETS)
def test_a_mode_that_does_nothing(ratio, name):
    model, images = made(name)

    def theirs():
        with Nothing():
            model(images)

    with torch.inference_mode():
        ratio(f"a mode that does nothing, {name}", theirs, lambda: model(images), rounds=9)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("metrics", "limit"), [(FOUR, 1.05), (None, 1.10)], ids=["four", "six"])
def test_block_metrics_at_sums(ratio, name, metrics, limit):
    model, images = made(name)
    measure = BlockMetrics() if metrics is None else BlockMetrics(metrics=metrics)
    read_from, ids = copy.deepcopy(model), range(BATCH)
    assert not adapters_of(read_from)
    with torch.inference_mode(), measure.open(read_from) as read:

        def ours():
            read_from(images)
            read(Batch.of(ids))

        ours()  # the sums are found once
        many = len(residuals(read_from, images[:1]))
        words = f"{len(measure.metrics)} block metrics at {many} sums, {name}"
        ratio(words, ours, lambda: model(images), rounds=9, limit=limit)


def adapters_of(model):
    """The blocks of a network that have an adapter."""
    return block_sites(model)


def torchvisions(model, images):
    """Torchvision's extractor: nodes of a traced graph, named by hand."""
    stages = [f"layer{i}.{j}" for i in range(1, 5) for j in range(2)]
    nodes = [f"{s}.{node}" for s in stages for node in ("bn2", "add")]
    extract = create_feature_extractor(models.resnet18().eval(), nodes)
    return lambda: extract(images)


def captums(model, images):
    """Captum's LayerActivation of the last norm of each branch."""
    captum = pytest.importorskip("captum.attr")
    layers = [m.bn2 for m in model.modules() if isinstance(m, Bare.Block)]
    activation = captum.LayerActivation(model, layers)
    return lambda: activation.attribute(images)


def torchlenses(model, images):
    """TorchLens logs every operation of the pass."""
    torchlens = pytest.importorskip("torchlens")
    return lambda: torchlens.trace(model, images)


def nnsights(model, images):
    """nnsight saves the output of the last norm of each branch."""
    nnsight = pytest.importorskip("nnsight")
    wrapped = nnsight.NNsight(model)
    blocks = [stage[j] for stage in stages_of(wrapped) for j in range(2)]

    def traced():
        with wrapped.trace(images):
            for block in blocks:
                block.bn2.output.save()

    return traced


def stages_of(net):
    """The four stages of a ResNet."""
    return net.layer1, net.layer2, net.layer3, net.layer4


@pytest.mark.parametrize("tool", [torchvisions, captums, nnsights, torchlenses])
def test_other_tools_that_capture_the_eight_branches(ratio, tool):
    model, images = made("ResNet-18 by sums")
    with torch.no_grad():
        theirs = tool(copy.deepcopy(model), images)
        theirs()
        name = {torchvisions: "torchvision", captums: "Captum", nnsights: "nnsight"}
        words = f"{name.get(tool, 'TorchLens')} captures eight branches, ResNet-18"
        ratio(words, theirs, lambda: model(images), rounds=7)
