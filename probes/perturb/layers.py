"""The layers that a perturbation acts on: by name, glob, class or predicate."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence

from torch import nn

from probes import seeds
from probes.errors import BadInput
from probes.naming import modules
from probes.registry import unknown

Which = str | type | Callable[[str, nn.Module], bool]


AFTER_NORM = ("BatchNorm2d",)
"""The default layers for noise: the outputs of batch norm. Networks with other norms get it there,
and networks without norms after convolutions and linear layers (:func:`default_layers`).
"""
NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)


def several(which: Which | Sequence[Which]) -> tuple[Which, ...]:
    """One selection of layers, or several, as several."""
    one = isinstance(which, str | type) or callable(which)
    return (which,) if one else tuple(which)  # type: ignore[arg-type, return-value]


def worded(which: Sequence[Which]) -> str:
    """Selections of layers in words.

    >>> worded(("layer1.*", nn.Conv2d))
    'layer1.*, Conv2d'
    """
    return ", ".join(w if isinstance(w, str) else getattr(w, "__name__", str(w)) for w in which)


def norms(name: str, module: nn.Module) -> bool:
    """Whether a module is a norm, of torch or of anybody: its class or its name says so."""
    named = re.search(r"(Batch|Layer|Group|Instance|RMS)_?Norm", type(module).__name__)
    return isinstance(module, NORMS) or bool(named)


def weighing(name: str, module: nn.Module) -> bool:
    """Whether a module is a convolution or a linear layer."""
    return isinstance(module, nn.modules.conv._ConvNd | nn.Linear)


norms.__name__, weighing.__name__ = "norm layers", "convolutions and linear layers"


def default_layers(models: Iterable[nn.Module]) -> tuple[Which, ...]:
    """The layers that get noise by default: after batch norm; where a network has other norms,
    after all of them; where one has none, after convolutions and linear layers.

    >>> default_layers([nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))])
    ('BatchNorm2d',)
    >>> [which.__name__ for which in default_layers([nn.Sequential(nn.LayerNorm(2))])]
    ['norm layers']
    """
    every = [{type(m).__name__ for n, m in modules(net).items() if norms(n, m)} for net in models]
    if all(kinds == {"BatchNorm2d"} for kinds in every):
        return AFTER_NORM
    return (norms,) if all(every) else (weighing,)


def layers_of(model: nn.Module, which: Which | Sequence[Which]) -> dict[str, nn.Module]:
    """The modules of a selection, in the model's order, named as :func:`probes.naming.modules`
    names them.

    A module that stands in several places is one layer, under its first name. A selection is a
    name, a glob pattern (``layer1.*.bn2``), the name of a class (``BatchNorm2d``), a class, a
    predicate ``(name, module) -> bool``, or several of these. Raises UnknownName (BadInput for a
    class or predicate) for a selection that matches nothing, and BadInput for the second name of a
    module.

    >>> list(layers_of(nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()), "Conv2d"))
    ['0']
    """
    every = modules(model)
    first = {id(m): name for name, m in reversed(every.items())}
    known = {
        name: m
        for name, m in every.items()
        if first[id(m)] == name
        # a module that stands twice has its first name only
    }
    chosen: set[str] = set()
    for one in several(which):
        if isinstance(one, str):
            if one in every and one not in known:
                raise BadInput(
                    f"layers {first[id(every[one])]!r} and {one!r} are one module, and noise on it"
                    f" comes at each of its calls: name it {first[id(every[one])]!r}, or give the"
                    " network two"
                )
            found = {
                n
                for n, m in known.items()
                if fnmatch.fnmatchcase(n, one) or type(m).__name__ == one
            }
            if not found:
                raise unknown(
                    "layer",
                    one,
                    {*known, *(type(m).__name__ for m in known.values())},
                    "a name, a glob or a class",
                )
        else:
            found = {
                n
                for n, m in known.items()
                if (isinstance(m, one) if isinstance(one, type) else one(n, m))
            }
            if not found:
                raise BadInput(
                    f"no layer of {type(model).__name__} is chosen by"
                    f" {getattr(one, '__name__', one)}"
                )
        chosen |= found
    return {name: m for name, m in known.items() if name in chosen}


def distinct(n: int, count: int, *name: str | int) -> list[int]:
    """``n`` different places out of ``count``, drawn by name. A longer draw begins with the same
    places.
    """
    found: dict[int, None] = {}
    length = 4 * n + 16
    while len(found) < n:
        for u in seeds.uniform(length, *name):
            found.setdefault(int(u * count))
            if len(found) == n:
                break
        length *= 2
    return list(found)
