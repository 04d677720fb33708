"""Networks by name: ``build(channels, classes) -> nn.Module``, logits out, no normalisation inside."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from probes.errors import BadInput
from probes.measure.taps import BlockAdapter, register_block
from probes.registry import Registry

__all__ = ["Builder", "CifarNet", "Normalised", "Rows", "Takes", "VitLite", "nets", "takes"]
Builder = Callable[..., nn.Module]
nets: Registry[Builder] = Registry("network")
"""Builders of networks: ``build(channels, classes)``. ``@nets.register("name")`` files your own."""


@dataclasses.dataclass(frozen=True)
class Takes:
    """What a builder wants of the images beside their number of channels: see :func:`takes`."""

    channels: int | None = None
    side: bool = False
    raw: bool = False


def takes(*, channels: int | None = None, side: bool = False, raw: bool = False) -> Callable[[Builder], Builder]:
    """A decorator for builders: ``channels`` that the network has (grey images are repeated to so many), whether the builder
    gets the images' ``side`` as a third argument, and whether the network takes values in [0, 1] as they are (``raw``).

    >>> takes(channels=3)(lambda channels, classes: nn.Identity()).takes
    Takes(channels=3, side=False, raw=False)
    """

    def declare(build: Builder) -> Builder:
        build.takes = Takes(channels, side, raw)  # type: ignore[attr-defined]
        return build

    return declare


class Normalised(nn.Module):
    """A network on images in [0, 1]: subtracts ``mean`` and divides by ``std`` per channel, then runs ``net``.

    Normalisation lives here, so that noise is always added in pixel space. Grey images are repeated to as many channels as there
    are means.
    """

    WRAPPED = "net"  # what :func:`probes.hooks.plain` leaves out of names
    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.as_they_are = all(m == 0 for m in mean) and all(s == 1 for s in std)  # 0 and 1 would change nothing, at a price
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if not self.as_they_are:
            return self.net((images - self.mean) / self.std)
        channels = self.mean.shape[1]
        return self.net(images if images.shape[1] == channels else images.repeat(1, channels, 1, 1))


class ZeroPad(nn.Module):
    """The parameter-free shortcut of He et al. 2015 (option A): every ``stride``-th pixel, new channels zero."""

    def __init__(self, more: int, stride: int) -> None:
        super().__init__()
        self.more, self.stride = more, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))


class CifarBlock(nn.Module):
    """Two 3x3 convolutions with batch norm; ``relu(h + shortcut(x))``, or ``relu(h)`` where there is no shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, residual: bool, inplace: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace)
        self.shortcut: nn.Module | None = None
        if residual:
            same = inputs == outputs and stride == 1
            self.shortcut = nn.Identity() if same else ZeroPad(outputs - inputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.bn1(self.conv1(x)))
        h = self.bn2(self.conv2(h))
        return self.relu(h if self.shortcut is None else h + self.shortcut(x))


register_block(CifarBlock, BlockAdapter("bn2", "relu", calls=2, shortcut="shortcut", identity=False))


class CifarNet(nn.Module):
    """The CIFAR network of He et al. 2015, section 4.2: a 3x3 stem, three stages of ``blocks`` blocks, 16-32-64 wide.

    With ``residual=False`` the same parameters in the same order, and no shortcut: the plain twin.
    """

    def __init__(
        self, channels: int, classes: int, blocks: int = 3, residual: bool = True, inplace: bool = True, width: int = 16
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace)
        widths = [width, width, 2 * width, 4 * width]
        stages = [
            nn.Sequential(
                *(CifarBlock(a if i == 0 else b, b, 2 if i == 0 and a != b else 1, residual, inplace) for i in range(blocks))
            )
            for a, b in itertools.pairwise(widths)
        ]
        self.layer1, self.layer2, self.layer3 = stages
        self.fc = nn.Linear(widths[-1], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


@nets.register("resnet20")
def resnet20(channels: int, classes: int) -> nn.Module:
    """ResNet-20 for small images (He et al. 2015): 0.27 M parameters, zero-padded shortcuts."""
    return CifarNet(channels, classes)


@nets.register("plainnet20")
def plainnet20(channels: int, classes: int) -> nn.Module:
    """The twin of ``resnet20`` without shortcuts: the same parameters, the same initial weights for a seed."""
    return CifarNet(channels, classes, residual=False)


def _mlp(name: str, *hidden: int) -> Builder:
    def build(channels: int, classes: int, side: int) -> nn.Module:
        widths = [channels * side * side, *hidden]
        layers = [layer for a, b in itertools.pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], classes))

    build.__doc__ = (
        f"A multilayer perceptron, {'-'.join(map(str, hidden))} wide, on pixels in [0, 1]; grey is repeated to 3 channels."
    )
    return takes(channels=3, side=True, raw=True)(build)


