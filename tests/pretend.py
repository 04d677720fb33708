"""A device that is not there: tensors that say they lie on ``cuda`` and compute on the CPU.

Torch refuses to mix devices in its kernels, which never see such a tensor; so the refusal is made
here, in the words of torch. What works under :class:`Pretend` mixes no tensors, reads no tensor of
the device as an array, and makes none elsewhere by mistake.
"""

import contextlib
import re

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from probes.perturb import plainweights, weights

CUDA = torch.device("cuda", 0)
aten = torch.ops.aten
TO = (aten.to.device, aten.to.dtype_layout, aten.to.dtype, aten.to.other)
SENDS = {aten._to_copy.default, aten.copy_.default, *TO}


class There(torch.Tensor):
    """A tensor on the device that is not there; its numbers are ``inner``, on the CPU."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=CUDA,
        )

    def __init__(self, inner):
        self.inner = inner

    def __repr__(self):
        return f"There({self.inner!r})"

    def data_ptr(self):
        return self.inner.data_ptr()

    def tolist(self):
        return self.inner.tolist()

    def numpy(self):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return dispatch(func, args, kwargs or {})


def dispatch(func, args, kwargs):
    """Run an operation on what lies inside, and say where its result lies."""
    asked = next((x for x in (*args, *kwargs.values()) if isinstance(x, torch.device)), None)
    if func is aten._has_compatible_shallow_copy_type.default:
        return False  # a module that comes back gets parameters of its own
    leaves = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    there = [isinstance(x, There) for x in leaves]
    if func not in SENDS and any(there):
        mixed = [x for x in leaves if not isinstance(x, There) and x.ndim]
        index = func in (aten.index.Tensor, aten.index_put_.default, aten._index_put_impl_.default)
        if mixed and not index:
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices,"
                f" cuda:0 and cpu! ({func})"
            )

    def unwrap(x):
        if isinstance(x, torch.device):
            return torch.device("cpu")
        return x.inner if isinstance(x, There) else x

    inside, named = tree_map(unwrap, (args, kwargs))
    out = func(*inside, **named)
    first = args[0] if args else None
    if func is aten.copy_.default:
        return first
    here = any(there) if asked is None else asked.type == "cuda"
    if re.search(r"[^_]_$", func._schema.name) and isinstance(first, There):
        return first
    known = {id(x.inner): x for x in leaves if isinstance(x, There)}

    def wrap(x):
        if not here or not isinstance(x, torch.Tensor):
            return x
        return known[id(x)] if id(x) in known else There(x)

    with torch.inference_mode(False):
        return tree_map(wrap, out)


class Pretend(TorchDispatchMode):
    """Inside the block ``cuda`` can be asked for. ``sent`` and ``brought`` are the dtypes and
    shapes of what went to the device and came back.
    """

    def __init__(self):
        super().__init__()
        self.sent, self.brought = [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = dispatch(func, args, kwargs or {})
        if func in (aten._to_copy.default, *TO) and isinstance(out, torch.Tensor):
            before, after = isinstance(args[0], There), isinstance(out, There)
            if before != after:
                (self.sent if after else self.brought).append((args[0].dtype, tuple(out.shape)))
        return out


@contextlib.contextmanager
def pretended(monkeypatch):
    """A block in which the device is there. Yields the :class:`Pretend`."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    torch._C._ensureCUDADeviceGuardSet()
    # a tensor of a class of its own would be taken for a quantised weight
    monkeypatch.setattr(plainweights, "_refuse_remade", lambda *_: None)
    # gradients need a device that is there
    monkeypatch.setattr(weights, "refuse_lost", lambda *_: None)
    monkeypatch.setattr(torch.backends.cudnn, "enabled", False)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self.clone())
    fork = torch.random.fork_rng
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices=(): fork([]))
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with Pretend() as here:
            yield here
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
