"""Networks by name: ``build(channels, classes) -> nn.Module``, logits out, no normalisation
inside."""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from probes.errors import BadInput
from probes.measure.adapters import BlockAdapter, register_block
from probes.subjects import libraries  # noqa: F401 - their names are known with ours
from probes.subjects.smallnets import Rows, VitLite, mlp
from probes.subjects.wrapped import Builder, Normalised, Takes, nets, takes

__all__ = ["Builder", "CifarNet", "Normalised", "Rows", "Takes", "VitLite", "nets", "takes"]


class ZeroPad(nn.Module):
    """The parameter-free shortcut of He et al. 2015 (option A): every ``stride``-th pixel, new
    channels zero.
    """

    def __init__(self, more: int, stride: int) -> None:
        super().__init__()
        self.more, self.stride = more, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(
            x[:, :, :: self.stride, :: self.stride],
            (0, 0, 0, 0, self.more // 2, self.more - self.more // 2),
        )


class CifarBlock(nn.Module):
    """Two 3x3 convolutions with batch norm. The output is ``relu(h + shortcut(x))``, or ``relu(h)``
    without a shortcut.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int, residual: bool, inplace: bool = True
    ) -> None:
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


register_block(
    CifarBlock, BlockAdapter("bn2", "relu", calls=2, shortcut="shortcut", identity=False)
)


class CifarNet(nn.Module):
    """The CIFAR network of He et al. 2015, section 4.2: a 3x3 stem, three stages of ``blocks``
    blocks, 16-32-64 wide.

    With ``residual=False`` the same parameters in the same order, and no shortcut: the plain twin.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        blocks: int = 3,
        residual: bool = True,
        inplace: bool = True,
        width: int = 16,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace)
        widths = [width, width, 2 * width, 4 * width]
        stages = [
            nn.Sequential(
                *(
                    CifarBlock(
                        a if i == 0 else b, b, 2 if i == 0 and a != b else 1, residual, inplace
                    )
                    for i in range(blocks)
                )
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
    """The twin of ``resnet20`` without shortcuts: the same parameters, the same initial weights for
    a seed.
    """
    return CifarNet(channels, classes, residual=False)


for _name, _hidden in {
    "mlp_small": (256, 128),
    "mlp_medium": (512, 256),
    "mlp_large": (1024, 512, 256),
}.items():
    nets.register(_name)(mlp(_name, *_hidden))


def _torchvisions(name: str) -> Builder:
    def build(channels: int, classes: int) -> nn.Module:
        if channels != 3:
            raise BadInput(
                f"{name} takes images of 3 channels (grey ones are repeated), these have {channels}"
            )
        from torchvision import models  # takes as long as torch, and most runs need none of it

        return models.get_model(name, weights=None, num_classes=classes)

    build.__doc__ = f"Torchvision's {name}, with a head of its own."
    return takes(channels=3)(build)


for _name in (
    "resnet18",
    "resnet34",
    "resnet50",
    "vgg11",
    "vgg19",
    "vgg19_bn",
    "alexnet",
    "mobilenet_v2",
):
    nets.register(_name)(_torchvisions(_name))


@nets.register("vgg19_bn_small")
@takes(channels=3)
def vgg19_bn_small(channels: int, classes: int) -> nn.Module:
    """The convolutions of torchvision's vgg19_bn for small images: global mean, then one linear
    layer 512 wide.
    """
    net = _torchvisions("vgg19_bn")(channels, classes)
    net.avgpool, net.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, classes)
    return net
