"""Taps on residual blocks: the branch h, the shortcut x, their sum before the last ReLU, and the
output.

A forward hook that keeps a tensor keeps what later in-place operations make of it: in torchvision's
``BasicBlock``, ``out += identity`` and the in-place ReLU overwrite the output of ``bn2``. So a tap
reduces (or copies) each stream inside the hook that sees it first, and reads the sum in a
*pre*-hook of the block's last ReLU call.
"""

from __future__ import annotations

import contextlib
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from probes.errors import BadInput, ProbesError
from probes.hooks import handles, refuse_training, refuse_wrapped
from probes.measure.adapters import BlockAdapter, adapter_of, adapters, block_sites, known, whose
from probes.measure.meeting import meet
from probes.moments import to_float64
from probes.naming import modules
from probes.registry import unknown

Streams = dict[str, Any]
"""What a tap saw of one block: ``h``, ``x`` (if there is a shortcut), ``sum`` and ``out``, each
reduced.
"""
PARTS = ("h", "x", "sum", "out")


def _chosen(model: nn.Module, sites: Sequence[str] | None) -> dict[str, nn.Module]:
    blocks = block_sites(model)
    way_out = (
        "teach it with probes.measure.register_block(TYPE, BlockAdapter(branch=..., relu=...))"
    )
    if sites is None:
        own = [
            n
            for n, child in modules(model).items()
            if issubclass(type(child), tuple(adapters())) and adapter_of(child) is None
        ]
        if own:
            kind = type(modules(model)[own[0]]).__name__
            raise BadInput(
                f"block {own[0]!r} is a {kind}, a block with a forward of its own: {way_out}, or"
                " name the sites to read"
            )
        if not blocks:
            kinds = Counter(whose(type(m)) for m in model.modules() if len(list(m.children())) > 1)
            raise BadInput(
                f"no block that taps know ({known()}) in a network of"
                f" {', '.join(kinds) or 'no blocks'}; {way_out}"
            )
        return blocks
    known_modules = modules(model)
    for site in sites:
        if site not in known_modules:
            raise unknown("block", site, blocks)
        if site not in blocks:
            raise BadInput(
                f"{site!r} is a {type(known_modules[site]).__name__}, no block that taps know"
                f" ({known()}); {way_out}"
            )
    return {site: blocks[site] for site in blocks if site in set(sites)}


@contextlib.contextmanager
def tap(
    model: nn.Module,
    sites: Sequence[str] | None = None,
    reduce: Callable[[str, Tensor], Any] | None = None,
    parts: Sequence[str] = PARTS,
) -> Iterator[dict[str, Streams]]:
    """Read the streams of residual blocks at every forward pass inside the block.

    Yields a dictionary that each pass fills anew: site -> part -> ``reduce(part, tensor)``. A part
    is ``h``, ``x``, ``sum`` (before the last ReLU) or ``out``; the tensor has shape (N, C, H, W):
    tokens (N, T, C) are folded where they form a square, else they are (N, C, T, 1).
    Without ``reduce`` the dictionary holds copies. Blocks are those that have an adapter; in a
    network that has none, they are its residual sums (:func:`probes.measure.sums`), whatever
    adds and activates. The hooks are removed when the block ends,
    however it ends; nothing else of the model is touched. A pass that fails leaves the dictionary
    incomplete.

    Raises BadInput for a model that is compiled, in DataParallel or in training mode, for an
    unknown block type, and for a block whose x and h do not add up to the input of its last ReLU
    (checked on its first pass); UnknownName for a site; ProbesError if a block does not run once
    per pass as its adapter says.

    >>> import torch
    >>> from probes.subjects.nets import nets
    >>> net = nets["resnet20"](1, 10).eval()
    >>> with torch.no_grad(), tap(net, ["layer1.0"]) as seen:
    ...     _ = net(torch.rand(2, 1, 8, 8))
    >>> s = seen["layer1.0"]
    >>> bool(torch.equal(s["x"] + s["h"], s["sum"])), bool((s["sum"] < 0).any())
    (True, True)
    """
    refuse_wrapped(model)
    if wrong := set(parts) - set(PARTS):
        raise unknown("stream", min(wrong), PARTS)
    refuse_training(model)
    if not block_sites(model):
        with meet(model, sites, reduce or (lambda _, t: t.clone()), set(parts), maps=True) as found:
            yield found
        return
    chosen = _chosen(model, sites)
    seen: dict[str, Streams] = {}
    with handles() as held:
        held.append(model.register_forward_pre_hook(lambda *_: seen.clear()))
        for site, block in chosen.items():
            _hook(site, block, seen, reduce or (lambda _, t: t.clone()), set(parts), held)

        def ran(*_: Any) -> None:
            if lost := [site for site in chosen if "ran" not in seen.get(site, {})]:
                raise ProbesError(f"block {lost[0]!r} did not run in this forward pass")
            for streams in seen.values():
                streams.pop("ran")

        held.append(model.register_forward_hook(ran))
        yield seen


