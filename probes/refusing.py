"""What no instrument can read: refused, with the way out."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from probes.errors import BadInput

SHARDED = {"FullyShardedDataParallel", "FSDPModule"}
"""The classes that torch gives to modules whose weights lie on several processes."""


def refuse_wrapped(model: nn.Module) -> None:
    """Raise BadInput for a model whose hooks would not fire, would fire in shared dictionaries, or
    whose weights hold no numbers.

    A compiled model ignores hooks added after its first call (pytorch#117758); replicas of
    DataParallel share hook dictionaries (pytorch#42478); of TorchScript neither the code nor the
    inner tensors can be seen; sharded weights, lazy ones and those on the meta device are not
    there. All are refused, with the way out.
    """
    for name, module in model.named_modules():
        where = f"module {name!r}" if name else "the model"
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            raise BadInput(
                f"{where} is a {type(module).__name__}, whose replicas share hooks: pass the"
                " network inside it (.module)"
            )
        if {kind.__name__ for kind in type(module).__mro__} & SHARDED:
            raise BadInput(
                f"{where} is sharded (FSDP), and no process has all of its weights: gather a full"
                " state dict, and load it into the network without FSDP"
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise BadInput(
                f"{where} is TorchScript, whose code and layers can't be read: pass the"
                " module that was scripted"
            )
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            raise BadInput(
                f"{where} is compiled, and hooks on a compiled model never fire: pass the original"
                " (the argument of torch.compile, or ._orig_mod)"
            )

    for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
        if is_lazy(tensor):
            raise BadInput(
                f"weight {name!r} has no shape yet (a lazy layer): run the network once on an"
                " image, under torch.no_grad(), before handing it over"
            )
        if tensor.is_meta:
            raise BadInput(
                f"weight {name!r} is on the meta device, where weights have no numbers:"
                " model.to_empty(device='cpu') and load_state_dict(...) first"
            )


def refuse_training(model: nn.Module) -> None:
    """Raise BadInput if any module of the model is in training mode. A pass would then change
    buffers or draw at random.
    """
    for name, module in model.named_modules():
        if module.training:
            where = f" (module {name!r}, a {type(module).__name__})" if name else ""
            if not model.training:
                raise BadInput(
                    f"the model is in eval mode, and a part of it in training mode{where}: set it"
                    " to eval, or let its train() do so"
                )
            raise BadInput(
                f"the model is in training mode{where}, where a pass changes buffers or draws at"
                " random: call model.eval() first"
            )
