"""Gaussian noise on weights, as a mapping for ``torch.func.functional_call``. The model itself is
never changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from probes import philox
from probes.batch import Batch, Draw
from probes.errors import BadInput
from probes.moments import to_float64
from probes.naming import plain
from probes.origin import outside
from probes.perturb.effective import re_estimated, reached, refuse_lost
from probes.perturb.plainweights import targets
from probes.perturb.protocol import Forward, Pass, Perturbation
from probes.perturb.strength import is_strength
from probes.registry import unknown

POLICIES = ("frozen", "re-estimated")
"""Batch norm at perturbed weights keeps its running statistics, or computes them again from
training images.
"""


def perturbed(
    weights: Mapping[str, Tensor], alpha: float, draw: Callable[[torch.Size], Tensor]
) -> dict[str, Tensor]:
    """``W + alpha * std(W) * z`` for each weight, with ``z = draw(W.shape)`` standard normal and
    the std of the whole tensor.

    It is a mapping for ``torch.func.functional_call``. Gradients pass to W as if the noise were a
    constant. A weight with a single number has no standard deviation, and gets no noise.

    >>> w = {"w": torch.tensor([1.0, 3.0])}
    >>> perturbed(w, 0.5, torch.ones)["w"]
    tensor([1.7071, 3.7071])
    """
    return {
        name: torch.add(w, draw(w.shape), alpha=alpha * _spread(w)) for name, w in weights.items()
    }


def _spread(w: Tensor) -> float:
    return float(w.detach().std()) if w.numel() > 1 else 0.0


@dataclasses.dataclass(frozen=True)
class WeightNoise(Perturbation):
    """Weight noise of strength alpha: per tensor, eps ~ N(0, (alpha * std(W))^2). The model's state
    is never written to.

    ``levels`` are alphas, ascending from 0. The direction of a draw is common to all alphas and all
    images, and named by (seed, tensor, draw), where several training runs are compared also by the
    training seed. ``select`` are glob patterns of parameter names instead of the default
    (:func:`targets`). ``batch_norm`` says what batch norm does at perturbed weights: ``frozen``
    keeps its running statistics, ``re-estimated`` takes them anew from ``images`` training images;
    both of them make two arms, in the key column ``batch_norm``. At level 0 the model is as it is.
    """

    levels: tuple[float, ...]
    select: tuple[str, ...] = ()
    batch_norm: tuple[str, ...] = ("frozen",)
    images: int = 1000

    name = "weight noise"
    varied = "alpha"
    unit = "of a weight's standard deviation"
    acts_on = "weights"
    column = "batch_norm"
    common = True
    version = 1

    @property
    def training_images(self) -> int:  # type: ignore[override]
        """Training images that batch norm is re-estimated on."""
        return self.images if "re-estimated" in self.batch_norm else 0

    def describe(self) -> str:
        """What is done to the weights, in words."""
        on = (
            f" on {', '.join(self.select)}"
            if self.select
            else " on the weights of convolutions, linear, attention and recurrent layers"
        )
        return f"Gaussian noise{on}, batch norm {' and '.join(self.batch_norm)}"

    def __post_init__(self) -> None:
        levels = tuple(self.levels)
        bad = [v for v in levels if not is_strength(v)]
        if bad:
            raise BadInput(
                f"weight noise at alpha {bad[0]}: an alpha is a finite number from 0 up, in units"
                " of a weight's std"
            )
        if 0 not in levels or len(set(levels)) != len(levels):
            problem = (
                "lack 0, the clean weights that every effect is measured from"
                if 0 not in levels
                else "hold one twice"
            )
            raise BadInput(f"weight noise at alphas {levels}: they {problem}")
        for policy in self.batch_norm:
            if policy not in POLICIES:
                raise unknown("policy of batch norm", str(policy), POLICIES)
        if not self.batch_norm or len(set(self.batch_norm)) < len(self.batch_norm):
            raise BadInput(f"batch_norm={self.batch_norm}: one policy, or two different ones")
        if self.images < 2:
            raise BadInput(
                f"images={self.images}: batch norm is re-estimated on two training images or more"
            )
        object.__setattr__(self, "levels", tuple(sorted(float(v) for v in levels)))

    def key(self, level: float) -> dict:
        """What the weights at a level depend on, as JSON. The clean weights depend on nothing."""
        kind = {"kind": "weight noise", "version": self.version, "level": level}
        if not level:
            return kind
        policy = {"batch_norm": list(self.batch_norm)} | (
            {"images": self.images} if "re-estimated" in self.batch_norm else {}
        )
        return kind | {"select": list(self.select)} | policy

    def drawn(self, draw: Draw) -> dict[str, Any]:
        """The direction of a draw does not depend on the dataset. It depends on the training run if
        several are compared.
        """
        name: dict[str, Any] = {"draw": draw.number, "seed": draw.seed, "run": draw.run}
        return name | ({"training": draw.training_sha256} if draw.training_sha256 else {})

    def arms(self, model: nn.Module) -> Sequence[tuple[str, WeightNoise]]:
        """One arm per policy of batch norm."""
        return [
            (policy, dataclasses.replace(self, batch_norm=(policy,))) for policy in self.batch_norm
        ]

    def images_per_cell(self, batch_size: int, images: int) -> int:
        """All images: the direction is expensive, and all images share it."""
        return images

    def design(self) -> dict[str, Any]:
        """What an expectation is bound to."""
        if outside(self):
            return super().design()
        select = f" on {', '.join(self.select)}" if self.select else ""
        images = f" on {self.images} training images" if self.training_images else ""
        words = f"weight noise{select}, batch norm {' and '.join(self.batch_norm)}{images}"
        return {"perturbation": words, "space": "weights", "clamp": False}

    def facts(self, models: Mapping[str, nn.Module], seed: int) -> dict[str, Any]:
        """How many numbers of which weights get noise, and how many numbers there are."""
        every = {net: reached(self, model, seed) for net, model in models.items()}
        return {
            "perturbed": {
                net: {plain(models[net], n): w.numel() for n, w in ws.items()}
                for net, ws in every.items()
            },
            "parameters": {
                net: sum(p.numel() for p in model.parameters()) for net, model in models.items()
            },
        }

    @contextlib.contextmanager
    def open(self, at: Pass) -> Iterator[Forward]:
        """Run the network with other weights; their direction is kept for other levels."""
        weights: dict[str, Tensor] = {}
        if at.level:
            draw, model = at.draw, at.model

            def make() -> dict[str, Tensor]:
                found = self.directions(model, draw.seed, draw.number, draw.run)
                if at.first is not None:
                    refuse_lost(self, model, at.send(at.first()))
                return found

            name = (
                "directions",
                type(self),
                self.select,
                at.place,
                draw.seed,
                draw.number,
                draw.run,
            )
            directions = at.kept.get(name, make)
            # no inference tensors: an attack asks for gradients through these weights
            with torch.inference_mode(False), torch.no_grad():
                weights = self.mapping(model, at.level, directions)
            if self.batch_norm == ("re-estimated",):
                weights |= re_estimated(model, weights, map(at.send, at.training()))

        def forward(batch: Batch) -> Tensor:
            if weights:
                functional_call(at.model, weights, (at.send(batch.images),))
            else:
                at.plain(batch.images)
            return batch.images

        yield forward

    def directions(
        self, model: nn.Module, seed: int, draw: int, run: int | None = None
    ) -> dict[str, Tensor]:
        """``std(W) * z`` of every weight, float32: the noise at alpha 1. ``run`` is the training
        seed if runs are compared.

        >>> model = nn.Linear(2, 1)
        >>> noise = weight_noise(0, 0.1)
        >>> bool((noise.directions(model, 0, 0)["weight"] == noise.directions(model, 0,
        ...     0)["weight"]).all())
        True
        """
        found = {}
        for name, w in targets(model, self.select).items():
            names = (
                ("weights", seed, name, draw) if run is None else ("weights", seed, name, draw, run)
            )
            z = philox.normals(w.numel(), [names], w.device)[0].reshape(w.shape)
            found[name] = z.mul_(_spread(to_float64(w)))
        return found

    def mapping(
        self, model: nn.Module, level: float, directions: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The perturbed weights at a level by name, for ``torch.func.functional_call(model,
        mapping, (images,))``.
        """
        weights = targets(model, self.select)
        return {
            name: torch.add(weights[name].detach(), eps.to(weights[name].dtype), alpha=level)
            for name, eps in directions.items()
        }


def weight_noise(
    *levels: float,
    select: str | Sequence[str] = (),
    batch_norm: str | Sequence[str] = "frozen",
    images: int = 1000,
) -> WeightNoise:
    """Weight noise at these alphas, 0 among them: see :class:`WeightNoise`.

    Raises BadInput for an alpha that is negative, NaN or infinite, for alphas without 0 or with one
    twice; UnknownName for a policy of batch norm other than ``frozen`` and ``re-estimated``.

    >>> weight_noise(0, 0.2, 0.1).levels
    (0.0, 0.1, 0.2)
    """
    policies = (batch_norm,) if isinstance(batch_norm, str) else tuple(batch_norm)
    return WeightNoise(
        tuple(levels), (select,) if isinstance(select, str) else tuple(select), policies, images
    )
