"""Several augmentations of an image together, as factors of one design."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from probes.errors import BadInput
from probes.moments import to_float64
from probes.perturb.augment import SWITCH, augmentations, known_augmentation

SETS = {
    "1": ("erasing", "sharpness", "rolling", "grayscaling", "gaussian_blur"),
    "2": ("brightness", "contrast", "saturation", "hue", "hflip", "rotation", "elliptic_blur"),
}


ORDER = "order"


@dataclasses.dataclass(frozen=True)
class Augmented:
    """Several augmentations, one after the other, as one function of a factor vector. The last
    factor is their order.

    ``names`` are augmentations by name. The columns of the factors are those of each augmentation
    in turn, then ``order``, which picks one of all orders (``floor(u k!)``, lexicographic; a single
    augmentation has no such column). ``switched`` gives every augmentation a switch as its first
    factor. Raises UnknownName, or BadInput for no names or a name that stands twice.

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
            known_augmentation(name)

    @classmethod
    def of(
        cls, which: str | Sequence[str], channels: int = 3, switched: bool = False
    ) -> tuple[Augmented, tuple[str, ...]]:
        """A set by its number, or augmentations by name. On grey images the colour augmentations
        are left out; their names are the second value.

        >>> grey, left_out = Augmented.of("1", channels=1)
        >>> grey.names, left_out
        (('erasing', 'sharpness', 'rolling', 'gaussian_blur'), ('grayscaling',))
        """
        names = SETS.get(which, (which,)) if isinstance(which, str) else tuple(which)
        left = tuple(n for n in names if known_augmentation(n).colour and channels == 1)
        if not (kept := tuple(n for n in names if n not in left)):
            raise BadInput(
                f"augmentations {', '.join(names)} change nothing on grey images: choose others"
            )
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
        ends = list(
            itertools.accumulate(
                [*(len(self._factors(n)) for n in self.names), *(1 for _ in self._ordered)]
            )
        )
        return {
            n: slice(start, end) for n, start, end in zip(names, [0, *ends], ends, strict=False)
        }

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        """The augmented images: float32 (N, C, H, W) in [0, 1], from images of that kind and
        factors (N, columns) in [0, 1]. The factors may lie on the CPU where the images do not.

        Raises BadInput for factors of another shape or outside [0, 1].
        """
        if u.shape != (len(images), len(self.columns)) or not bool(((u >= 0) & (u <= 1)).all()):
            raise BadInput(
                f"factors of shape {tuple(u.shape)}: one row per image and {len(self.columns)}"
                " columns in [0, 1]"
            )
        k, groups, x = len(self.names), self.groups, images
        which = (to_float64(u[:, -1]) * math.factorial(k)).long().to(u.device)
        which = which.clamp_(max=math.factorial(k) - 1)
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
                    there = rows.to(x.device)
                    x[there] = one(x[there], factors[rows])
        return x


def _orders(which: Tensor, k: int) -> Tensor:
    """The permutations of 0 .. k-1 with these lexicographic numbers: (N, k), by the factorial
    number system.
    """
    left = torch.arange(k, device=which.device).repeat(len(which), 1)
    found = []
    for i in range(k - 1, -1, -1):
        digit = which // math.factorial(i) % (i + 1)
        found.append(left.gather(1, digit[:, None])[:, 0])
        keep = torch.arange(left.shape[1], device=which.device)[None] != digit[:, None]
        left = left[keep].view(len(which), -1)
    return torch.stack(found, 1)
