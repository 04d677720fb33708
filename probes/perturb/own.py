"""Users' own perturbations: found by name, and checked for what they must say about themselves."""

from __future__ import annotations

import abc

from probes.errors import BadInput
from probes.origin import outside
from probes.perturb.protocol import Perturbation
from probes.registry import Registry

perturbations: Registry[Perturbation] = Registry("perturbation")
"""Perturbations by name. Users' own are ``package.module:thing``."""


def says_itself(under: object) -> None:
    """Raise BadInput for a thing that is no perturbation, and for one that would be shown under the
    name of its base class.

    A class that is derived from ``Gaussian`` and does something else needs a name, a level name, a
    unit and a sentence of its own.
    """
    kind = type(under)
    if not issubclass(kind, Perturbation):
        raise BadInput(
            f"{kind.__name__} is no perturbation: derive it from probes.Perturbation (levels, key,"
            " open), or from Gaussian, WeightNoise or LayerNoise"
        )
    levels = getattr(under, "levels", ())
    if 0 not in levels or list(levels) != sorted(set(levels)):
        raise BadInput(
            f"{kind.__name__}: levels {tuple(levels)} ascend from 0, the subject as it is, none"
            " twice"
        )
    if not outside(under):
        return
    parent = next(k for k in kind.__mro__ if not outside(k))
    own = [k for k in kind.__mro__ if outside(k) and k not in (object, abc.ABC)]
    wanted = ("name", "varied", "unit", "describe") if parent is not Perturbation else ()
    if lost := [name for name in wanted if not any(name in vars(k) for k in own)]:
        raise BadInput(
            f"{kind.__name__} does something else than {parent.__name__}, and would be shown as"
            f" that: give the class its own {', '.join(lost)} (name = 'blur', varied = 'radius',"
            " unit = 'pixels', def describe(self): a sentence)"
        )


def own(thing: object) -> bool:
    """Whether a perturbation or a measure, or what is inside it, is a user's own.

    >>> from probes.perturb import gaussian, weight_noise
    >>> own(gaussian(0, 0.1) & weight_noise(0, 0.1))
    False
    """
    inside = (getattr(thing, name) for name in ("outer", "inner") if hasattr(thing, name))
    return outside(thing) or any(map(own, inside))
