"""Weights in files: read without running code, hashed, and compared with their network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probes.errors import BadInput, ProbesError
from probes.subjects.checkpoints import read
from probes.subjects.stored import unpack


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict in fp32, from a safetensors file or from a PyTorch file read with
    ``weights_only=True``.

    Raises BadInput for a file that is missing, truncated, or a pickle that would run code (it does
    not run).
    """
    state, _ = read(path)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise BadInput(f"weights {str(path)!r} hold no state dict (names to tensors)")
    return unpack(state)


def state_sha256(model: nn.Module) -> str:
    """The SHA-256 over names, shapes and bytes of a model's state."""
    h = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, Tensor) or tensor.is_quantized:  # what quantised layers pack
            h.update(f"{name}{_unpacked(tensor)!r}".encode())
            continue
        h.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        h.update(
            np.ascontiguousarray(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy()).data
        )
    return h.hexdigest()


def _unpacked(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_unpacked(one) for one in value]
    return value.detach().dequantize().tolist() if isinstance(value, Tensor) else value


def misfit(net: nn.Module, state: Mapping[str, Tensor]) -> str:
    """How a state dict does not fit a network, as a phrase after ``they``. Empty if it fits.
    Counters of batches may be missing.
    """
    wanted = net.state_dict()
    if lost := [
        name for name in wanted if name not in state and not name.endswith("num_batches_tracked")
    ]:
        return f"lack {lost[0]!r}"
    if extra := [name for name in state if name not in wanted]:
        return f"hold {extra[0]!r}, which the network does not know"
    for name, tensor in state.items():
        if isinstance(wanted[name], Tensor) and tensor.shape != wanted[name].shape:
            return (
                f"hold {name!r} of shape {tuple(tensor.shape)}, the network"
                f" {tuple(wanted[name].shape)}"
            )
    return ""


def refuse_nan(name: str, net: nn.Module) -> None:
    """Raise ProbesError for a network, by its name, whose weights hold NaN or inf."""
    for weight, tensor in net.state_dict().items():
        if (
            isinstance(tensor, Tensor)
            and tensor.is_floating_point()
            and not tensor.is_quantized
            and not torch.isfinite(tensor).all()
        ):
            raise ProbesError(f"{name}: weight {weight!r} holds NaN or inf")
