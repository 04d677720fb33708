"""Gaussian noise on weights, as a mapping for ``torch.func.functional_call``: the model itself is never written to."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize, prune

from probes import seeds
from probes.errors import BadInput
from probes.hooks import plain
from probes.perturb.strength import is_strength
from probes.registry import unknown

POLICIES = ("frozen", "re-estimated")
"""What batch norm does at perturbed weights: keeps its running statistics, or takes them anew from training images."""
QUANTISED = ("torch.ao.nn", "torch.nn.quantized", "torch.nn.qat", "torch.nn.intrinsic", "bitsandbytes", "torchao")
"""Where the classes of quantised layers come from."""
_OWN = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "weight_ih", "weight_hh", "weight_hr")
"""Names (or their beginnings) of the weights of torch's attention and recurrent layers."""


def targets(model: nn.Module, select: Sequence[str] = ()) -> dict[str, Tensor]:
    """The weights that noise is put on, by name: those of convolutions, linear, attention and recurrent layers.

    No biases, no norm layers, no embeddings. ``select`` are glob patterns of parameter names instead. A tensor that two layers
    share stands once. Raises UnknownName for a pattern that matches nothing, BadInput for a model without such weights, and for
    weights that are made anew at each pass (pruned, parametrised, quantised, LoRA): noise on what they are made from is another
    one than noise on the weight, so the layers are named, with the way out.

    >>> list(targets(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))))
    ['0.weight']
    """
    every: dict[str, Tensor] = dict(model.named_parameters())
    if select:
        for pattern in select:
            if not fnmatch.filter(every, pattern):
                if tied := fnmatch.filter((twice := dict(model.named_parameters(remove_duplicate=False))), pattern):
                    first = next(name for name, p in every.items() if p is twice[tied[0]])
                    raise BadInput(f"weights {tied[0]!r} and {first!r} are one tensor, which both layers share: name it {first!r}")
                raise unknown("weights", pattern, every, "a glob over the names of parameters, e.g. '*.fc.weight'")
        chosen = {name: p for name, p in every.items() if any(fnmatch.fnmatchcase(name, pattern) for pattern in select)}
        _refuse_remade(model, {name.rpartition(".")[0] for name in chosen})
        return chosen
    _refuse_remade(model)
    wanted = {id(p) for module in model.modules() for p in _weights(module)}
    found = {name: p for name, p in every.items() if id(p) in wanted}
    if not found:
        raise BadInput(f"{type(model).__name__} has no convolution, linear, attention or recurrent weights to put noise on;"
                       " name others with select=('*.position',)")  # fmt: skip
    return found


def _refuse_remade(model: nn.Module, chosen: Collection[str] | None = None) -> None:
    """Raise BadInput for layers whose weight is no plain parameter; of ``chosen`` modules and those inside them only."""
    found = {}
    for name, module in model.named_modules():
        if chosen is not None and not any(name == one or one.startswith(f"{name}.parametrizations") for one in chosen):
            continue
        if why := _remade(module):
            found[plain(model, name) or "the network itself"] = why
    if found:
        first = next(iter(found.values()))
        names = ", ".join(f"{name} ({why})" for name, (why, _) in list(found.items())[:4])
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        raise BadInput(f"weight noise: the weights of {names}{more} are no plain parameters, so noise would miss them or be another"
                       f" one: {first[1]}")  # fmt: skip


def _remade(module: nn.Module) -> tuple[str, str] | None:
    """Why a module's weight is no plain parameter, and the way out; None where it is, or where it has none."""
    hooks = [type(hook) for hook in module._forward_pre_hooks.values()]
    if parametrize.is_parametrized(module):
        return "parametrised", "torch.nn.utils.parametrize.remove_parametrizations(module, 'weight') makes it one"
    if any(issubclass(hook, prune.BasePruningMethod) for hook in hooks):
        return "pruned", "torch.nn.utils.prune.remove(module, 'weight') makes it one"
    if named := [hook.__name__ for hook in hooks if hook.__name__ in ("WeightNorm", "SpectralNorm")]:
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
                "its effective weight is made of both: merge them, or name what gets noise with select=(...)",
            )
        if weight is not None and not _as_it_is(module):
            return (
                "changed by its own forward",
                "its effective weight is another one: put that into a plain layer, or use select=(...)",
            )
        if weight is None:
            return "made at each pass", "assign it once: module.weight = nn.Parameter(...)"
        if not weight.is_floating_point() or type(weight.data) is not Tensor:
            return "quantised", "use the network as it was before it was quantised"
    return None


