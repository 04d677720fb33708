"""Small networks of the weight-noise study, by name."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from probes.subjects.wrapped import Builder, nets, takes


def mlp(name: str, *hidden: int) -> Builder:
    """A builder of a multilayer perceptron, registered under a name."""

    def build(channels: int, classes: int, side: int) -> nn.Module:
        widths = [channels * side * side, *hidden]
        layers = [
            layer for a, b in itertools.pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())
        ]
        return nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], classes))

    build.__doc__ = (
        f"A multilayer perceptron, {'-'.join(map(str, hidden))} wide, on pixels in [0, 1]; grey is"
        " repeated to 3 channels."
    )
    return takes(channels=3, side=True, raw=True)(build)


@nets.register("cnn")
@takes(channels=3, side=True, raw=True)
def cnn(channels: int, classes: int, side: int) -> nn.Module:
    """Three 3x3 convolutions (32, 64, 64), each with ReLU and max pooling, on pixels in [0, 1];
    grey is repeated to 3 channels.
    """
    widths = [channels, 32, 64, 64]
    layers = [
        layer
        for a, b in itertools.pairwise(widths)
        for layer in (nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * (side // 8) ** 2, classes))


class VitLite(nn.Module):
    """A small vision transformer: patches of 4, torch's encoder (width 192, depth 6, 3 heads), mean
    over tokens.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        side: int,
        patch: int = 4,
        width: int = 192,
        depth: int = 6,
        heads: int = 3,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.position = nn.Parameter(torch.empty(1, (side // patch) ** 2, width))
        layer = nn.TransformerEncoderLayer(
            width,
            heads,
            4 * width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(
            layer, depth, nn.LayerNorm(width), enable_nested_tensor=False
        )
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
    """A recurrent network that reads an image row by row. A row is a time step; the last state is
    classified.
    """

    def __init__(
        self,
        kind: Callable[..., nn.RNNBase],
        channels: int,
        classes: int,
        side: int,
        width: int = 128,
        layers: int = 2,
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
