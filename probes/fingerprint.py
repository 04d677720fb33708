"""What code and objects from outside the package are, as a hash: an edited measure, perturbation or
network is measured again.

A function is its bytecode, its constants, defaults and closure, and the things of its own project
that it names; a class is its members; an object is its class and its attributes. What is installed
(torch, timm) is its name and version. Comments, docstrings and whatever else stands in the same
file change nothing.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import logging
import re
import sys
import types
import weakref
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path, PurePath
from typing import Any

from probes.errors import BadInput
from probes.origin import installed, outside
from probes.walking import bytes_of, documented, made_by_dataclass, named_things

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), PurePath, range, slice)
_SKIPPED = {
    "__doc__",
    "__module__",
    "__dict__",
    "__weakref__",
    "__annotations__",
    "__annotate_func__",
    "__annotations_cache__",
    "__static_attributes__",
    "__firstlineno__",
    "__qualname__",
    "__dataclass_fields__",
    "__dataclass_params__",
    "__match_args__",
    "__parameters__",
    "__orig_bases__",
    "__abstractmethods__",
    "_abc_impl",
    "__slots__",
}
_GENERATED = {
    "__init__",
    "__repr__",
    "__eq__",
    "__hash__",
    "__lt__",
    "__le__",
    "__gt__",
    "__ge__",
    "__setattr__",
    "__delattr__",
    "__replace__",
    "__getstate__",
    "__setstate__",
}
_DOCSTRING = 0x4000000  # CO_HAS_DOCSTRING, from Python 3.13 on


def fingerprint(*things: Any) -> str:
    """The SHA-256 of functions, classes, objects and values: 64 hex digits, the same in every
    process.

    Raises BadInput for a thing whose content can't be told, such as an open file or a lock.

    >>> fingerprint(lambda x: 2 * x) == fingerprint(lambda x: 2 * x) != fingerprint(lambda x: 3 * x)
    True
    """
    walk = _Walk()
    for thing in things:
        walk.add(thing)
    return walk.hash.hexdigest()


@functools.cache
def _version(module: str) -> str:
    top = module.partition(".")[0]
    found = getattr(sys.modules.get(top), "__version__", None)
    if found is None:
        try:
            found = metadata.version(top)
        except (metadata.PackageNotFoundError, ValueError):
            found = ""
    if top == "probes":  # in a checkout the version stands still while the code changes
        found = f"{found} {_file_sha256(module)}"
    return f"{module} {found}"


def _file_sha256(module: str) -> str:
    source = getattr(sys.modules.get(module), "__file__", None)
    return (
        hashlib.sha256(Path(source).read_bytes()).hexdigest()
        if source and Path(source).is_file()
        else ""
    )


class _Walk:
    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.seen: dict[int, int] = {}
        self.held: list[Any] = []  # alive during the walk, so that no id is used twice
        self.path: list[str] = []

    def say(self, *words: object) -> None:
        self.hash.update(("\x1f".join(map(str, words)) + "\x1e").encode())

    def add(self, thing: Any) -> None:
        kind = type(thing)
        if kind in PLAIN or isinstance(thing, PurePath):
            self.say(kind.__name__, repr(thing))
        elif id(thing) in self.seen:
            self.say("again", self.seen[id(thing)])
        else:
            self.seen[id(thing)] = len(self.seen)
            self.held.append(thing)
            self._new(thing)

    def all(self, kind: str, things: Iterable[Any]) -> None:
        self.say(kind)
        self.path.append(kind)
        for thing in things:
            self.add(thing)
        self.path.pop()
        self.say("end")

    def _new(self, thing: Any) -> None:
        kind = type(thing)
        if isinstance(thing, types.ModuleType):
            self.say(
                "module", _version(thing.__name__) if installed(thing.__name__) else thing.__name__
            )
        elif isinstance(thing, type):
            self._class(thing)
        elif isinstance(thing, enum.Enum):
            self.all(f"member {thing.name}", (kind, thing.value))
        elif isinstance(thing, types.FunctionType):
            self._function(thing)
        elif isinstance(thing, BUILTIN):
            name = getattr(thing, "__qualname__", thing.__name__)
            self.say("builtin", name, _version(getattr(thing, "__module__", None) or "builtins"))
        elif isinstance(thing, types.MethodType):
            self.all("method", (thing.__func__, thing.__self__))
        elif isinstance(thing, staticmethod | classmethod):
            self.all(kind.__name__, (thing.__func__,))
        elif isinstance(thing, property):
            self.all("property", (thing.fget, thing.fset, thing.fdel))
        elif isinstance(thing, functools.partial):
            self.all("partial", (thing.func, thing.args, thing.keywords))
        elif isinstance(thing, functools.cached_property):
            self.all("cached", (thing.func,))
        elif isinstance(thing, weakref.ref):
            self.say("reference to a", type(thing()).__qualname__)
        elif isinstance(thing, logging.Logger):
            self.say("logger", thing.name)
        elif isinstance(thing, re.Pattern):
            self.say("pattern", thing.pattern, thing.flags)
        elif kind in (tuple, list):
            self.all(kind.__name__, thing)
        elif kind in (set, frozenset):
            self.say("set", *sorted(fingerprint(one) for one in thing))
        elif kind in (dict, types.MappingProxyType):
            self.say("mapping")
            for key, value in sorted(thing.items(), key=lambda item: repr(item[0])):
                self.all(f"item {key!r}" if isinstance(key, str) else "item", (key, value))
        elif (array := self._array(thing)) is not None:
            self.say("array", *array[:2])
            self.hash.update(array[2])
        else:
            self._object(thing)

    def _array(self, thing: Any) -> tuple[str, str, bytes] | None:
        try:
            return bytes_of(thing)
        except RuntimeError as e:
            raise self._untold(thing) from e

    def _untold(self, thing: Any) -> BadInput:
        where = " > ".join(
            step for step in self.path if step not in ("object", "state", "item", "closure")
        )
        kind = f"{type(thing).__module__}.{type(thing).__qualname__}"
        return BadInput(
            f"a {kind}{f' (in {where})' if where else ''}:"
            " what it holds can't be told, so stored results could be of another one; keep it out"
            " of the attributes and globals of what is measured"
        )

    def _object(self, thing: Any) -> None:
        """An object by what can make it again: its class, and the state that pickle would take.
        Nothing is pickled.
        """
        try:
            made = thing.__reduce_ex__(4)
        except Exception as e:
            raise self._untold(thing) from e
        if isinstance(made, str):  # a global thing, by its name
            self.say("named", type(thing).__qualname__, made)
            return
        function, given, state, items, pairs = (*made, *[None] * (5 - len(made)))[:5]
        self.all("object", (type(thing), function, given))
        if (
            isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict)
        ):  # attributes and slots
            state = {**(state[0] or {}), **state[1]}
        if isinstance(state, dict):
            self.say("state")
            for name, value in sorted(state.items(), key=lambda item: str(item[0])):
                self.all(str(name), (value,))
        else:
            self.all("state", (state,))
        self.all("items", [*(items or ())])
        self.all("pairs", sorted(([key, value] for key, value in pairs or ()), key=repr))

    def _class(self, kind: type) -> None:
        if installed(kind.__module__):
            self.say("class", kind.__qualname__, _version(kind.__module__))
            return
        self.say("class", kind.__qualname__)
        self.all("bases", kind.__bases__)
        for name, member in sorted(vars(kind).items()):
            if (
                name in _SKIPPED
                or (name in _GENERATED and made_by_dataclass(member))
                or name.startswith("_member")
            ):
                continue
            self.all(name, (member,))
        for field in vars(kind).get("__dataclass_fields__", {}).values():
            factory = field.default_factory
            self.all(
                f"field {field.name}",
                (factory,) if isinstance(factory, type | types.FunctionType) else (),
            )

    def _function(self, function: types.FunctionType) -> None:
        self.say("function", function.__name__)
        self._code(function.__code__, function.__doc__)
        self.all("defaults", (function.__defaults__, function.__kwdefaults__))
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            if name == "__class__":
                continue
            try:
                self.all(name, (cell.cell_contents,))
            except ValueError:
                self.say("empty cell")
        if not installed(function.__globals__.get("__name__", "__main__")):
            for name, value in named_things(function):
                self.all(name, (value,))

    def _code(self, code: types.CodeType, doc: str | None = None) -> None:
        self.say(
            "code",
            code.co_code.hex(),
            code.co_names,
            code.co_varnames,
            code.co_freevars,
            code.co_cellvars,
            code.co_flags,
        )
        consts: list[Any] = list(code.co_consts)
        if (
            consts
            and isinstance(consts[0], str)
            and (consts[0] == doc or code.co_flags & _DOCSTRING or documented(code))
        ):
            consts = consts[1:]
        for const in consts:
            if isinstance(const, types.CodeType):
                self._code(const)
            else:
                self.add(const)


BUILTIN = (
    types.BuiltinFunctionType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
)


def key_of(thing: Any) -> dict[str, Any]:
    """The ``key()`` of a measure or perturbation. If it comes from outside the package, the hash of
    its source and state is added.
    """
    return {"source": fingerprint(thing)} if outside(thing) else {}
