"""The weights that get noise: found by their layers, refused if a layer computes with another
weight.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize, prune

from probes.errors import BadInput
from probes.naming import plain
from probes.registry import unknown

QUANTISED = (
    "torch.ao.nn",
    "torch.nn.quantized",
    "torch.nn.qat",
    "torch.nn.intrinsic",
    "bitsandbytes",
    "torchao",
)
"""The packages that define quantised layers."""


_OWN = (
    "in_proj_weight",
    "q_proj_weight",
    "k_proj_weight",
    "v_proj_weight",
    "weight_ih",
    "weight_hh",
    "weight_hr",
)
"""Names (or their beginnings) of the weights of torch's attention and recurrent layers."""


def targets(
    model: nn.Module, select: Sequence[str] = (), what: str = "weight noise"
) -> dict[str, Tensor]:
    """The weights that get noise, by name: those of convolutions, linear, attention and recurrent
    layers.

    Biases, norm layers and embeddings get none. ``select`` gives glob patterns of parameter names
    instead. A tensor that two layers share is listed once. Raises UnknownName for a pattern that
    matches nothing; BadInput for a model without such weights, and for weights that are computed at
    each pass (pruned, parametrised, quantised, LoRA). Noise on the tensors behind them is not noise
    on the weight, so the message names the layers and a way out. ``what`` is what is done to the
    weights, in messages.

    >>> list(targets(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))))
    ['0.weight']
    """
    every: dict[str, Tensor] = dict(model.named_parameters())
    if select:
        for pattern in select:
            if not fnmatch.filter(every, pattern):
                if tied := fnmatch.filter(
                    (twice := dict(model.named_parameters(remove_duplicate=False))), pattern
                ):
                    first = next(name for name, p in every.items() if p is twice[tied[0]])
                    raise BadInput(
                        f"weights {tied[0]!r} and {first!r} are one tensor, which both layers"
                        f" share: name it {first!r}"
                    )
                raise unknown(
                    "weights",
                    pattern,
                    every,
                    "a glob over the names of parameters, e.g. '*.fc.weight'",
                )
        chosen = {
            name: p
            for name, p in every.items()
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in select)
        }
        _refuse_remade(model, {name.rpartition(".")[0] for name in chosen}, what)
        return chosen
    _refuse_remade(model, None, what)
    wanted = {id(p) for module in model.modules() for p in _weights(module)}
    found = {name: p for name, p in every.items() if id(p) in wanted}
    if not found:
        raise BadInput(
            f"{type(model).__name__} has no convolution, linear, attention or recurrent weights for"
            f" {what}; name others with select=('*.position',)"
        )
    return found


def _refuse_remade(model: nn.Module, chosen: Collection[str] | None, what: str) -> None:
    """Raise BadInput for layers whose weight is no plain parameter. Only the ``chosen`` modules and
    those inside them are checked.
    """
    found = {}
    for name, module in model.named_modules():
        if chosen is not None and not any(
            name == one or one.startswith(f"{name}.parametrizations") for one in chosen
        ):
            continue
        if why := _remade(module):
            found[plain(model, name) or "the network itself"] = why
    if found:
        first = next(iter(found.values()))
        names = ", ".join(f"{name} ({why})" for name, (why, _) in list(found.items())[:4])
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        raise BadInput(
            f"{what}: the weights of {names}{more} are no plain parameters, so"
            f" {what.rpartition(' ')[2]} would miss them or be another one: {first[1]}"
        )


def _remade(module: nn.Module) -> tuple[str, str] | None:
    """Why a module's weight is no plain parameter, with a way out. None if it is one, or if there
    is no weight.
    """
    hooks = [type(hook) for hook in module._forward_pre_hooks.values()]
    if parametrize.is_parametrized(module):
        return (
            "parametrised",
            "torch.nn.utils.parametrize.remove_parametrizations(module, 'weight') makes it one",
        )
    if any(issubclass(hook, prune.BasePruningMethod) for hook in hooks):
        return "pruned", "torch.nn.utils.prune.remove(module, 'weight') makes it one"
    if named := [
        hook.__name__ for hook in hooks if hook.__name__ in ("WeightNorm", "SpectralNorm")
    ]:
        word, function = {
            "WeightNorm": ("weight norm", "remove_weight_norm"),
            "SpectralNorm": ("spectral norm", "remove_spectral_norm"),
        }[named[0]]
        return word, f"torch.nn.utils.{function}(module) makes it one"
    own = dict(module.named_parameters(recurse=False))
    if any("lora_" in name.lower() for name in (*own, *module._modules)):
        return "LoRA", "merge it into the weight first, e.g. model.merge_and_unload()"
    if type(module).__module__.startswith(QUANTISED) or hasattr(module, "_packed_params"):
        return "quantised", "use the network as it was before it was quantised"
    if isinstance(module, torch.jit.ScriptModule):
        return "scripted", "use the network as it was before torch.jit"
    if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
        weight = own.get("weight")
        if others := [name for name, p in own.items() if p.ndim > 1 and name != "weight"]:
            return (
                f"beside {others[0]}",
                (
                    "its effective weight is made of both: merge them, or name what gets noise with"
                    " select=(...)"
                ),
            )
        if weight is not None and not _as_it_is(module):
            return (
                "changed by its own forward",
                (
                    "its effective weight is another one: put that into a plain layer, or use"
                    " select=(...)"
                ),
            )
        if weight is None:
            return "made at each pass", "assign it once: module.weight = nn.Parameter(...)"
        if not weight.is_floating_point() or type(weight.data) is not Tensor:
            return "quantised", "use the network as it was before it was quantised"
    return None


def _as_it_is(module: nn.Module) -> bool:
    """Whether a layer computes with its weight as it is. Its output is then linear in the weight,
    as that of torch's own layers.

    A layer that standardises or rounds its weight at each pass does not.
    """
    kind = next(k for k in type(module).__mro__ if k.__module__.startswith("torch.nn.modules"))
    own = [
        name
        for name in ("forward", "_conv_forward")
        if getattr(type(module), name, None) is not getattr(kind, name, None)
    ]
    if not own and "forward" not in vars(module):
        return True
    weight = module.get_parameter("weight").detach()
    if isinstance(module, nn.Linear):
        shape: tuple[int, ...] = (2, module.in_features)
    else:
        of: Any = module
        shape = (
            2,
            of.in_channels,
            *(2 * k * d + 1 for k, d in zip(of.kernel_size, of.dilation, strict=True)),
        )
    x = (
        torch.linspace(-1, 1, math.prod(shape), dtype=weight.dtype, device=weight.device)
        .sin()
        .reshape(shape)
    )
    try:
        with torch.no_grad():
            at = [
                functional_call(module, {"weight": weight * k}, (x.clone(),))
                for k in (0.0, 1.0, 2.0)
            ]
        size = float(at[2].abs().max())
        if (
            not float((at[1] - at[0]).abs().max()) > 1e-6 * size
        ):  # its weight says nothing: rounded away, say
            return False
        return bool(torch.allclose(at[2] - at[0], 2 * (at[1] - at[0]), rtol=1e-3, atol=1e-5 * size))
    except Exception:  # noqa: BLE001
        return False


def _weights(module: nn.Module) -> Iterator[Tensor]:
    dense = isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
    for name, parameter in module.named_parameters(recurse=False):
        if (dense and name == "weight") or name.startswith(_OWN):
            yield parameter