def _as_it_is(module: nn.Module) -> bool:
    """Whether a layer computes with its weight as it is: what it gives is linear in the weight, as torch's own layers are.

    A layer that standardises or rounds its weight at each pass is not.
    """
    kind = next(k for k in type(module).__mro__ if k.__module__.startswith("torch.nn.modules"))
    own = [name for name in ("forward", "_conv_forward") if getattr(type(module), name, None) is not getattr(kind, name, None)]
    if not own and "forward" not in vars(module):
        return True
    weight = module.get_parameter("weight").detach()
    if isinstance(module, nn.Linear):
        shape: tuple[int, ...] = (2, module.in_features)
    else:
        of: Any = module
        shape = (2, of.in_channels, *(2 * k * d + 1 for k, d in zip(of.kernel_size, of.dilation, strict=True)))
    x = torch.linspace(-1, 1, math.prod(shape), dtype=weight.dtype, device=weight.device).sin().reshape(shape)
    try:
        with torch.no_grad():
            at = [functional_call(module, {"weight": weight * k}, (x.clone(),)) for k in (0.0, 1.0, 2.0)]
        size = float(at[2].abs().max())
        if not float((at[1] - at[0]).abs().max()) > 1e-6 * size:  # its weight says nothing: rounded away, say
            return False
        return bool(torch.allclose(at[2] - at[0], 2 * (at[1] - at[0]), rtol=1e-3, atol=1e-5 * size))
    except Exception:  # noqa: BLE001 - a layer that can't be tried by itself is not known to do so
        return False


def _weights(module: nn.Module) -> Iterator[Tensor]:
    dense = isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
    for name, parameter in module.named_parameters(recurse=False):
        if (dense and name == "weight") or name.startswith(_OWN):
            yield parameter


def perturbed(weights: Mapping[str, Tensor], alpha: float, draw: Callable[[torch.Size], Tensor]) -> dict[str, Tensor]:
    """``W + alpha * std(W) * z`` for each weight, with ``z = draw(W.shape)`` standard normal; std over the whole tensor.

    A mapping for ``torch.func.functional_call``. Gradients pass to W as if the noise were a constant. A weight of a single number
    has no spread, and gets no noise.

    >>> w = {"w": torch.tensor([1.0, 3.0])}
    >>> perturbed(w, 0.5, torch.ones)["w"]
    tensor([1.7071, 3.7071])
    """
    return {name: torch.add(w, draw(w.shape), alpha=alpha * _spread(w)) for name, w in weights.items()}


def _spread(w: Tensor) -> float:
    return float(w.detach().std()) if w.numel() > 1 else 0.0


