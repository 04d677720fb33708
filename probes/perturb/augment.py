"""Augmentations of images as functions of a factor vector in [0, 1]. Every image of a batch has its
own factors.

They are the two sets of Kharyuk, Matveev and Oseledets (2023). Places, shifts and sizes are
fractions of the image's side; the widths of the two Gaussian blurs are in pixels. An image stays in
[0, 1], in floating point throughout.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from probes.errors import BadInput
from probes.origin import outside
from probes.registry import Registry

Apply = Callable[[Tensor, Tensor], Tensor]
SWITCH = 0.5
"""A switch is on if its factor is at most this."""


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """One augmentation: ``apply(images, factors)`` of float images (N, C, H, W) in [0, 1] and
    factors (N, k) in [0, 1].

    ``factors`` are the names of the k factors. ``colour`` means that it changes nothing on grey
    images. ``switch`` means that its one factor turns it on.
    """

    name: str
    factors: tuple[str, ...]
    apply: Apply
    colour: bool = False
    switch: bool = False

    def __call__(self, images: Tensor, factors: Tensor) -> Tensor:
        """The augmented images, where the images are. A user's own is applied on the CPU."""
        factors = factors.to(images.dtype)
        if images.device.type != "cpu" and outside(self.apply):
            return self.apply(images.cpu(), factors.cpu()).to(images.device)
        return self.apply(images, factors.to(images.device))


augmentations: Registry[Augmentation] = Registry("augmentation")
"""Augmentations by name. :func:`augmentation` registers your own."""


def augmentation(
    name: str, *factors: str, colour: bool = False, switch: bool = False
) -> Callable[[Apply], Augmentation]:
    """A decorator that registers ``apply(images, factors)`` as an augmentation with these factors,
    and returns it.

    Its name works once its module was imported; ``package.module:thing`` works anywhere. Raises
    BadInput for a taken name and for an augmentation without factors.

    >>> @augmentation("negative", "on", switch=True)
    ... def negative(images, u):
    ...     return 1 - images
    >>> augmentations["negative"].factors
    ('on',)
    """
    if not factors or (switch and len(factors) > 1):
        raise BadInput(
            f"augmentation {name!r} with the factors {factors}: one or more, a switch exactly one"
        )

    def file(apply: Apply) -> Augmentation:
        return augmentations.register(name)(Augmentation(name, factors, apply, colour, switch))

    return file


def known_augmentation(name: str) -> Augmentation:
    """An augmentation by its name. Raises UnknownName, with the known names, for another one."""
    found = augmentations[name]
    if not isinstance(found, Augmentation):
        raise BadInput(
            f"{name} is no augmentation: decorate it with @augmentation(NAME, FACTOR, ...)"
        )
    return found


def _between(u: Tensor, low: float, high: float) -> Tensor:
    """A factor scaled to its range, with the axes of images: (N, 1, 1, 1)."""
    return (low + (high - low) * u).view(-1, 1, 1, 1)


def _grid(x: Tensor) -> tuple[Tensor, Tensor]:
    """The centres of pixels as fractions of the side: y (1, 1, H, 1) and x (1, 1, 1, W)."""
    y, across = (
        torch.arange(n, device=x.device, dtype=x.dtype).add_(0.5).div_(n) for n in x.shape[2:]
    )
    return y.view(1, 1, -1, 1), across.view(1, 1, 1, -1)


# --- set 1
# --------------------------------------------------------------------------------------------------


@augmentation("erasing", "y", "x", "area", "ratio")
def erasing(x: Tensor, u: Tensor) -> Tensor:
    """A black box: centre in the middle 61 % of either side, 2 to 33 % of the area, height / width
    .3 to 3.3; cut at the edges.
    """
    at_y, at_x = (_between(u[:, i], 44 / 224, 180 / 224) for i in (0, 1))
    area, ratio = (
        _between(u[:, 2], 0.02, 0.33),
        _between(u[:, 3], math.log(0.3), math.log(3.3)).exp(),
    )
    y, across = _grid(x)
    inside = ((y - at_y).abs() <= (area * ratio).sqrt() / 2) & (
        (across - at_x).abs() <= (area / ratio).sqrt() / 2
    )
    return x.masked_fill(inside, 0.0)


@augmentation("sharpness", "on", switch=True)
def sharpness(x: Tensor, u: Tensor) -> Tensor:
    """Sharpen by 1.5. The blurred image is the 3 x 3 mean with a centre of 5 (of 13); pixels at the
    edge keep their values. The same as torchvision's, but faster.
    """
    if min(x.shape[2:]) < 3:
        return x
    rows = x[:, :, :-2] + x[:, :, 1:-1]
    rows += x[:, :, 2:]
    square = rows[..., :-2] + rows[..., 1:-1]
    square += rows[..., 2:]
    out = x.clone()
    out[:, :, 1:-1, 1:-1].mul_(1.5 - 0.5 * 4 / 13).sub_(square, alpha=0.5 / 13)
    return out.clamp_(0, 1)


@augmentation("rolling", "y", "x")
def rolling(x: Tensor, u: Tensor) -> Tensor:
    """A circular shift by up to 44 / 224 of either side, in whole pixels."""
    reach = torch.tensor(x.shape[2:]).to(u.device) * 44 / 224
    shifts = ((2 * u - 1) * reach).round().int().tolist()
    return torch.stack(
        [one.roll((dy, dx), (1, 2)) for one, (dy, dx) in zip(x, shifts, strict=True)]
    )


