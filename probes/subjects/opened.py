"""Turns weights that are computed at each pass (pruned, weight-normed, parametrised) into plain
parameters.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm

from probes.naming import plain


def opened(model: nn.Module) -> list[str]:
    """Turn the effective weights of a model into its parameters. Returns the names of these
    weights, with the reason.

    Pruning, ``torch.nn.utils.parametrize`` (weight norm, spectral norm, your own) and the older
    hooks of weight and spectral norm compute a module's ``weight`` from other tensors at every
    pass. In eval mode the network computes the same afterwards, and its effective weight is a
    parameter that can get noise.

    >>> net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))).eval()
    >>> opened(net), list(net.state_dict())
    (['0.weight (parametrised)'], ['0.bias', '0.weight'])
    """
    found = []
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, parametrize.ParametrizationList):
                continue
            if parametrize.is_parametrized(module):
                _own_class(module)
                for tensor in list(module.parametrizations):  # type: ignore[arg-type]
                    parametrize.remove_parametrizations(module, tensor, leave_parametrized=True)
                    _as_parameter(module, tensor)
                    found.append(f"{plain(model, name)}.{tensor} (parametrised)")
            for hook in list(module._forward_pre_hooks.values()):
                tensor = getattr(hook, "_tensor_name", getattr(hook, "name", ""))
                if isinstance(hook, prune.BasePruningMethod):
                    prune.remove(module, tensor)
                    found.append(f"{plain(model, name)}.{tensor} (pruned)")
                elif type(hook).__name__ == "WeightNorm":
                    remove_weight_norm(module, tensor)
                    found.append(f"{plain(model, name)}.{tensor} (weight norm)")
                elif type(hook).__name__ == "SpectralNorm":
                    remove_spectral_norm(module, tensor)
                    found.append(f"{plain(model, name)}.{tensor} (spectral norm)")
    return [one.lstrip(".") for one in found]


def at_rest(model: nn.Module) -> tuple[str, ...]:
    """Put a model into eval mode, without gradients, its effective weights as parameters. Returns
    what a reader should know of that.
    """
    model.eval().requires_grad_(False)
    made = opened(model)
    model.requires_grad_(False)
    said = f"made plain weights of what is computed at each pass: {', '.join(made)}"
    return (said,) if made else ()


def _own_class(module: nn.Module) -> None:
    """Give a parametrised module a class that no copy of it shares: torch keeps the computed weight
    as a property of the class, and takes that away from all copies at once.
    """
    kind = type(module)
    own = {k: v for k, v in vars(kind).items() if k not in ("__dict__", "__weakref__")}
    module.__class__ = type(kind.__name__, kind.__bases__, own)


def _as_parameter(module: nn.Module, name: str) -> None:
    """Make a tensor that is an attribute or a buffer a parameter."""
    value = getattr(module, name)
    if not isinstance(value, nn.Parameter):
        delattr(module, name)
        module.register_parameter(name, nn.Parameter(value.detach().clone(), requires_grad=False))
