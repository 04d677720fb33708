"""Anybody's transform of an image as a perturbation: of torchvision, or a function of one's own."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from probes import seeds
from probes.batch import Batch
from probes.errors import BadInput
from probes.fingerprint import fingerprint
from probes.perturb.protocol import Forward, Pass, Perturbation

SIGNATURE = "(image, level, rng)"


def by_level(function: Callable[..., Any]) -> bool:
    """Whether a thing is called with an image, a level and a generator; else with an image.

    >>> by_level(lambda image, level, rng: image), by_level(lambda image: image)
    (True, False)
    """
    if isinstance(function, torch.nn.Module):
        return False
    try:
        inspect.signature(function).bind(None, None, None)
    except (TypeError, ValueError):
        return False
    return True


def _states() -> dict[str, Any]:
    """The states of the global generators."""
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "torch": [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if cuda else ())],
        "numpy.random": np.random.get_state(),
        "random": random.getstate(),
    }


@contextlib.contextmanager
def seeded(word: int | None) -> Iterator[None]:
    """The global generators of torch, numpy and Python as seeded by a word inside the block, or,
    for None, as they are; afterwards as they were before.
    """
    before = _states()
    try:
        if word is not None:
            torch.manual_seed(word)
            np.random.seed(word & 0xFFFFFFFF)  # it takes 32 bits
            random.seed(word)
        yield
    finally:
        torch.set_rng_state(before["torch"][0])
        if before["torch"][1:]:
            torch.cuda.set_rng_state_all(before["torch"][1:])
        np.random.set_state(before["numpy.random"])
        random.setstate(before["random"])


def drawn_globally(function: Callable[[], Any]) -> tuple[Any, str]:
    """What a function gives, and which global generator it drew from; empty for none. The
    generators are afterwards as before.
    """
    with seeded(None):
        before = {name: fingerprint(state) for name, state in _states().items()}
        found = function()
        now = {name: fingerprint(state) for name, state in _states().items()}
    return found, next((name for name in before if before[name] != now[name]), "")


@dataclasses.dataclass(frozen=True)
class Transformed(Perturbation):
    """Images under a transform, one at a time: see :func:`transform`."""

    function: Callable[..., Any]
    levels: tuple[float, ...] = (0.0, 1.0)
    rng: Literal["numpy", "torch"] = "numpy"
    said: str = ""
    unit: str = ""

    version = 1

    def __post_init__(self) -> None:
        levels = tuple(sorted(float(v) for v in self.levels))
        if not callable(self.function):
            raise BadInput(
                f"transform({self.function!r}): a transform of an image, or a function {SIGNATURE}"
            )
        if 0 not in levels or len(set(levels)) < len(levels) or levels[0] < 0:
            raise BadInput(f"transform at levels {levels}: they ascend from 0, the image as it is")
        if not by_level(self.function) and levels != (0.0, 1.0):
            raise BadInput(
                f"{self.title} takes an image only, so it is off or on, levels (0, 1); for more"
                " levels write lambda image, level, rng: v2.functional.NAME(image, level)"
            )
        if self.rng not in ("numpy", "torch"):
            raise BadInput(f"transform(rng={self.rng!r}): 'numpy' or 'torch'")
        object.__setattr__(self, "levels", levels)

    @property
    def title(self) -> str:
        """What it is called, in words."""
        function = self.function
        name = getattr(function, "__name__", type(function).__name__)
        return self.said or ("transform" if name == "<lambda>" else name)

    @property
    def name(self) -> str:  # type: ignore[override]
        """What it is called."""
        return self.title

    @property
    def varied(self) -> str:  # type: ignore[override]
        """What a level is called."""
        return "level" if by_level(self.function) else f"{self.title} on"

    def describe(self) -> str:
        """What is done to an image."""
        return f"Transform {self.title}, drawn for each image"

    def key(self, level: float) -> dict[str, Any]:
        """The level, and the code of the transform."""
        kind = {"kind": "transform", "version": self.version, "level": level}
        return kind | (
            {"name": self.title, "function": fingerprint(self.function), "rng": self.rng}
            if level
            else {}
        )

    @contextlib.contextmanager
    def open(self, at: Pass) -> Iterator[Forward]:
        """Run the network on transformed images. The first image of a network and level is
        transformed twice, and must come out the same.
        """

        def forward(batch: Batch) -> Tensor:
            seen = batch.images
            if at.level:
                here = seen.cpu()
                made = [self.one(x, at, int(i)) for x, i in zip(here, batch.ids, strict=True)]
                again = [self.one(here[0], at, int(batch.ids[0]))]
                if not torch.equal(again[0], made[0]):
                    raise BadInput(
                        f"{self.title} draws at random by itself: it gives another image each"
                        f" time, so no draw has a name; a function {SIGNATURE} draws from rng"
                    )
                seen = torch.stack(made).to(seen.device)
            at.plain(seen)
            return seen

        yield forward

    def one(self, image: Tensor, at: Pass, number: int) -> Tensor:
        """An image (C, H, W), transformed. Raises BadInput for a transform that gives something
        else than an image of this shape in [0, 1], or that draws from a global generator although
        it is given one.
        """
        draw = at.draw
        name = ("transform", draw.seed, draw.dataset, number, draw.number)
        word = int(seeds.words(1, *name)[0])
        with torch.inference_mode(False), torch.no_grad():
            image = image.clone()
            if by_level(self.function):
                found, where = drawn_globally(
                    lambda: self.function(image, at.level, self._generator(word))
                )
                if where:
                    raise BadInput(
                        f"{self.title} draws from the global generator of {where}, which other code"
                        " draws from, too: draw from its argument rng"
                    )
            else:
                with seeded(word):
                    found = self.function(image)
            return self._checked(found, image.shape)

    def _generator(self, word: int) -> np.random.Generator | torch.Generator:
        if self.rng == "torch":
            return torch.Generator().manual_seed(word)
        return np.random.Generator(np.random.Philox(key=word))

    def _checked(self, found: Any, shape: torch.Size) -> Tensor:
        if isinstance(found, np.ndarray):
            found = torch.from_numpy(np.ascontiguousarray(found))
        if not isinstance(found, Tensor) or found.shape != shape:
            told = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise BadInput(f"{self.title} gives {told} for an image of {tuple(shape)}")
        found = found.detach().as_subclass(Tensor).float()
        if not bool(((found >= -1e-6) & (found <= 1 + 1e-6)).all()):
            raise BadInput(
                f"{self.title} gives values from {float(found.min()):.3g} to"
                f" {float(found.max()):.3g}: an image lies in [0, 1] (normalising is the network's"
                " own affair)"
            )
        return found.clamp(0, 1)


def transform(
    function: Callable[..., Any],
    levels: Sequence[float] = (0, 1),
    rng: Literal["numpy", "torch"] = "numpy",
    name: str = "",
    unit: str = "",
) -> Transformed:
    """Any transform of an image as a perturbation, in one line.

    ``function`` takes an image (C, H, W) in [0, 1], as torchvision's v2 transforms do, and is off
    at level 0 and on at level 1; what it draws from global generators is seeded by the image's name
    for that call. Or it takes ``(image, level, rng)``, with ``rng`` a generator of numpy or torch
    that is seeded by the image's name, and the levels that are given; it is not called at level 0.
    An image draws the same at every level, in any batch and order, in every network.

    Raises BadInput for a function that draws otherwise, gives another shape, or leaves [0, 1].

    >>> from torchvision.transforms import v2
    >>> transform(v2.RandomRotation(30)).name
    'RandomRotation'
    >>> transform(lambda image, level, rng: image * (1 - level), levels=(0, 0.5)).levels
    (0.0, 0.5)
    """
    return Transformed(function, tuple(levels), rng, name, unit)
