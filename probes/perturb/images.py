"""Gaussian noise on images in [0, 1]. The draw of an image is the same at every strength, in every
network, in any batch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from probes import philox
from probes.batch import Batch
from probes.errors import BadInput
from probes.origin import outside
from probes.perturb.protocol import Forward, Pass, Perturbation
from probes.perturb.strength import is_strength
from probes.registry import unknown

SPACES = ("pixels", "normalised")
LARGEST = 4.0
"""The largest standard deviation of pixel noise, in units of the whole range. A larger one is
probably meant on another scale.
"""


@dataclasses.dataclass(frozen=True)
class Gaussian(Perturbation):
    """Noise ``level * eps`` in pixel space, ``eps`` standard normal and named by (seed, dataset,
    image id, draw).

    ``levels`` are standard deviations in units of the pixel range, ascending from 0; ``clamp`` cuts
    the noisy image back to [0, 1], which makes the noise smaller than its nominal strength and
    moves the mean of dark images up.

    ``space="normalised"`` is for comparison with scripts that add noise after normalising: level
    and clamp then apply to the normalised image, whose zero is the mean colour, so that clamping
    cuts everything darker than the mean.
    """

    levels: tuple[float, ...]
    clamp: bool = True
    space: str = "pixels"

    name = "Gaussian noise"
    varied = "noise σ"
    version = 1

    @property
    def unit(self) -> str:  # type: ignore[override]
        """The unit of a level."""
        return "pixel range 0 to 1" if self.space == "pixels" else "normalised pixels"

    def describe(self) -> str:
        """What is done to an image, in words."""
        where = (
            "in pixel space (range 0 to 1)"
            if self.space == "pixels"
            else "**on the normalised image**, as in scripts that add it late"
        )
        return f"Gaussian noise {where}, {'clamped to [0, 1]' if self.clamp else 'not clamped'}"

    def __post_init__(self) -> None:
        levels = tuple(self.levels)
        if not all(is_strength(v) for v in levels):
            raise BadInput(
                f"noise levels {levels}: each is a standard deviation, a finite number from 0 up"
            )
        if self.space not in SPACES:
            raise unknown("space of the noise", self.space, SPACES)
        if 0 not in levels:
            raise BadInput(
                f"noise levels {levels} lack 0, the clean images that every effect is measured from"
            )
        if len(set(levels)) != len(levels):
            raise BadInput(f"noise levels {levels}: one of them stands twice")
        if type(self) is Gaussian and self.space == "pixels" and max(levels) > LARGEST:
            raise BadInput(
                f"noise of {max(levels):g}: images lie in [0, 1], so a level is a standard"
                " deviation in units of their whole range; of 0 to 255 it would be gaussian(0,"
                f" {max(levels) / 255:.3g})"
            )
        object.__setattr__(self, "levels", tuple(sorted(float(v) for v in levels)))

    def key(self, level: float) -> dict:
        """What the images at a level depend on, as JSON. The clean images depend on nothing."""
        kind = {"kind": "gaussian", "version": self.version, "level": level}
        return kind | ({"clamp": self.clamp, "space": self.space} if level else {})

    def design(self) -> dict[str, Any]:
        """What an expectation is bound to."""
        words = super().design()["perturbation"] if outside(self) else "gaussian"
        return {"perturbation": words, "space": self.space, "clamp": self.clamp}

    @contextlib.contextmanager
    def open(self, at: Pass) -> Iterator[Forward]:
        """Run the network on noisy images. The noise of a batch is kept for its other levels."""

        def forward(batch: Batch) -> Tensor:
            seen = batch.images
            if at.level:
                draw, ids = at.draw, tuple(batch.ids.tolist())
                asked = draw.dataset, ids, tuple(seen.shape[1:]), draw.seed, draw.number
                # a user's own noise knows of no device: it gets images on the CPU
                where = () if seen.device.type == "cpu" else (seen.device,)
                name = "noise", self, seen.device, *asked
                eps = at.kept.get(name, lambda: self.noise(*asked, *where))
                # a user's own apply may change its input in place
                own = outside(self)
                images, noise = (seen.clone(), eps.clone()) if own else (seen, eps)
                noisy = self.apply(images, noise, at.level, at.mean, at.std)
                if own:
                    self._refuse_random(noisy, seen, eps, at)
                seen = noisy
            at.plain(seen)
            return seen

        yield forward

    def _refuse_random(self, images: Tensor, clean: Tensor, eps: Tensor, at: Pass) -> None:
        """Raise BadInput if a user's own ``apply`` draws random numbers itself or returns images of
        another shape.
        """
        kind = type(self).__name__
        if not isinstance(images, Tensor) or images.shape != clean.shape:
            shape = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise BadInput(
                f"{kind}.apply gives {shape} for images of {tuple(clean.shape)}: it keeps their"
                " shape"
            )

        def again() -> bool:
            found = self.apply(clean.clone(), eps.clone(), at.level, at.mean, at.std)
            if not torch.equal(found, images):
                raise BadInput(
                    f"{kind}.apply draws at random by itself: it gives other images each time, so"
                    " no draw has a name; make them from the noise that it is given"
                )
            return True

        at.kept.get(("sure", type(self), at.level, at.place), again)

    def noise(
        self,
        dataset: str,
        ids: Iterable[int],
        shape: tuple[int, ...],
        seed: int,
        draw: int,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """The standard normals of images by id: float32 (ids, \\*shape), contiguous, on a device.

        >>> g = gaussian(0, 0.1)
        >>> both, one = g.noise("d", [7, 8], (1, 2, 2), 0, 0), g.noise("d", [8], (1, 2, 2), 0, 0)
        >>> bool((both[1] == one[0]).all())
        True
        """
        names = [("pixels", seed, dataset, int(i), draw) for i in ids]
        return philox.normals(math.prod(shape), names, device).reshape(len(names), *shape)

    def apply(
        self,
        images: Tensor,
        noise: Tensor,
        level: float,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
    ) -> Tensor:
        """``images + level * noise``, clamped to [0, 1] if ``clamp``. At level 0 the images
        themselves.

        ``mean`` and ``std`` (per channel) are the constants that the model normalises with; they
        matter in normalised space only. Raises BadInput for images outside [0, 1], NaN or infinite,
        naming the first of them.
        """
        _check(images)
        if level == 0:
            return images
        if self.space == "pixels":
            noisy = torch.add(images, noise, alpha=level)
            return noisy.clamp_(0, 1) if self.clamp else noisy
        m, s = (torch.tensor(v).view(1, -1, 1, 1).to(images.device) for v in (mean, std))
        noisy = (images - m) / s + level * noise
        return (noisy.clamp_(0, 1) if self.clamp else noisy) * s + m


def _check(images: Tensor) -> None:
    if images.numel() == 0:
        raise BadInput(f"there are no images: got shape {tuple(images.shape)}")
    low, high = torch.stack(images.aminmax()).tolist()
    if low >= 0 and high <= 1:
        return
    rows = images.flatten(1)
    bad = ~((rows >= 0) & (rows <= 1)).all(1)
    where = int(bad.nonzero()[0])
    first = rows[where]
    if not first.isfinite().all():
        value = first[~first.isfinite()][0].item()
        raise BadInput(
            f"image {where} of the batch holds {value}: every value of an image is a number in"
            " [0, 1]"
        )
    raise BadInput(
        f"image {where} of the batch has values from {first.min():.3g} to {first.max():.3g}: noise"
        " is added to images in [0, 1] (divide bytes by 255; leave normalising to the model, see"
        " probes.subjects.nets.Normalised)"
    )


def gaussian(*levels: float, clamp: bool = True, space: str = "pixels") -> Gaussian:
    """Gaussian pixel noise at these standard deviations (of images in [0, 1]), 0 among them.

    Raises BadInput for a level that is negative, NaN or infinite, for levels without 0, or with one
    twice, and UnknownName for a space other than ``pixels`` and ``normalised``.

    >>> gaussian(0, 0.1, 0.05).levels
    (0.0, 0.05, 0.1)
    """
    return Gaussian(levels, clamp, space)
