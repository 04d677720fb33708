"""The things that a function names, and the bytes of values, for a fingerprint."""

from __future__ import annotations

import contextlib
import dis
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any

from probes.origin import installed


def documented(code: types.CodeType) -> bool:
    """Whether the first constant of a nested function is its docstring. Up to Python 3.12 that
    constant is the docstring or None.
    """
    return (
        sys.version_info < (3, 13)
        and bool(code.co_flags & 0x2)
        and not code.co_name.startswith("<")
    )


def made_by_dataclass(member: Any) -> bool:
    """Whether a member of a class was written by ``dataclasses``."""
    return (
        member is None
        or getattr(getattr(member, "__code__", None), "co_filename", "") == "<string>"
        or not hasattr(member, "__code__")
    )


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _codes(const)


def _imported(function: types.FunctionType) -> Iterator[types.ModuleType]:
    """Import now the modules of its own project that a function would import when it runs."""
    package = str(function.__globals__.get("__package__") or "")
    for code in _codes(function.__code__):
        before: list[Any] = []
        for step in dis.get_instructions(code):
            if step.opname == "IMPORT_NAME":
                level = next(
                    (v for v in reversed(before) if isinstance(v, int) and not isinstance(v, bool)),
                    0,
                )
                name = (
                    importlib.util.resolve_name("." * level + str(step.argval), package)
                    if level
                    else str(step.argval)
                )
                if not installed(name):
                    with contextlib.suppress(ImportError):
                        yield importlib.import_module(name)
            before = [*before[-1:], step.argval]


def named_things(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """The globals that a function names, and the attributes that it names of modules of its own
    project, at any depth.
    """
    names = list(
        dict.fromkeys(name for code in _codes(function.__code__) for name in code.co_names)
    )
    waiting = [(name, function.__globals__[name]) for name in names if name in function.__globals__]
    waiting += [(module.__name__, module) for module in _imported(function)]
    inside: set[str] = set()
    while waiting:
        name, value = waiting.pop(0)
        yield name, value
        if (
            isinstance(value, types.ModuleType)
            and not installed(value.__name__)
            and value.__name__ not in inside
        ):
            inside.add(value.__name__)
            waiting += [
                (f"{name}.{other}", vars(value)[other]) for other in names if other in vars(value)
            ]


def bytes_of(thing: Any) -> tuple[str, str, bytes] | None:
    """Type, shape and bytes of an array or a tensor. Neither numpy nor torch is loaded for it."""
    top = type(thing).__module__.partition(".")[0]
    if hasattr(thing, "detach") and hasattr(thing, "element_size"):
        torch = sys.modules["torch"]
        flat = thing.detach().cpu().contiguous().reshape(-1)
        return str(thing.dtype), str(tuple(thing.shape)), flat.view(torch.uint8).numpy().tobytes()
    if top == "numpy" and hasattr(thing, "tobytes") and hasattr(thing, "dtype"):
        return str(thing.dtype), str(thing.shape), thing.tobytes()
    if top == "torch" and type(thing).__name__ in (
        "dtype",
        "device",
        "Size",
        "memory_format",
        "layout",
    ):
        return type(thing).__name__, repr(thing), b""
    if top == "numpy" and type(thing).__name__ in ("ufunc", "_ArrayFunctionDispatcher"):
        return "numpy", thing.__name__, b""
    return None
