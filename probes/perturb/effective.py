"""Which weights count: those that noise reaches and on which the output depends; batch norm."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from probes.errors import BadInput
from probes.hooks import floats
from probes.moments import to_float64
from probes.naming import plain
from probes.origin import outside
from probes.perturb.plainweights import targets


def re_estimated(
    model: nn.Module, weights: Mapping[str, Tensor], batches: Iterable[Tensor]
) -> dict[str, Tensor]:
    """The running statistics of batch norm at these weights, by name: averages over batches. Each
    batch is normalised by its own statistics.

    They equal those of ``torch.optim.swa_utils.update_bn``. The model's own buffers and modes are
    restored afterwards, also after an exception. Raises BadInput for a model without batch norm
    that keeps running statistics.

    >>> model = nn.Sequential(nn.BatchNorm1d(1)).eval()
    >>> re_estimated(model, {}, [torch.tensor([[1.0], [3.0]])])["0.running_mean"]
    tensor([2.])
    """
    norms = {
        name: m
        for name, m in model.named_modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    }
    if not norms:
        raise BadInput(
            f"{type(model).__name__} has no batch norm to re-estimate: leave batch_norm at 'frozen'"
        )
    fresh = {
        f"{name}.{key}": (
            torch.ones_like(buffer) if key == "running_var" else torch.zeros_like(buffer)
        )
        for name, m in norms.items()
        for key, buffer in m.named_buffers(recurse=False)
    }
    before = {m: (m.training, m.momentum) for m in norms.values()}
    try:
        for m in norms.values():
            m.training, m.momentum = True, None  # batch statistics, cumulative averages
        for images in batches:
            functional_call(model, {**weights, **fresh}, (images,))
    finally:
        for m, (training, momentum) in before.items():
            m.training, m.momentum = training, momentum
    return fresh


def reached(under: Any, model: nn.Module, seed: int) -> dict[str, Tensor]:
    """The weights that a perturbation changes, by name. For a user's own perturbation these are the
    weights that its mapping does change.
    """
    if not outside(under):
        return targets(model, under.select)
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    found = under.mapping(model, max(under.levels), under.directions(model, seed, 0))
    return {
        name: own[name]
        for name, w in found.items()
        if name in own and not torch.equal(w, own[name])
    }


_lost: weakref.WeakKeyDictionary[nn.Module, set[tuple[str, ...]]] = weakref.WeakKeyDictionary()


def refuse_lost(under: Any, model: nn.Module, x: Tensor) -> None:
    """Raise BadInput for weights on which the output does not depend, for example because the
    network computes with a copy.

    Tested once per network: by the gradient of a pass and, if there is none, by changing the weight
    alone.
    """
    if outside(under) or under.select in _lost.setdefault(model, set()):
        return
    weights = targets(model, under.select)
    with torch.inference_mode(False), torch.autocast(x.device.type, enabled=False):
        x = x.clone()
        with torch.no_grad():
            clean = floats(model(x.clone()))
        leaves = {name: w.detach().clone().requires_grad_(True) for name, w in weights.items()}
        with torch.enable_grad():
            out = floats(functional_call(model, leaves, (x.clone(),)))
            doubles = map(to_float64, out)
            total = torch.stack([(t**2 + t).sum() for t in doubles]).sum()
            grads: Sequence[Tensor | None] = [None] * len(leaves)
            if total.requires_grad:
                grads = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        lost = []
        for (name, w), grad in zip(weights.items(), grads, strict=True):
            if grad is not None and bool(grad.ne(0).any()):
                continue
            with torch.no_grad():
                moved = floats(
                    functional_call(
                        model,
                        {name: w.detach() + w.detach().std().nan_to_num(1.0).clamp(min=1e-3)},
                        (x.clone(),),
                    )
                )
            if all(torch.equal(a, b) for a, b in zip(clean, moved, strict=True)):
                lost.append(plain(model, name))
    if lost:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        raise BadInput(
            f"{under.name}: the output does not depend on {', '.join(lost[:3])}{more}: the network"
            " computes with a copy, or leaves it out; name the weights that count with"
            " select=(...)"
        )
    _lost[model].add(under.select)
