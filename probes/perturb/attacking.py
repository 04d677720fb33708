"""Attacks as a perturbation: within a budget that is checked, on a network that stays as it is,
beside random noise of the same size.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from probes import philox, seeds
from probes.batch import Batch
from probes.errors import BadInput
from probes.fingerprint import fingerprint
from probes.perturb.attacks import NORMS, Attack, sizes, steepest
from probes.perturb.protocol import Forward, Pass, Perturbation
from probes.perturb.transforming import drawn_globally, seeded
from probes.registry import unknown

KINDS = ("attack", "noise")


class Target(nn.Module):
    """What an attack is given as its model: images in, what the network gives out, under whatever
    else is done to it.
    """

    def __init__(self, model: nn.Module, run: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.net, self._run = model, run

    def forward(self, images: Tensor) -> Any:
        """What the network gives for images."""
        seen: list[Any] = []
        handle = self.net.register_forward_hook(lambda _, __, out: seen.append(out))
        try:
            self._run(images)
        except RuntimeError as e:
            if "nference tensor" not in str(e):
                raise
            raise BadInput(
                "no gradient passes through the perturbation that the attack is combined with:"
                " attack the network alone, or combine another one"
            ) from e
        finally:
            handle.remove()
        return seen[-1]


@contextlib.contextmanager
def untouched(model: nn.Module, who: str) -> Iterator[None]:
    """A block after which a network is as before: its weights, buffers, gradients, modes and which
    weights ask for gradients. Inside none asks.

    Raises BadInput, naming it, for a tensor that was written to, after it was put back.
    """
    held = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    copies = {name: t.detach().clone() for name, t in held.items()}
    asks = {name: (t.requires_grad, t.grad) for name, t in held.items()}
    modes = {m: m.training for m in model.modules()}
    for t in held.values():
        if t.is_floating_point():
            t.requires_grad_(False)
    wrong = []
    try:
        yield
    finally:
        with torch.no_grad():
            for name, t in held.items():
                if not torch.equal(t, copies[name]) and not bool(
                    ((t == copies[name]) | (t.isnan() & copies[name].isnan())).all()
                ):
                    t.copy_(copies[name])
                    wrong.append(name)
        for name, t in held.items():
            if t.is_floating_point():
                t.requires_grad_(asks[name][0])
            t.grad = asks[name][1]
        for m, mode in modes.items():
            m.training = mode
    if wrong:
        raise BadInput(
            f"{who} writes to {wrong[0]!r} of the network: an attack changes images only (what it"
            " wrote was undone)"
        )


@dataclasses.dataclass(frozen=True)
class Attacked(Perturbation):
    """Images that an attack has changed within a budget, the level: see :func:`attacked`."""

    attack: Attack
    levels: tuple[float, ...]
    norm: str = "linf"
    kinds: tuple[str, ...] = ("attack",)
    each: bool = False
    one_by_one: bool = False

    varied = "budget"
    pictured = False
    version = 1

    def __post_init__(self) -> None:
        levels = tuple(sorted(float(v) for v in self.levels))
        finite = all(math.isfinite(v) for v in levels)
        if levels[:1] != (0.0,) or len(set(levels)) < len(levels) or not finite:
            raise BadInput(
                f"attacked at levels {tuple(self.levels)}: budgets ascend from 0, the clean image,"
                " none twice"
            )
        if self.norm not in NORMS:
            raise unknown("norm of the budget", self.norm, NORMS)
        if self.norm == "linf" and levels[-1] > 1:
            raise BadInput(
                f"a budget of {levels[-1]:g}: images lie in [0, 1]; of 0 to 255 it would be"
                f" {levels[-1] / 255:.3g}"
            )
        object.__setattr__(self, "levels", levels)

    @property
    def title(self) -> str:
        """What the attack is called."""
        found = getattr(self.attack, "name", None) or getattr(self.attack, "__name__", None)
        return str(found or type(self.attack).__name__)

    @property
    def name(self) -> str:  # type: ignore[override]
        """What it is called."""
        return f"attack {self.title}"

    @property
    def unit(self) -> str:  # type: ignore[override]
        """The unit of a budget."""
        return f"{ {'linf': 'L∞', 'l2': 'L2'}[self.norm] }, pixel range 0 to 1"

    @property
    def column(self) -> str | None:  # type: ignore[override]
        """The key column of attack and noise, if there are both."""
        return "attack" if self.each else None

    def describe(self) -> str:
        """What is done to an image."""
        beside = ", beside random noise of the same size" if self.each else ""
        return (
            f"Attack {self.attack!r} on the true label{beside}"
            if dataclasses.is_dataclass(self.attack)
            else f"Attack {self.title} on the true label{beside}"
        )

    def key(self, level: float) -> dict[str, Any]:
        """The budget, and the code of the attack."""
        kind = {"kind": "attack", "version": self.version, "level": level}
        if not level:
            return kind
        of = {"attack": fingerprint(self.attack), "name": self.title, "alone": self.one_by_one}
        return (
            kind
            | {"norm": self.norm, "kinds": list(self.kinds)}
            | (of if "attack" in self.kinds else {})
        )

    def arms(self, model: nn.Module) -> Sequence[tuple[str, Attacked]]:
        """The attack, and noise if it is asked for."""
        if not self.each:
            return [("", self)]
        return [(kind, dataclasses.replace(self, kinds=(kind,))) for kind in KINDS]

    @contextlib.contextmanager
    def open(self, at: Pass) -> Iterator[Forward]:
        """Run the network on attacked images, or on noisy ones."""

        def forward(batch: Batch) -> Tensor:
            seen = batch.images
            if at.level:
                made = self._noise if self.kinds == ("noise",) else self._attacked
                seen = made(at, batch)
            at.plain(seen)
            return seen

        yield forward

    def _names(self, what: str, at: Pass, batch: Batch) -> list[tuple[str | int, ...]]:
        draw = at.draw
        return [(what, draw.seed, draw.dataset, int(i), draw.number) for i in batch.ids]

    def _noise(self, at: Pass, batch: Batch) -> Tensor:
        """Random noise of the budget's size: a sign for each value, or a direction."""
        size, device = math.prod(batch.images.shape[1:]), batch.images.device
        z = philox.normals(size, self._names("attack noise", at, batch), device)
        change = at.level * steepest(z.reshape(batch.images.shape), self.norm)
        return (batch.images + change).clamp(0, 1)

    def _attacked(self, at: Pass, batch: Batch) -> Tensor:
        if batch.targets is not None:
            raise BadInput(
                f"{self.title} attacks the label of an image; these images have numbers as targets"
            )
        names = self._names("attack", at, batch)
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(batch.images.device.type, enabled=False),
            untouched(at.model, self.title),
        ):
            images = batch.images.clone()
            labels = torch.from_numpy(batch.labels.copy()).to(images.device)
            target = Target(at.model, at.run).eval()
            more: dict[str, Tensor] = {}
            if "uniforms" in inspect.signature(self.attack).parameters:
                drawn = [seeds.uniform(math.prod(images.shape[1:]), *name) for name in names]
                flat = torch.stack([torch.from_numpy(row).float() for row in drawn])
                more = {"uniforms": flat.reshape(images.shape).to(images.device)}
            if self.one_by_one:
                parts = []
                for i, name in enumerate(names):
                    one = slice(i, i + 1)
                    with seeded(int(seeds.words(1, *name)[0])):
                        given = {k: v[one] for k, v in more.items()}
                        parts.append(
                            self.attack(target, images[one].clone(), labels[one], at.level, **given)
                        )
                found, where = torch.cat(parts), ""
            else:
                found, where = drawn_globally(
                    lambda: self.attack(target, images.clone(), labels, at.level, **more)
                )
        if where:
            raise BadInput(
                f"{self.title} draws from the global generator of {where}, so what an image gets"
                " depends on its batch: take a parameter uniforms, which are named, or"
                " attacked(..., one_by_one=True), which seeds it for each image"
            )
        return self._checked(found, batch, at.level)

    def _checked(self, found: Any, batch: Batch, level: float) -> Tensor:
        """The images in [0, 1]. Raises BadInput, naming the image, for one beyond the budget."""
        images = batch.images
        if not isinstance(found, Tensor) or found.shape != images.shape:
            told = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise BadInput(f"{self.title} gives {told} for images of {tuple(images.shape)}")
        found = found.detach().to(images).clamp(0, 1)
        far = sizes((found - images).double(), self.norm)
        bad = (~(far <= level * (1 + 1e-4) + 1e-6)).nonzero()[:, 0]
        if len(bad):
            i = int(bad[0])
            raise BadInput(
                f"{self.title} leaves its budget: image {batch.ids[i]} changed by {far[i]:.4g} in"
                f" {self.norm}, {float(far[i]) - level:.3g} more than the level {level:g}"
            )
        return found


