"""Names for things that others may add: networks, datasets, recipes, block types."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Iterator
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
            return self._import(name)
        raise unknown(self.kind, name, self._things, "your own: 'package.module:thing'")

    def __contains__(self, name: object) -> bool:
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._things))

    def _import(self, name: str) -> T:
        module, _, attribute = name.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as e:
            raise UnknownName(f"{self.kind} {name!r}: {e}; is it on the import path?") from e
        except AttributeError as e:
            raise UnknownName(f"{self.kind} {name!r}: module {module} has no {attribute!r}") from e
