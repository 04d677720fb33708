"""What a process keeps in memory between pieces of work. The size is bounded; the least recently
used things go first.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
LIMIT = 1_500_000_000
"""The default limit in bytes."""


class Kept:
    """Things by name, together at most ``limit`` bytes. Keeping a thing never changes a number.

    A thing that is larger than the limit is kept alone. Its name must contain everything that it
    depends on.

    >>> kept = Kept(limit=10)
    >>> [kept.get(name, lambda: bytes(6))[:0] for name in "ab"], list(kept)
    ([b'', b''], ['b'])
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._things: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._taken = 0

    def __iter__(self) -> Any:
        """The names, the least recently used first."""
        return iter(self._things)

    def get(self, name: Hashable, make: Callable[[], T]) -> T:
        """The thing of this name, from memory or made now."""
        if name not in self._things:
            self.put(name, make())
        self._things.move_to_end(name)
        return self._things[name][0]

    def put(self, name: Hashable, thing: Any) -> None:
        """Keep a thing. It replaces another one of the same name."""
        self._taken -= self._things.pop(name, (None, 0))[1]
        self._things[name] = thing, nbytes(thing)
        self._taken += self._things[name][1]
        while self._taken > self.limit and len(self._things) > 1:
            _, (_, size) = self._things.popitem(last=False)
            self._taken -= size


def nbytes(thing: Any) -> int:
    """About how many bytes a thing takes: tensors, arrays, bytes, and what holds them.

    >>> nbytes({"a": b"123", "b": [b"4", None]})
    4
    """
    if isinstance(size := getattr(thing, "nbytes", None), int):
        return size
    if isinstance(thing, bytes):
        return len(thing)
    if isinstance(thing, Mapping):
        return sum(map(nbytes, thing.values()))
    if isinstance(thing, list | tuple):
        return sum(map(nbytes, thing))
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return sum(nbytes(getattr(thing, field.name)) for field in dataclasses.fields(thing))
    return 0
