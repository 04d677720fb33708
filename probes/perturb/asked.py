"""Perturbations as they are typed: ``noise:0,.1 corruptions quantised:8,4``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from probes.errors import BadInput
from probes.perturb.attacking import attacked
from probes.perturb.attacks import fgsm, pgd
from probes.perturb.corrupting import CORRUPTIONS, SEVERITIES, corruption, corruptions
from probes.perturb.flipping import bit_flips
from probes.perturb.images import gaussian
from probes.perturb.outputs import layer_noise
from probes.perturb.own import perturbations, says_itself
from probes.perturb.precision import pruned, quantised
from probes.perturb.protocol import Perturbation
from probes.perturb.weights import weight_noise
from probes.registry import unknown

Levels = tuple[float, ...]
BUDGETS = (0.0, 2 / 255, 8 / 255)
"""The budgets of attacks, in units of the pixel range, where none are typed."""
MADE: Mapping[str, tuple[Callable[[Levels], Perturbation], Levels]] = {
    "noise": (lambda levels: gaussian(*levels), (0.0, 0.05, 0.1, 0.15, 0.2, 0.25)),
    "weight_noise": (lambda levels: weight_noise(*levels), (0.0, 0.1, 0.2, 0.5)),
    "layer_noise": (lambda levels: layer_noise(*levels), (0.0, 0.25, 0.5, 1.0)),
    "fgsm": (lambda levels: attacked(fgsm(), levels), BUDGETS),
    "pgd": (lambda levels: attacked(pgd(), levels), BUDGETS),
    "quantised": (lambda bits: quantised([_whole("quantised", b) for b in bits]), (8, 4, 3, 2)),
    "pruned": (lambda shares: pruned(shares), (0.2, 0.5, 0.8)),
    "bit_flips": (lambda rates: bit_flips(*rates), (0.0, 1e-6, 1e-5)),
}
"""What makes a perturbation of levels, and the levels where none are typed, by name."""
SEVERAL = {"attacks": ("fgsm", "pgd")}
"""Names of more than one perturbation."""
OF_NETWORK = ("quantised", "pruned")
"""Names whose levels are not strengths from 0: bits, and shares of the weights."""
NAMES = (*MADE, *SEVERAL, "corruptions", *CORRUPTIONS)
"""Every name that can be typed, beside ``package.module:thing``."""


def asked(
    text: str | Iterable[str], severity: Sequence[int] = SEVERITIES
) -> dict[str, Perturbation]:
    """The perturbations that a text names, in its order: ``NAME[:LEVELS]``, several between blanks
    or commas, each under its name.

    Names: ``noise`` (Gaussian, standard deviations in pixels), ``weight_noise``, ``layer_noise``,
    ``corruptions`` (all fifteen, an arm each), the nineteen corruptions by their own names (levels
    are severities), ``fgsm``, ``pgd`` and ``attacks`` (both; budgets in L∞), ``quantised`` (levels
    are bits), ``pruned`` (shares of the weights), ``bit_flips`` (rates). Level 0, the subject as it
    is, need not be typed. ``package.module:thing[:LEVELS]`` is a perturbation of one's own.
    ``severity`` is that of corruptions which name none.

    Raises UnknownName, with the names allowed, for another name; BadInput for levels that are no
    numbers, for a name that stands twice, and where nothing is named.

    >>> found = asked("noise:0,.1 fog:1,3,quantised:8")
    >>> {name: one.levels for name, one in found.items()}
    {'noise': (0.0, 0.1), 'fog': (0.0, 1.0, 3.0), 'quantised': (0.0, 24.0)}
    >>> list(asked("corruptions,attacks"))
    ['corruptions', 'fgsm', 'pgd']
    """
    found: dict[str, Perturbation] = {}
    for name, levels in _parts(text):
        for one in SEVERAL.get(name, (name,)):
            if one in found:
                raise BadInput(f"{one!r} stands twice: write it once, with all its levels")
            found[one] = _made(one, levels, severity)
    if not found:
        raise BadInput(f"no perturbation is named; there are {', '.join(NAMES)}")
    return found


def named(name: str, levels: Levels = ()) -> Perturbation:
    """A perturbation of one's own, ``package.module:thing``, at these levels where there are some.

    Raises UnknownName for one that can't be imported, BadInput for a thing that is none.
    """
    found = perturbations[name]
    says_itself(found)
    return found.at(levels) if levels else found


def _parts(text: str | Iterable[str]) -> list[tuple[str, Levels]]:
    """Names with their levels. A number behind a comma belongs to the name before it."""
    words = (text if isinstance(text, str) else " ".join(text)).replace(",", " ").split()
    found: list[tuple[str, list[float]]] = []
    for word in words:
        name, colon, first = word.rpartition(":")
        if (value := _number(word)) is not None:
            if not found:
                raise BadInput(f"{word!r}: a level stands behind a name, e.g. noise:{word}")
            found[-1][1].append(value)
        elif colon and (value := _number(first)) is not None:
            found.append((name, [value]))
        elif colon and (head := word.partition(":")[0]) in (*NAMES, *SEVERAL):
            raise BadInput(f"{word!r}: levels are numbers between commas, e.g. {head}:0,.1")
        else:
            found.append((word, []))
    return [(name, tuple(levels)) for name, levels in found]


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text) else None


def _made(name: str, levels: Levels, severity: Sequence[int]) -> Perturbation:
    if ":" in name:
        return named(name, _from_0(levels) if levels else ())
    if name == "corruptions" or name in CORRUPTIONS:
        chosen = tuple(_whole(name, v) for v in levels if v) or tuple(severity)
        return corruptions(chosen) if name == "corruptions" else corruption(name, severity=chosen)
    if name not in MADE:
        raise unknown("perturbation", name, NAMES, "your own: package.module:thing")
    make, usual = MADE[name]
    if name in OF_NETWORK:
        return make(tuple(v for v in levels if v) or usual)
    return make(_from_0(levels or usual))


def _from_0(levels: Levels) -> Levels:
    if len(set(levels)) < len(levels):
        raise BadInput(f"levels {' '.join(f'{v:g}' for v in levels)}: one stands twice")
    return tuple(sorted({0.0, *levels}))


def _whole(name: str, value: float) -> int:
    if not math.isfinite(value) or value != int(value):
        raise BadInput(f"{name}:{value:g}: a whole number")
    return int(value)
