"""Whether code belongs to the package, to an installed package, or to the user."""

from __future__ import annotations

import functools
import importlib.util
import sys
import sysconfig
import types
from importlib import metadata
from pathlib import Path
from typing import Any


def outside(thing: Any) -> bool:
    """Whether an object, a class or a function is not the package's own.

    >>> outside(outside), outside(Path("x").exists)
    (False, True)
    """
    kind = thing if isinstance(thing, type | types.FunctionType) else type(thing)
    return kind.__module__.partition(".")[0] != "probes"


def installed(module: str) -> bool:
    """Whether a module belongs to the standard library or to an installed package. Its version then
    says what it is.

    >>> installed("json"), installed("torch"), installed("__main__")
    (True, True, False)
    """
    top = module.partition(".")[0]
    if top == "__main__":
        return False
    if top == "probes":
        return True
    if top in sys.stdlib_module_names:
        return True
    found = sys.modules.get(module) or sys.modules.get(top)
    if found is None:
        spec = importlib.util.find_spec(top)
        known = [spec.origin] if spec and spec.origin else []
    else:
        known = [
            str(place)
            for place in (getattr(found, "__file__", None), *getattr(found, "__path__", []))
            if place
        ]
    return any(Path(place).is_relative_to(root) for place in known for root in _roots())


@functools.cache
def _roots() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(
        {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
        | {str(Path(metadata.__file__).parents[2])}
    )
