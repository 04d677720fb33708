"""Names for things that others may add: networks, datasets, recipes, block types."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from probes.errors import BadInput, UnknownName

T = TypeVar("T")


def unknown(kind: str, name: str, known: Iterable[str], way_out: str = "") -> UnknownName:
    """The error for an unknown name: what was typed, the nearest names, and a way out."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known) or 'none'}"
    return UnknownName(f"unknown {kind} {name!r}: {hint}{'; ' + way_out if way_out else ''}")


class Registry(Generic[T]):
    """A dictionary that refuses to overwrite. For an unknown name its error offers the nearest
    ones.

    ``package.module:thing`` is imported, so a user's own thing needs no registration.

    >>> nets = Registry("network")
    >>> @nets.register("tiny")
    ... def tiny(): ...
    >>> nets["tiny"] is tiny
    True
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._things: dict[str, T] = {}
        self._libraries: dict[str, Callable[[str], T]] = {}

    def library(self, name: str) -> Callable[[Callable[[str], T]], Callable[[str], T]]:
        """A decorator for a function that finds the things of a library: ``library:thing``.

        >>> words = Registry("word")
        >>> @words.library("upper")
        ... def upper(word): return word.upper()
        >>> words["upper:tap"]
        'TAP'
        """

        def file(find: Callable[[str], T]) -> Callable[[str], T]:
            self._libraries[name] = find
            return find

        return file

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that registers a thing under ``name``. Raises BadInput if the name is taken
        or contains one of ``: @ #``.
        """
        if any(c in name for c in ":@#") or not name:
            raise BadInput(
                f"{self.kind} name {name!r}: a name is not empty and holds none of ':', '@', '#'"
            )

        def file(thing: T) -> T:
            if self._things.get(name, thing) is not thing:
                raise BadInput(
                    f"{self.kind} {name!r} is taken by {self._things[name]!r}: choose another name"
                )
            self._things[name] = thing
            return thing

        return file

    def __getitem__(self, name: str) -> T:
        if name in self._things:
            return self._things[name]
        if ":" in name:
            library, _, thing = name.partition(":")
            return (
                self._libraries[library](thing)
                if library in self._libraries
                else self._import(name)
            )
        raise unknown(self.kind, name, self._things, "your own: 'package.module:thing'")

    def __contains__(self, name: object) -> bool:
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._things))

    def _import(self, name: str) -> T:
        module, _, attribute = name.partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), attribute)):
            raise UnknownName(f"{self.kind} {name!r}: write package.module:thing")
        try:
            _reach(module.partition(".")[0])
            return getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as e:
            raise UnknownName(f"{self.kind} {name!r}: {e}; is it on the import path?") from e
        except AttributeError as e:
            raise UnknownName(f"{self.kind} {name!r}: module {module} has no {attribute!r}") from e


PLACES: list[str] = []
"""Folders of test files: modules that stand beside them are found even where pytest leaves
``sys.path`` alone (``--import-mode=importlib``).
"""


def importable(module: str) -> bool:
    """Whether a module can be imported, also from a place of tests."""
    _reach(module)
    return module in sys.modules or importlib.util.find_spec(module) is not None


def _reach(module: str) -> None:
    """Put the folder of a module on the path, where nothing on the path has that name and a place
    of tests does.
    """
    if module in sys.modules or importlib.util.find_spec(module) is not None:
        return
    for place in PLACES:
        inside = Path(place) / module
        if inside.with_suffix(".py").is_file() or (inside / "__init__.py").is_file():
            sys.path.append(place)
            importlib.invalidate_caches()
            return
