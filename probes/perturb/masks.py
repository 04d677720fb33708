"""Masks: the units of modules scaled or removed, chosen by an index, at random, or at random with
the same magnitudes.

A mask is a factor per unit (channel, y, x) of a module's output: 1 leaves it, 0 removes it. Nothing
is written to the model, and a chosen share is a share: ties are broken at random, by name, so that
"the top half" is half of the units also where most indices are equal.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from probes import seeds
from probes.axes import as_given, as_maps
from probes.errors import BadInput, ProbesError
from probes.hooks import handles, refuse_training, refuse_wrapped
from probes.naming import modules
from probes.registry import unknown

BINS = 20
"""The number of classes of magnitude from which a matched mask is drawn."""


@contextlib.contextmanager
def scaled_units(model: nn.Module, scales: Mapping[str, Tensor]) -> Iterator[None]:
    """Multiply the outputs of modules by ``scales`` inside the block: module name -> factors of the
    shape of one image's output.

    Tokens and maps with channels last are taken as maps with channels first
    (:func:`probes.axes.as_maps`). Axes of size 1 broadcast, so (C, 1, 1) scales channels.

    Raises UnknownName for a module; BadInput, at the pass, for factors of another shape (those of
    another network or module), for outputs that are no batch of floats, and for a model that is
    compiled, in DataParallel or in training mode; ProbesError when the block ends and a module
    never ran.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False)).eval()
    >>> with torch.no_grad(), scaled_units(net, {"1": torch.tensor([0.0, 1.0])}):
    ...     out = net(torch.ones(3, 2))
    >>> bool((out[:, 0] == 0).all())
    True
    """
    refuse_wrapped(model)
    refuse_training(model)
    known = modules(model)
    for name in scales:
        if name not in known:
            raise unknown("module", name, known)
    ran: set[str] = set()
    placed: dict[tuple[str, torch.device, torch.dtype], Tensor] = {}

    def scale(name: str, out: object) -> Tensor:
        factors = scales[name]
        if not isinstance(out, Tensor) or not out.is_floating_point() or out.ndim < 2:
            raise BadInput(f"module {name!r} gives no batch of floats: nothing to mask")
        given, maps = out.shape, as_maps(known[name], out)
        folded = maps.ndim == factors.ndim + 1
        out = maps if folded else out
        shape = tuple(out.shape[1:])
        if factors.ndim != len(shape) or any(
            f not in (1, n) for f, n in zip(factors.shape, shape, strict=True)
        ):
            raise BadInput(
                f"a mask of shape {tuple(factors.shape)} for module {name!r}, which gives {shape}:"
                " is it another network's?"
            )
        ran.add(name)
        where = name, out.device, out.dtype
        if where not in placed:
            placed[where] = factors.to(*where[1:])
        masked = out * placed[where]
        return as_given(known[name], masked, given) if folded else masked

    with handles() as held:
        for name in scales:
            hook = lambda _, __, out, name=name: scale(name, out)  # noqa: E731
            held.append(
                known[name].register_forward_hook(hook, prepend=True)
                # a module that reads this one reads it masked
            )
        yield
    if ran and (lost := [name for name in scales if name not in ran]):
        raise ProbesError(f"module {lost[0]!r} did not run: its mask did nothing")


def largest(index: np.ndarray, q: float, *name: str | int) -> np.ndarray:
    """The units with the largest index, beyond the quantile ``q``: a mask of ``round((1 - q) n)``
    units, whatever the ties.

    Units of equal index come in a random order, drawn by name. NaN, the index of a dead unit, comes
    last. Raises BadInput for a q that masks all units or none, and for an index without any number.

    >>> int(largest(np.array([0.0, 0.0, 0.0, 1.0]), 0.5, "example").sum())
    2
    """
    count = _count(index.size, q)
    if not np.isfinite(index).any():
        raise BadInput("every unit of the layer is dead: there is none to choose")
    flat = np.where(np.isfinite(index), index, -np.inf).ravel()
    order = np.lexsort((seeds.permutation(flat.size, "ties", *name), -flat))
    chosen = np.zeros(flat.size, bool)
    chosen[order[:count]] = True
    return chosen.reshape(index.shape)


def at_random(shape: tuple[int, ...], q: float, *name: str | int) -> np.ndarray:
    """A random mask with the size of :func:`largest`. Each draw has a name.

    >>> int(at_random((2, 5), 0.8, "example", 0).sum())
    2
    """
    units = math.prod(shape)
    chosen = np.zeros(units, bool)
    chosen[seeds.permutation(units, "random mask", *name)[: _count(units, q)]] = True
    return chosen.reshape(shape)


def matched(chosen: np.ndarray, magnitude: np.ndarray, *name: str | int) -> np.ndarray:
    """A random mask with the same number of units in each class of ``magnitude`` as ``chosen``.
    There are 20 classes of equal size, by rank.

    Raises BadInput for a magnitude of another shape, or with NaN.

    >>> chosen = np.arange(40) >= 20
    >>> # the larger half is the larger half
    >>> bool((matched(chosen, np.arange(40.0), "example") == chosen).all())
    True
    """
    if magnitude.shape != chosen.shape or not np.isfinite(magnitude).all():
        raise BadInput(
            f"magnitudes of shape {magnitude.shape} for a mask of shape {chosen.shape}: one finite"
            " number a unit"
        )
    flat, sizes = chosen.ravel(), magnitude.ravel()
    order = np.lexsort((seeds.permutation(flat.size, "ties of magnitude"), sizes))
    out = np.zeros(flat.size, bool)
    for i, units in enumerate(np.array_split(order, min(BINS, flat.size))):
        out[
            units[seeds.permutation(len(units), "matched mask", i, *name)[: int(flat[units].sum())]]
        ] = True
    return out.reshape(chosen.shape)


def scaled(chosen: np.ndarray, alpha: float) -> Tensor:
    """Factors of a mask: ``alpha`` for chosen units, 1 for the others. Raises BadInput for an alpha
    below 0 or not finite.

    >>> scaled(np.array([True, False]), 0.5).tolist()
    [0.5, 1.0]
    """
    if not 0 <= alpha < math.inf:
        raise BadInput(
            f"alpha {alpha}: 0 removes units, below 1 damps them, above 1 amplifies them; none is"
            " negative"
        )
    return torch.where(torch.from_numpy(chosen), alpha, 1.0)


def _count(units: int, q: float) -> int:
    if not 0 < q < 1:
        raise BadInput(f"q {q}: a quantile between 0 and 1; .8 is the top fifth of the units")
    count = round((1 - q) * units)
    if not 0 < count < units:
        raise BadInput(
            f"q {q} of {units} units chooses {count}: choose a q that leaves some in and some out"
        )
    return count
