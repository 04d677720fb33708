"""Augmentations of images as one function of a factor vector in [0, 1]: every image of a batch has factors of its own.

They are those of Kharyuk, Matveev and Oseledets (2023), two sets of them. Places, shifts and sizes are fractions of the image's
side; the widths of the two Gaussian blurs are pixels. An image stays in [0, 1], in floating point throughout.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from probes.errors import BadInput
from probes.registry import Registry

Apply = Callable[[Tensor, Tensor], Tensor]
SWITCH = 0.5
"""A switch is on where its factor is at most this."""


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """One augmentation: ``apply(images, factors)`` of float images (N, C, H, W) in [0, 1] and factors (N, k) in [0, 1].

    ``factors`` name the k numbers; ``colour`` says that it is the identity on grey images; ``switch`` that its one factor turns it
    on.
    """

    name: str
    factors: tuple[str, ...]
    apply: Apply
    colour: bool = False
    switch: bool = False

    def __call__(self, images: Tensor, factors: Tensor) -> Tensor:
        """The augmented images: what ``apply`` gives."""
        return self.apply(images, factors)


augmentations: Registry[Augmentation] = Registry("augmentation")
"""Augmentations by name; :func:`augmentation` files your own."""


def augmentation(name: str, *factors: str, colour: bool = False, switch: bool = False) -> Callable[[Apply], Augmentation]:
    """A decorator that files ``apply(images, factors)`` as an augmentation with these factors, and gives it.

    It is found by its name where its module was imported, and anywhere as ``package.module:thing``. Raises BadInput for a taken
    name and for one without factors.

    >>> @augmentation("negative", "on", switch=True)
    ... def negative(images, u):
    ...     return 1 - images
    >>> augmentations["negative"].factors
    ('on',)
    """
    if not factors or (switch and len(factors) > 1):
        raise BadInput(f"augmentation {name!r} with the factors {factors}: one or more, a switch exactly one")

    def file(apply: Apply) -> Augmentation:
        return augmentations.register(name)(Augmentation(name, factors, apply, colour, switch))

    return file


def _known(name: str) -> Augmentation:
    found = augmentations[name]
    if not isinstance(found, Augmentation):
        raise BadInput(f"{name} is no augmentation: decorate it with @augmentation(NAME, FACTOR, ...)")
    return found


def _between(u: Tensor, low: float, high: float) -> Tensor:
    """A factor in its range, with the axes of images: (N, 1, 1, 1)."""
    return (low + (high - low) * u).view(-1, 1, 1, 1)


def _grid(x: Tensor) -> tuple[Tensor, Tensor]:
    """The centres of pixels as fractions of the side: y (1, 1, H, 1) and x (1, 1, 1, W)."""
    y, across = (torch.arange(n, device=x.device, dtype=x.dtype).add_(0.5).div_(n) for n in x.shape[2:])
    return y.view(1, 1, -1, 1), across.view(1, 1, 1, -1)


# --- set 1 ------------------------------------------------------------------------------------------------------------


@augmentation("erasing", "y", "x", "area", "ratio")
def erasing(x: Tensor, u: Tensor) -> Tensor:
    """A black box: centre in the middle 61 % of either side, 2 to 33 % of the area, height / width .3 to 3.3; cut at the edges."""
    at_y, at_x = (_between(u[:, i], 44 / 224, 180 / 224) for i in (0, 1))
    area, ratio = _between(u[:, 2], 0.02, 0.33), _between(u[:, 3], math.log(0.3), math.log(3.3)).exp()
    y, across = _grid(x)
    inside = ((y - at_y).abs() <= (area * ratio).sqrt() / 2) & ((across - at_x).abs() <= (area / ratio).sqrt() / 2)
    return x.masked_fill(inside, 0.0)


@augmentation("sharpness", "on", switch=True)
def sharpness(x: Tensor, u: Tensor) -> Tensor:
    """Sharper by 1.5: from the 3 x 3 mean with a centre of 5 (of 13), pixels at the edge kept, as torchvision has it but faster."""
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
    reach = torch.tensor(x.shape[2:], device=u.device) * 44 / 224
    shifts = ((2 * u - 1) * reach).round().int().tolist()
    return torch.stack([one.roll((dy, dx), (1, 2)) for one, (dy, dx) in zip(x, shifts, strict=True)])


@augmentation("grayscaling", "on", colour=True, switch=True)
def grayscaling(x: Tensor, u: Tensor) -> Tensor:
    """Three equal channels."""
    return vision.rgb_to_grayscale(x, num_output_channels=3)


def _blurred(x: Tensor, kernels: Tensor) -> Tensor:
    """Each image convolved with its own kernel (N, taps) along both sides, edges reflected."""
    n, channels, high, wide = x.shape
    taps = kernels.shape[1]
    reach = min(taps // 2, high - 1, wide - 1)
    kernels = kernels[:, taps // 2 - reach : taps // 2 + reach + 1]
    kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = F.pad(x, (reach,) * 4, mode="reflect").view(1, n * channels, high + 2 * reach, wide + 2 * reach)
    flat = F.conv2d(flat, kernels.view(n * channels, 1, 1, -1), groups=n * channels)
    return F.conv2d(flat, kernels.view(n * channels, 1, -1, 1), groups=n * channels).view(x.shape)


def _bell(sigma: Tensor, reach: int) -> Tensor:
    places = torch.arange(-reach, reach + 1, device=sigma.device, dtype=sigma.dtype)
    return torch.exp(-0.5 * (places / sigma.view(-1, 1)) ** 2)


@augmentation("gaussian_blur", "sigma")
def gaussian_blur(x: Tensor, u: Tensor) -> Tensor:
    """A Gaussian of .1 to 2 pixels, 7 x 7."""
    return _blurred(x, _bell(_between(u[:, 0], 0.1, 2.0), 3))


# --- set 2 ------------------------------------------------------------------------------------------------------------


@augmentation("brightness", "factor")
def brightness(x: Tensor, u: Tensor) -> Tensor:
    """Times .1 to 2.5, cut at 1."""
    return (x * _between(u[:, 0], 0.1, 2.5)).clamp_(0, 1)


def _gray(x: Tensor) -> Tensor:
    return vision.rgb_to_grayscale(x) if x.shape[1] == 3 else x


def _blended(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(other, x, factor).clamp_(0, 1)


@augmentation("contrast", "factor")
def contrast(x: Tensor, u: Tensor) -> Tensor:
    """The distance to the image's mean grey, times .01 to 3.5."""
    return _blended(x, _gray(x).mean((1, 2, 3), keepdim=True).expand_as(x), _between(u[:, 0], 0.01, 3.5))