_SOUND: weakref.WeakSet[nn.Module] = weakref.WeakSet()
"""Blocks that were checked: their streams add up."""


def _add_up(
    site: str, block: nn.Module, adapter: BlockAdapter, streams: Mapping[str, Tensor], total: Tensor
) -> None:
    """Raise BadInput if x + h is not the input of the block's last ReLU. An adapter is checked, not
    believed.
    """
    parts = [streams[name] for name in ("x", "h") if name in streams]
    if not total.isfinite().all():  # told by what reads it
        return
    way_out = (
        f"what lies between {adapter.branch!r} and the sum (a gate, a scale) belongs to h: for"
        f" {type(block).__name__} register BlockAdapter(branch=..., relu=..., shortcut=...) with"
        " the last module of the branch, the one that makes x, and the call of the ReLU that comes"
        " last (calls=...)"
    )
    if "h" not in streams:
        raise BadInput(
            f"block {site!r}: {adapter.branch!r} had not run when {adapter.relu!r} got its sum;"
            f" {way_out}"
        )
    if any(part.shape != total.shape for part in parts):
        shapes = ", ".join(
            f"{name} {tuple(streams[name].shape)}" for name in ("x", "h") if name in streams
        )
        raise BadInput(
            f"block {site!r}: {shapes} and the sum {tuple(total.shape)} have different shapes;"
            f" {way_out}"
        )
    apart = (sum(map(to_float64, parts)) - to_float64(total)).abs().max()
    size = max(float(t.abs().max()) for t in (total, *parts))
    if not float(apart) <= (1e-4 if total.dtype in (torch.float32, torch.float64) else 3e-2) * size:
        made = " + ".join(name for name in ("x", "h") if name in streams)
        raise BadInput(
            f"block {site!r}: {made} is not the sum that {adapter.relu!r} is given (they differ by"
            f" {float(apart) / size:.2g} of its size); {way_out}"
        )
    _SOUND.add(block)


def _hook(
    site: str,
    block: nn.Module,
    seen: dict[str, Streams],
    reduce: Callable,
    parts: set[str],
    held: list,
) -> None:
    adapter = adapter_of(block)
    assert adapter is not None
    shortcut = getattr(block, adapter.shortcut) if adapter.shortcut else None
    calls, running = 0, False

    unsure: dict[str, Tensor] = {}

    def keep(part: str, tensor: Any) -> None:
        if block not in _SOUND and isinstance(tensor, Tensor) and part in ("h", "x"):
            unsure[part] = tensor.detach().clone()
        if not isinstance(tensor, Tensor) or tensor.ndim < 2:
            raise BadInput(
                f"stream {part!r} of block {site!r} is no batch of maps but {type(tensor).__name__}"
            )
        if part in parts:
            seen[site][part] = reduce(part, tensor)

    def start(_: nn.Module, inputs: tuple) -> None:
        nonlocal calls, running
        if site in seen:
            raise ProbesError(
                f"block {site!r} runs more than once in a forward pass: taps read blocks that run"
                " once"
            )
        calls, running, seen[site] = 0, True, {}
        if shortcut is None and adapter.identity:
            keep("x", inputs[0])

    def activate(_: nn.Module, inputs: tuple) -> None:
        nonlocal calls
        if not running:  # a module that several blocks share
            return
        calls += 1
        if calls == adapter.calls:
            keep("sum", inputs[0])
            if block not in _SOUND:
                _add_up(site, block, adapter, unsure, inputs[0].detach())
                unsure.clear()

    def end(_: nn.Module, __: tuple, output: Any) -> None:
        nonlocal running
        running = False
        if calls != adapter.calls:
            raise ProbesError(
                f"the last ReLU of block {site!r} is its call {calls}, but the adapter of "
                f"{type(block).__name__} says {adapter.calls}: correct BlockAdapter(calls=...)"
            )
        keep("out", output)
        seen[site]["ran"] = True

    held.append(block.register_forward_pre_hook(start))

    def watch(part: str) -> Callable:
        return lambda _, __, out: keep(part, out) if running else None

    held.append(getattr(block, adapter.branch).register_forward_hook(watch("h")))
    if shortcut is not None:
        held.append(shortcut.register_forward_hook(watch("x")))
    held.append(getattr(block, adapter.relu).register_forward_pre_hook(activate))
    held.append(block.register_forward_hook(end))
