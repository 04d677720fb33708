"""What a perturbation is asked before a sweep: at which levels, in which arms, what it is called."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import TypeVar

from torch import nn

from probes.errors import BadInput
from probes.origin import outside
from probes.perturb import Gaussian, LayerNoise, WeightNoise
from probes.run.cells import Perturbation

P = TypeVar("P", bound=Perturbation)


def at(under: P, levels: Sequence[float]) -> P:
    """A perturbation at other levels; one of somebody's own may have an initialiser of its own."""
    if not outside(under):
        return dataclasses.replace(under, levels=tuple(levels))
    made = copy.copy(under)
    object.__setattr__(made, "levels", tuple(sorted(float(v) for v in levels)))
    return made


def says_itself(under: Perturbation) -> None:
    """Raise BadInput for a perturbation of somebody's own that would be shown under the name of the one that it is made from."""
    kind = type(under)
    if not isinstance(under, Gaussian | WeightNoise | LayerNoise):
        raise BadInput(f"{kind.__name__} is no perturbation: derive it from Gaussian (images), WeightNoise or LayerNoise")
    if not outside(under):
        return
    own = [k for k in kind.__mro__ if outside(k)]
    lost = [name for name in ("name", "varied", "unit", "describe") if not any(name in vars(k) for k in own)]
    if lost:
        parent = next((k.__name__ for k in kind.__mro__ if not outside(k) and k is not object), "none of ours")
        raise BadInput(
            f"{kind.__name__} does something else than {parent}, and would be shown as that: give the class its own"
            f" {', '.join(lost)} (name = 'blur', varied = 'radius', unit = 'pixels', def describe(self): a sentence)"
        )


def arms_of(under: Perturbation, model: nn.Module) -> list[tuple[str, Perturbation]]:
    """One perturbation per arm, with its label: per policy of batch norm, per number of layers, per layer."""
    if isinstance(under, Gaussian):
        return [("", under)]
    if isinstance(under, WeightNoise):
        return [(policy, dataclasses.replace(under, batch_norm=(policy,))) for policy in under.batch_norm]
    here = under.resolved(model)
    if under.choice == "each":
        return [(str(layer), dataclasses.replace(here, on=(layer,), counts=(1,))) for layer in here.on]
    return [(f"{count:g}", dataclasses.replace(here, counts=(count,))) for count in here.counts]


def kind_of(under: Perturbation) -> str:
    """The perturbation in an evidence's design: everything that matters beside its levels."""
    if outside(under):
        return f"{under.name}: {under.describe()}"
    if isinstance(under, Gaussian):
        return "gaussian"
    if isinstance(under, LayerNoise):
        on = ", ".join(one if isinstance(one, str) else getattr(one, "__name__", str(one)) for one in under.on)
        many = " ".join(f"{n:g}" if isinstance(n, int) else f"{n:g} of all" for n in under.counts)
        counts = "one layer at a time" if under.choice == "each" else f"{many} layers"
        whose = {"own": ", drawn by each image", "common": ", drawn for all images", "each": ""}[under.choice]
        return f"{under.scale} noise on the outputs of {on}: {counts}{whose}, p = {under.probability:g}"
    select = f" on {', '.join(under.select)}" if under.select else ""
    images = f" on {under.images} training images" if "re-estimated" in under.batch_norm else ""
    return f"weight noise{select}, batch norm {' and '.join(under.batch_norm)}{images}"


def listed(levels: Sequence[float]) -> str:
    """Levels in words."""
    return " ".join(f"{v:g}" for v in levels)
