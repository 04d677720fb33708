"""The versions that every stored result depends on. They are read from the installation, so that
nothing heavy is loaded.
"""

from __future__ import annotations

import functools
from importlib import metadata

from probes import __version__

PACKAGES = ("torch", "torchvision", "scipy", "numpy")


def version_of(name: str) -> str | None:
    """The version of an installed package, or None.

    >>> version_of("no-such-package") is None
    True
    """
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def versions() -> dict[str, str | None]:
    """The version of the package, and of the packages that compute. They are part of every key of
    the store.

    >>> sorted(versions())
    ['numpy', 'package', 'scipy', 'torch', 'torchvision']
    """
    return {"package": __version__} | {name: version_of(name) for name in PACKAGES}
