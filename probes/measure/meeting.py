"""Reads the streams of residual sums in a network whose blocks have no adapter."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from probes.axes import as_maps
from probes.errors import BadInput, ProbesError
from probes.hooks import handles
from probes.measure.sums import Residual, named, watching
from probes.measure.watching import ACTIVATIONS, Sum, Watch, adds
from probes.naming import modules
from probes.registry import unknown

_SITES: weakref.WeakKeyDictionary[nn.Module, tuple[Residual, ...]] = weakref.WeakKeyDictionary()
"""The residual sums of networks that were watched."""
Place = tuple[str, int]


class _Meet(Watch):
    """Keeps the two sides of a sum, reduced, before they are added; then the sum; then what its
    activation gives, or the sum itself where there is none.

    On the first pass of a network it follows every tensor to find which sums are residual; later
    it only meets them again, by the module that adds and by their place in it.
    """

    def __init__(
        self,
        keep: Callable[[Place, str, Tensor], None],
        slope: Callable[[Place, str, Tensor], None],
    ) -> None:
        super().__init__()
        self.keep, self.slope = keep, slope
        self.sites: dict[Place, Residual] = {}
        self.waiting: dict[int, tuple[Tensor, Place]] = {}
        self.on = self.learning = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if not self.on:
            return func(*args, **(kwargs or {}))
        if self.learning:
            return super().__torch_function__(func, types, args, kwargs)
        if adds(func, args, kwargs):
            place = self.place()
            if place is not None and (site := self.sites.get(place)):
                return self._add(place, site, func, args, kwargs)
        out = func(*args, **(kwargs or {}))
        activates = self.waiting and args and getattr(func, "__name__", "") in ACTIVATIONS
        if activates and (found := self.waiting.pop(id(args[0]), None)):
            self.keep(found[1], "out", out)
        return out

    def _add(
        self, place: Place, site: Residual, func: Any, args: Sequence[Any], kwargs: Any
    ) -> Any:
        self._sides(place, site.branch_first, args)
        total = func(*args, **(kwargs or {}))
        self.keep(place, "sum", total)
        if site.next:
            self.slope(place, site.next, total)
            self.waiting[id(total)] = total, place
        else:
            self.keep(place, "out", total)
        return total

    def _sides(self, place: Place, branch_first: bool, sides: Sequence[Tensor]) -> None:
        h, x = sides if branch_first else (sides[1], sides[0])
        self.keep(place, "x", x)
        self.keep(place, "h", h)

    def meets(self, one: Sum, sides: Sequence[Tensor]) -> None:
        self._sides((one.module, one.place), one.branch_first, sides)

    def summed(self, one: Sum, total: Tensor) -> None:
        self.keep((one.module, one.place), "sum", total)
        self.waiting[id(one)] = total, (one.module, one.place)

    def used(self, one: Sum) -> None:
        total, place = self.waiting.pop(id(one))
        if one.next:
            self.slope(place, one.next, total)
        else:
            self.keep(place, "out", total)

    def activated(self, one: Sum, out: Tensor) -> None:
        self.keep((one.module, one.place), "out", out)

    def finish(self) -> None:
        """The pass has ended: a sum that nothing was done to is what comes out."""
        for total, place in self.waiting.values():
            self.keep(place, "out", total)
        self.waiting.clear()


def found_in(model: nn.Module) -> tuple[Residual, ...]:
    """The residual sums of a network that was read before; none of one that was not."""
    return _SITES.get(model, ())


@contextlib.contextmanager
def meet(
    model: nn.Module,
    sites: Sequence[str] | None,
    reduce: Callable[[str, Tensor], Any],
    parts: set[str],
    slope: Callable[[str, Tensor], Any] | None = None,
    maps: bool = False,
) -> Iterator[dict[str, dict[str, Any]]]:
    """Read ``h``, ``x``, ``sum`` and ``out`` of residual sums at every pass inside the block, as
    :func:`probes.measure.tap` does.

    ``slope(activation, sum)`` is asked of each sum that an activation follows, before that may work
    in place; what it gives stands under ``slope``. ``maps`` hands out tokens as maps.
    Which sums are residual is found on the first pass of a network, and kept. Raises BadInput for
    a network without residual sums, UnknownName for a site, ProbesError for a sum that a pass does
    not meet once.
    """
    seen: dict[str, dict[str, Any]] = {}
    met: dict[Place, dict[str, Any]] = {}

    def keep(place: Place, part: str, tensor: Tensor) -> None:
        mine = met.setdefault(place, {})
        if part in mine:
            raise ProbesError(
                f"the sum in {place[0]!r} is met more than once in a forward pass: taps read what"
                " runs once"
            )
        if part not in parts:
            mine[part] = None
        else:
            mine[part] = reduce(part, as_maps(known[place[0]], tensor) if maps else tensor)

    def keep_slope(place: Place, activation: str, total: Tensor) -> None:
        if slope is not None:
            met.setdefault(place, {})["slope"] = slope(activation, total)

    known = {**modules(model), "": model}
    mode = _Meet(keep, keep_slope)

    def begin(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.clear()
        met.clear()
        mode.waiting.clear()
        mode.follow([x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)])
        arrange()
        mode.learning = model not in _SITES
        if not mode.learning:
            mode.sites = {(s.module, s.place): s for s in chosen(_SITES[model], sites)}
        mode.on = True

    def end(*_: Any) -> None:
        mode.on = False
        if mode.learning:
            mode.finish()
            _SITES[model] = named(mode.found)
        for site in chosen(_SITES[model], sites):
            streams = met.get((site.module, site.place), {})
            if lost := [part for part in ("x", "sum", "out") if part not in streams]:
                raise ProbesError(f"sum {site.name!r} gave no {lost[0]!r} in this forward pass")
            seen[site.name] = {p: v for p, v in streams.items() if p in (*parts, "slope")}

    with handles() as held, watching(model, mode) as arrange, mode:
        held.append(model.register_forward_pre_hook(begin, with_kwargs=True))
        held.append(model.register_forward_hook(end))
        yield seen


def chosen(every: Sequence[Residual], names: Sequence[str] | None) -> list[Residual]:
    """The residual sums to read: those that are named, else all."""
    known = {site.name: site for site in every}
    if not known:
        raise BadInput(
            "no residual sums: nowhere in this network do two tensors of one shape meet of which"
            " one has passed through more weights than the other; feature_metrics reads any layer"
        )
    for name in names or ():
        if name not in known:
            raise unknown("residual sum", name, known)
    return [site for site in every if names is None or site.name in set(names)]