for _name, _hidden in {"mlp_small": (256, 128), "mlp_medium": (512, 256), "mlp_large": (1024, 512, 256)}.items():
    nets.register(_name)(_mlp(_name, *_hidden))


@nets.register("cnn")
@takes(channels=3, side=True, raw=True)
def cnn(channels: int, classes: int, side: int) -> nn.Module:
    """Three 3x3 convolutions (32, 64, 64), each with ReLU and max pooling, on pixels in [0, 1]; grey is repeated to 3 channels."""
    widths = [channels, 32, 64, 64]
    layers = [layer for a, b in itertools.pairwise(widths) for layer in (nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * (side // 8) ** 2, classes))


class VitLite(nn.Module):
    """A small vision transformer: patches of 4, torch's encoder (width 192, depth 6, 3 heads), mean over tokens."""

    def __init__(
        self, channels: int, classes: int, side: int, patch: int = 4, width: int = 192, depth: int = 6, heads: int = 3
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.position = nn.Parameter(torch.empty(1, (side // patch) ** 2, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.encoder(tokens).mean(1))


@nets.register("vit_lite")
@takes(side=True)
def vit_lite(channels: int, classes: int, side: int) -> nn.Module:
    """A vision transformer for small images: patches of 4, width 192, depth 6, 3 heads."""
    return VitLite(channels, classes, side)


class Rows(nn.Module):
    """A recurrent network that reads an image row by row: a row is a time step, the last state is classified."""

    def __init__(
        self, kind: Callable[..., nn.RNNBase], channels: int, classes: int, side: int, width: int = 128, layers: int = 2
    ) -> None:
        super().__init__()
        self.rnn = kind(channels * side, width, layers, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.rnn(x.transpose(1, 2).flatten(2))
        return self.head(states[:, -1])


@nets.register("row_gru")
@takes(side=True)
def row_gru(channels: int, classes: int, side: int) -> nn.Module:
    """A GRU that reads an image row by row: two layers, 128 wide."""
    return Rows(nn.GRU, channels, classes, side)


@nets.register("row_lstm")
@takes(side=True)
def row_lstm(channels: int, classes: int, side: int) -> nn.Module:
    """An LSTM that reads an image row by row: two layers, 128 wide."""
    return Rows(nn.LSTM, channels, classes, side)


def _torchvisions(name: str) -> Builder:
    def build(channels: int, classes: int) -> nn.Module:
        if channels != 3:
            raise BadInput(f"{name} takes images of 3 channels (grey ones are repeated), these have {channels}")
        return torchvision.models.get_model(name, weights=None, num_classes=classes)

    build.__doc__ = f"Torchvision's {name}, with a head of its own."
    return takes(channels=3)(build)


for _name in ("resnet18", "resnet34", "resnet50", "vgg11", "vgg19", "vgg19_bn", "alexnet", "mobilenet_v2"):
    nets.register(_name)(_torchvisions(_name))


@nets.register("vgg19_bn_small")
@takes(channels=3)
def vgg19_bn_small(channels: int, classes: int) -> nn.Module:
    """The convolutions of torchvision's vgg19_bn for small images: global mean, then one linear layer 512 wide."""
    net = _torchvisions("vgg19_bn")(channels, classes)
    net.avgpool, net.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, classes)
    return net
