"""Attacks on images: the two that others are measured against, and adapters of libraries.

An attack is ``attack(model, images, labels, level) -> images``: images (N, C, H, W) in [0, 1],
changed by at most ``level`` in its norm. If it takes ``uniforms`` too, it is given named uniforms
in [0, 1) of the images' shape.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from probes.errors import BadInput, Unavailable

NORMS = ("linf", "l2")
Attack = Callable[..., Tensor]


def sizes(change: Tensor, norm: str) -> Tensor:
    """The norm of each image's change: ``linf``, the largest, or ``l2``, the Euclidean one.

    >>> sizes(torch.tensor([[3.0, -4.0]]), "l2"), sizes(torch.tensor([[3.0, -4.0]]), "linf")
    (tensor([5.]), tensor([4.]))
    """
    flat = change.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.square().sum(1).sqrt()


def _each(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))


def within(change: Tensor, level: float, norm: str) -> Tensor:
    """A change cut to a norm of at most ``level`` for each image."""
    if norm == "linf":
        return change.clamp(-level, level)
    return change * _each((level / sizes(change, norm).clamp(min=1e-12)).clamp(max=1), change)


def steepest(slope: Tensor, norm: str) -> Tensor:
    """The direction of norm 1 that climbs most, for each image."""
    if norm == "linf":
        return slope.sign()
    return slope / _each(sizes(slope, norm).clamp(min=1e-12), slope)


def slope_of(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """The gradient of each image's cross-entropy loss with respect to the image."""
    x = images.detach().requires_grad_(True)
    loss = F.cross_entropy(model(x), labels, reduction="sum")
    return torch.autograd.grad(loss, x)[0]


@dataclasses.dataclass(frozen=True)
class FGSM:
    """One step of the whole budget up the gradient (Goodfellow, Shlens and Szegedy 2015)."""

    norm: str = "linf"

    def __call__(self, model: Any, images: Tensor, labels: Tensor, level: float) -> Tensor:
        """The attacked images."""
        slope = slope_of(model, images, labels)
        return (images + level * steepest(slope, self.norm)).clamp(0, 1)


@dataclasses.dataclass(frozen=True)
class PGD:
    """Steps up the gradient, back into the budget after each (Madry et al. 2018).

    ``size`` is that of a step, in units of the budget; by default 2.5 / steps. ``start`` begins at
    a random place within the budget, drawn by the image's name.
    """

    steps: int = 10
    norm: str = "linf"
    size: float | None = None
    start: bool = True

    def __post_init__(self) -> None:
        if self.norm not in NORMS or self.steps < 1:
            raise BadInput(f"{self}: one step or more, in the norm 'linf' or 'l2'")

    def __call__(
        self, model: Any, images: Tensor, labels: Tensor, level: float, uniforms: Tensor
    ) -> Tensor:
        """The attacked images."""
        step = level * (2.5 / self.steps if self.size is None else self.size)
        change = torch.zeros_like(images)
        if self.start:
            change = within(level * (2 * uniforms - 1), level, self.norm)
        for _ in range(self.steps):
            x = (images + change).clamp(0, 1)
            climb = x - images + step * steepest(slope_of(model, x, labels), self.norm)
            change = within(climb, level, self.norm)
        return (images + change).clamp(0, 1)


def fgsm(norm: str = "linf") -> FGSM:
    """The fast gradient sign method, or with ``norm="l2"`` a step along the gradient.

    >>> fgsm()
    FGSM(norm='linf')
    """
    if norm not in NORMS:
        raise BadInput(f"fgsm({norm!r}): the norm is 'linf' or 'l2'")
    return FGSM(norm)


def pgd(steps: int = 10, norm: str = "linf", size: float | None = None, start: bool = True) -> PGD:
    """Projected gradient descent: see :class:`PGD`.

    >>> pgd(20, norm="l2").steps
    20
    """
    return PGD(steps, norm, size, start)


def _library(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as e:
        raise Unavailable(
            f"attacks of {name} need it: pip install 'neural-probes[attacks]' ({e})"
        ) from e


@dataclasses.dataclass(frozen=True)
class Torchattacks:
    """An attack of torchattacks by the name of its class, its budget ``eps`` at each level."""

    name: str
    how: tuple[tuple[str, Any], ...] = ()
    norm: str = "linf"

    def __call__(self, model: Any, images: Tensor, labels: Tensor, level: float) -> Tensor:
        """The attacked images."""
        made = getattr(_library("torchattacks"), self.name)(model, eps=level, **dict(self.how))
        return made(images, labels)


@dataclasses.dataclass(frozen=True)
class Foolbox:
    """An attack of foolbox by the name of its class, its ``epsilons`` the level."""

    name: str
    how: tuple[tuple[str, Any], ...] = ()
    norm: str = "linf"

    def __call__(self, model: Any, images: Tensor, labels: Tensor, level: float) -> Tensor:
        """The attacked images."""
        foolbox = _library("foolbox")
        seen = foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)
        made = getattr(foolbox.attacks, self.name)(**dict(self.how))
        return made(seen, images, labels, epsilons=level)[1]


def torchattack(name: str, norm: str = "linf", **how: Any) -> Torchattacks:
    """An attack of torchattacks: ``torchattack("PGD", steps=10, alpha=0.01)``. Its own steps
    (``alpha``) do not follow the level. One that draws at random needs ``one_by_one=True``.

    >>> torchattack("FGSM").name
    'FGSM'
    """
    return Torchattacks(name, tuple(sorted(how.items())), norm)


def foolbox_attack(name: str, norm: str = "linf", **how: Any) -> Foolbox:
    """An attack of foolbox: ``foolbox_attack("LinfPGD", steps=10)``. One that draws at random needs
    ``one_by_one=True``.

    >>> foolbox_attack("LinfFastGradientAttack").norm
    'linf'
    """
    return Foolbox(name, tuple(sorted(how.items())), norm)