@dataclasses.dataclass(frozen=True)
class WeightNoise:
    """Weight noise of strength alpha: per tensor, eps ~ N(0, (alpha * std(W))^2). The model's state is never written to.

    ``levels`` are alphas, ascending from 0. The direction of a draw is common to all alphas and all images, and named by (seed,
    tensor, draw), where several training runs are compared also by the training seed. ``select`` are glob patterns of parameter
    names instead of the default (:func:`targets`). ``batch_norm`` says what batch norm does at perturbed weights: ``frozen`` keeps
    its running statistics, ``re-estimated`` takes them anew from ``images`` training images; both of them make two arms, in the
    key column ``batch_norm``. At level 0 the model is as it is.
    """

    levels: tuple[float, ...]
    select: tuple[str, ...] = ()
    batch_norm: tuple[str, ...] = ("frozen",)
    images: int = 1000

    name = "weight noise"
    varied = "alpha"
    unit = "of a weight's standard deviation"
    version = 1

    def describe(self) -> str:
        """What is done to the weights, in words."""
        on = (
            f" on {', '.join(self.select)}"
            if self.select
            else " on the weights of convolutions, linear, attention and recurrent layers"
        )
        return f"Gaussian noise{on}, batch norm {' and '.join(self.batch_norm)}"

    def __post_init__(self) -> None:
        levels = tuple(self.levels)
        bad = [v for v in levels if not is_strength(v)]
        if bad:
            raise BadInput(f"weight noise at alpha {bad[0]}: an alpha is a finite number from 0 up, in units of a weight's std")
        if 0 not in levels or len(set(levels)) != len(levels):
            problem = "lack 0, the clean weights that every effect is measured from" if 0 not in levels else "hold one twice"
            raise BadInput(f"weight noise at alphas {levels}: they {problem}")
        for policy in self.batch_norm:
            if policy not in POLICIES:
                raise unknown("policy of batch norm", str(policy), POLICIES)
        if not self.batch_norm or len(set(self.batch_norm)) < len(self.batch_norm):
            raise BadInput(f"batch_norm={self.batch_norm}: one policy, or two different ones")
        if self.images < 2:
            raise BadInput(f"images={self.images}: batch norm is re-estimated on two training images or more")
        object.__setattr__(self, "levels", tuple(sorted(float(v) for v in levels)))

    def key(self, level: float) -> dict:
        """What the weights at a level depend on, as JSON; the clean weights depend on nothing."""
        kind = {"kind": "weight noise", "version": self.version, "level": level}
        if not level:
            return kind
        policy = {"batch_norm": list(self.batch_norm)} | ({"images": self.images} if "re-estimated" in self.batch_norm else {})
        return kind | {"select": list(self.select)} | policy

    def directions(self, model: nn.Module, seed: int, draw: int, run: int | None = None) -> dict[str, Tensor]:
        """``std(W) * z`` of every weight, float32: the noise at alpha 1; ``run`` is the training seed, where runs are compared.

        >>> model = nn.Linear(2, 1)
        >>> noise = weight_noise(0, 0.1)
        >>> bool((noise.directions(model, 0, 0)["weight"] == noise.directions(model, 0, 0)["weight"]).all())
        True
        """
        found = {}
        for name, w in targets(model, self.select).items():
            names = ("weights", seed, name, draw) if run is None else ("weights", seed, name, draw, run)
            z = torch.from_numpy(seeds.normals(w.numel(), [names])[0]).reshape(w.shape)
            found[name] = z.to(w.device).mul_(_spread(w.double()))
        return found

    def mapping(self, model: nn.Module, level: float, directions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The perturbed weights at a level by name, for ``torch.func.functional_call(model, mapping, (images,))``."""
        weights = targets(model, self.select)
        return {
            name: torch.add(weights[name].detach(), eps.to(weights[name].dtype), alpha=level) for name, eps in directions.items()
        }


def re_estimated(model: nn.Module, weights: Mapping[str, Tensor], batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """The running statistics of batch norm at these weights, by name: averages over batches, each normalised by its own.

    As ``torch.optim.swa_utils.update_bn`` gives them; the model's own buffers and modes are as before afterwards, also after an
    exception. BadInput for a model without batch norm that keeps running statistics.

    >>> model = nn.Sequential(nn.BatchNorm1d(1)).eval()
    >>> re_estimated(model, {}, [torch.tensor([[1.0], [3.0]])])["0.running_mean"]
    tensor([2.])
    """
    norms = {
        name: m for name, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    }
    if not norms:
        raise BadInput(f"{type(model).__name__} has no batch norm to re-estimate: leave batch_norm at 'frozen'")
    fresh = {
        f"{name}.{key}": torch.ones_like(buffer) if key == "running_var" else torch.zeros_like(buffer)
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


def weight_noise(
    *levels: float, select: str | Sequence[str] = (), batch_norm: str | Sequence[str] = "frozen", images: int = 1000
) -> WeightNoise:
    """Weight noise at these alphas, 0 among them: see :class:`WeightNoise`.

    Raises BadInput for an alpha that is negative, NaN or infinite, for alphas without 0 or with one twice; UnknownName for a
    policy of batch norm other than ``frozen`` and ``re-estimated``.

    >>> weight_noise(0, 0.2, 0.1).levels
    (0.0, 0.1, 0.2)
    """
    policies = (batch_norm,) if isinstance(batch_norm, str) else tuple(batch_norm)
    return WeightNoise(tuple(levels), (select,) if isinstance(select, str) else tuple(select), policies, images)