@augmentation("grayscaling", "on", colour=True, switch=True)
def grayscaling(x: Tensor, u: Tensor) -> Tensor:
    """Three equal channels."""
    return _gray(x).expand(-1, 3, -1, -1).clone()


def _blurred(x: Tensor, kernels: Tensor) -> Tensor:
    """Each image convolved with its own kernel (N, taps) along both sides, edges reflected."""
    n, channels, high, wide = x.shape
    taps = kernels.shape[1]
    reach = min(taps // 2, high - 1, wide - 1)
    kernels = kernels[:, taps // 2 - reach : taps // 2 + reach + 1]
    kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = F.pad(x, (reach,) * 4, mode="reflect").view(
        1, n * channels, high + 2 * reach, wide + 2 * reach
    )
    flat = F.conv2d(flat, kernels.view(n * channels, 1, 1, -1), groups=n * channels)
    return F.conv2d(flat, kernels.view(n * channels, 1, -1, 1), groups=n * channels).view(x.shape)


def _bell(sigma: Tensor, reach: int) -> Tensor:
    places = torch.arange(-reach, reach + 1, device=sigma.device, dtype=sigma.dtype)
    return torch.exp(-0.5 * (places / sigma.view(-1, 1)) ** 2)


@augmentation("gaussian_blur", "sigma")
def gaussian_blur(x: Tensor, u: Tensor) -> Tensor:
    """A Gaussian of .1 to 2 pixels, 7 x 7."""
    return _blurred(x, _bell(_between(u[:, 0], 0.1, 2.0), 3))


# --- set 2
# --------------------------------------------------------------------------------------------------


@augmentation("brightness", "factor")
def brightness(x: Tensor, u: Tensor) -> Tensor:
    """Multiply by .1 to 2.5, cut at 1."""
    return (x * _between(u[:, 0], 0.1, 2.5)).clamp_(0, 1)


def _gray(x: Tensor) -> Tensor:
    from torchvision.transforms.v2.functional import rgb_to_grayscale

    return rgb_to_grayscale(x) if x.shape[1] == 3 else x


def _blended(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(other, x, factor).clamp_(0, 1)


@augmentation("contrast", "factor")
def contrast(x: Tensor, u: Tensor) -> Tensor:
    """Multiply the distance to the image's mean grey by .01 to 3.5."""
    return _blended(
        x, _gray(x).mean((1, 2, 3), keepdim=True).expand_as(x), _between(u[:, 0], 0.01, 3.5)
    )


@augmentation("saturation", "factor", colour=True)
def saturation(x: Tensor, u: Tensor) -> Tensor:
    """Multiply the distance to grey by .01 to 3.5."""
    return _blended(x, _gray(x).expand_as(x), _between(u[:, 0], 0.01, 3.5))


@augmentation("hue", "shift", colour=True)
def hue(x: Tensor, u: Tensor) -> Tensor:
    """Turn the hue by up to half a circle. Value and chroma of HSV stay."""
    value, low = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    chroma = value - low
    red, green, blue = x.split(1, 1)
    safe = torch.where(chroma == 0, 1, chroma)
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixth = sixth + 6 * _between(u[:, 0], -0.5, 0.5)
    turned = torch.cat([sixth + 5, sixth + 3, sixth + 1], 1).remainder_(6)
    return value - chroma * torch.minimum(turned, 4 - turned).clamp_(0, 1)


@augmentation("hflip", "on", switch=True)
def hflip(x: Tensor, u: Tensor) -> Tensor:
    """Mirror left and right."""
    return x.flip(3)


@augmentation("rotation", "angle")
def rotation(x: Tensor, u: Tensor) -> Tensor:
    """Rotate by up to 10 degrees, bilinear. Of a square image the largest square that lies inside
    is scaled to the image's size.

    The corners of other images may reach beyond the edge, whose pixels then repeat.
    """
    angle = (2 * u[:, 0] - 1) * math.radians(10)
    cos, sin = angle.cos(), angle.sin()
    scale = 1 / (cos + sin.abs())
    zero = torch.zeros_like(angle)
    high, wide = x.shape[2:]
    matrix = torch.stack(
        [
            scale * cos,
            -scale * sin * (high / wide),
            zero,
            scale * sin * (wide / high),
            scale * cos,
            zero,
        ],
        1,
    )
    where = F.affine_grid(matrix.view(-1, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, where, padding_mode="border", align_corners=False).clamp_(0, 1)


@augmentation("elliptic_blur", "height", "width", "y", "x", "angle")
def elliptic_blur(x: Tensor, u: Tensor) -> Tensor:
    """A Gaussian of 3 pixels inside an ellipse: half-axes 10 to 32 / 224, centre up to 32 / 224
    off, turned by up to 15 degrees.
    """
    a, b = (_between(u[:, i], 10 / 224, 32 / 224) for i in (0, 1))
    at_y, at_x = (_between(u[:, i], 0.5 - 32 / 224, 0.5 + 32 / 224) for i in (2, 3))
    angle = _between(u[:, 4], -math.radians(15), math.radians(15))
    y, across = _grid(x)
    dy, dx = y - at_y, across - at_x
    along, off = dy * angle.cos() - dx * angle.sin(), dy * angle.sin() + dx * angle.cos()
    blurred = _blurred(x, _bell(x.new_full((len(x),), 3.0), 9))
    return torch.where((along / a) ** 2 + (off / b) ** 2 <= 1, blurred, x)