def attacked(
    attack: Attack,
    levels: Sequence[float],
    norm: str | None = None,
    noise: bool = False,
    one_by_one: bool = False,
) -> Attacked:
    """Images under an attack, at budgets from 0 up: ``attack(model, images, labels, level) ->
    images``, such as :func:`probes.perturb.attacks.pgd`.

    What it gives is cut to [0, 1], and refused where an image is further from the clean one than
    the budget in ``norm`` (``linf`` or ``l2``; by default that of the attack). Gradients are on
    inside, and the network is afterwards as before. The attack sees the network under whatever
    perturbation it is combined with. ``noise`` adds an arm of random noise of the same size, in the
    key column ``attack``: ``attack`` and ``noise`` are then compared on the same images
    (``exceeds(table, "loss", between=("attack", "noise"), arm="attack", ...)``). An attack that
    draws from a global generator is refused, or seeded for each image by its name
    (``one_by_one``).

    >>> from probes.perturb.attacks import fgsm
    >>> attacked(fgsm(), levels=(0, 0.1)).name
    'attack FGSM'
    """
    if not callable(attack):
        raise BadInput(f"attacked({attack!r}): a function (model, images, labels, level) -> images")
    which = str(norm or getattr(attack, "norm", "linf"))
    return Attacked(attack, tuple(levels), which, KINDS if noise else KINDS[:1], noise, one_by_one)