@augmentation("saturation", "factor", colour=True)
def saturation(x: Tensor, u: Tensor) -> Tensor:
    """The distance to grey, times .01 to 3.5."""
    return _blended(x, _gray(x).expand_as(x), _between(u[:, 0], 0.01, 3.5))


@augmentation("hue", "shift", colour=True)
def hue(x: Tensor, u: Tensor) -> Tensor:
    """The hue turned by up to half a circle: value and chroma of HSV stay."""
    value, low = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    chroma = value - low
    red, green, blue = x.split(1, 1)
    safe = torch.where(chroma == 0, 1, chroma)
    sixth = torch.where(value == red, (green - blue) / safe,
                        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe))  # fmt: skip
    sixth = sixth + 6 * _between(u[:, 0], -0.5, 0.5)
    turned = torch.cat([sixth + 5, sixth + 3, sixth + 1], 1).remainder_(6)
    return value - chroma * torch.minimum(turned, 4 - turned).clamp_(0, 1)


@augmentation("hflip", "on", switch=True)
def hflip(x: Tensor, u: Tensor) -> Tensor:
    """Left and right change places."""
    return x.flip(3)


@augmentation("rotation", "angle")
def rotation(x: Tensor, u: Tensor) -> Tensor:
    """By up to 10 degrees; of a square image the largest square that lies inside, in the image's size, bilinear.

    Of other images the corners may reach beyond the edge, whose pixels then repeat.
    """
    angle = (2 * u[:, 0] - 1) * math.radians(10)
    cos, sin = angle.cos(), angle.sin()
    scale = 1 / (cos + sin.abs())
    zero = torch.zeros_like(angle)
    high, wide = x.shape[2:]
    matrix = torch.stack([scale * cos, -scale * sin * (high / wide), zero, scale * sin * (wide / high), scale * cos, zero], 1)
    where = F.affine_grid(matrix.view(-1, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, where, padding_mode="border", align_corners=False).clamp_(0, 1)


@augmentation("elliptic_blur", "height", "width", "y", "x", "angle")
def elliptic_blur(x: Tensor, u: Tensor) -> Tensor:
    """A Gaussian of 3 pixels inside an ellipse: half-axes 10 to 32 / 224, centre up to 32 / 224 off, turned by up to 15 degrees."""
    a, b = (_between(u[:, i], 10 / 224, 32 / 224) for i in (0, 1))
    at_y, at_x = (_between(u[:, i], 0.5 - 32 / 224, 0.5 + 32 / 224) for i in (2, 3))
    angle = _between(u[:, 4], -math.radians(15), math.radians(15))
    y, across = _grid(x)
    dy, dx = y - at_y, across - at_x
    along, off = dy * angle.cos() - dx * angle.sin(), dy * angle.sin() + dx * angle.cos()
    blurred = _blurred(x, _bell(x.new_full((len(x),), 3.0), 9))
    return torch.where((along / a) ** 2 + (off / b) ** 2 <= 1, blurred, x)


SETS = {
    "1": ("erasing", "sharpness", "rolling", "grayscaling", "gaussian_blur"),
    "2": ("brightness", "contrast", "saturation", "hue", "hflip", "rotation", "elliptic_blur"),
}
ORDER = "order"


@dataclasses.dataclass(frozen=True)
class Augmented:
    """Several augmentations, one after the other, as one function of a factor vector; the last factor is their order.

    ``names`` are augmentations by name. The columns of the factors are those of each augmentation in turn, then ``order``, which
    picks one of all orders (``floor(u k!)``, lexicographic; one augmentation has none). ``switched`` gives every
    augmentation a switch, its first factor. Raises UnknownName, or BadInput for none or one twice.

    >>> two = Augmented(("hflip", "brightness"))
    >>> two.columns
    ('hflip.on', 'brightness.factor', 'order')
    >>> images = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> off = torch.tensor([[1.0, (1 - 0.1) / 2.4, 0.0]])  # no flip, brightness times 1
    >>> bool(torch.allclose(two(images, off), images))
    True
    """

    names: tuple[str, ...]
    switched: bool = False

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise BadInput(f"augmentations {self.names}: one or more, none of them twice")
        for name in self.names:
            _known(name)

    @classmethod
    def of(cls, which: str | Sequence[str], channels: int = 3, switched: bool = False) -> tuple[Augmented, tuple[str, ...]]:
        """A set by its number or augmentations by name; on grey images those of colour are left out, and told.

        >>> grey, left_out = Augmented.of("1", channels=1)
        >>> grey.names, left_out
        (('erasing', 'sharpness', 'rolling', 'gaussian_blur'), ('grayscaling',))
        """
        names = SETS.get(which, (which,)) if isinstance(which, str) else tuple(which)
        left = tuple(n for n in names if _known(n).colour and channels == 1)
        if not (kept := tuple(n for n in names if n not in left)):
            raise BadInput(f"augmentations {', '.join(names)} change nothing on grey images: choose others")
        return cls(kept, switched), left

    def _factors(self, name: str) -> tuple[str, ...]:
        one = augmentations[name]
        return one.factors if one.switch or not self.switched else ("on", *one.factors)

    @property
    def _ordered(self) -> tuple[str, ...]:
        return (ORDER,) if len(self.names) > 1 else ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The factors by name, in the order of the columns."""
        return (*(f"{n}.{f}" for n in self.names for f in self._factors(n)), *self._ordered)

    @property
    def groups(self) -> dict[str, slice]:
        """The columns of each augmentation, and of the order."""
        names = (*self.names, *self._ordered)
        ends = list(itertools.accumulate([*(len(self._factors(n)) for n in self.names), *(1 for _ in self._ordered)]))
        return {n: slice(start, end) for n, start, end in zip(names, [0, *ends], ends, strict=False)}

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        """The augmented images: float32 (N, C, H, W) in [0, 1], from images like that and factors (N, columns) in [0, 1].

        Raises BadInput for factors of another shape or outside [0, 1].
        """
        if u.shape != (len(images), len(self.columns)) or not bool(((u >= 0) & (u <= 1)).all()):
            raise BadInput(f"factors of shape {tuple(u.shape)}: one row per image and {len(self.columns)} columns in [0, 1]")
        k, groups, x = len(self.names), self.groups, images
        which = (u[:, -1].double() * math.factorial(k)).long().clamp_(max=math.factorial(k) - 1)
        orders = _orders(which if k > 1 else torch.zeros_like(which), k)
        for place in range(k):
            for i, name in enumerate(self.names):
                one, factors = augmentations[name], u[:, groups[name]]
                on = orders[:, place] == i
                if one.switch or self.switched:
                    on = on & (factors[:, 0] <= SWITCH)
                factors = factors[:, -len(one.factors) :]
                rows = on.nonzero()[:, 0]
                if len(rows):
                    x = x.clone() if x is images else x
                    x[rows] = one.apply(x[rows], factors[rows].to(x.dtype))
        return x


def _orders(which: Tensor, k: int) -> Tensor:
    """The permutations of 0 .. k-1 with these lexicographic numbers: (N, k), by the factorial number system."""
    left = torch.arange(k, device=which.device).repeat(len(which), 1)
    found = []
    for i in range(k - 1, -1, -1):
        digit = which // math.factorial(i) % (i + 1)
        found.append(left.gather(1, digit[:, None])[:, 0])
        keep = torch.arange(left.shape[1], device=which.device)[None] != digit[:, None]
        left = left[keep].view(len(which), -1)
    return torch.stack(found, 1)
