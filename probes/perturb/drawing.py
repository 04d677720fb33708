"""A stream of named draws for one image: what a corruption or a transform draws, in order."""

from __future__ import annotations

import math

import numpy as np

from probes import seeds
from probes.seeds import Name


class Stream:
    """Draws of one name, numbered: the n-th call always gives the same numbers.

    >>> bool((Stream("a", 0).uniform(3) == Stream("a", 0).uniform(3)).all())
    True
    """

    def __init__(self, *name: Name) -> None:
        self.name, self.calls = name, 0

    def _next(self) -> tuple[Name, ...]:
        self.calls += 1
        return (*self.name, self.calls)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """Uniforms in [low, high)."""
        drawn = seeds.uniform(math.prod(shape), *self._next()).reshape(shape)
        return low + (high - low) * drawn

    def normal(self, *shape: int) -> np.ndarray:
        """Standard normals, in double precision."""
        drawn = seeds.normals(math.prod(shape), [self._next()])[0]
        return drawn.reshape(shape).astype(float)

    def whole(self, low: int, high: int, *shape: int) -> np.ndarray:
        """Whole numbers from ``low`` to ``high - 1``."""
        return np.floor(self.uniform(*shape, low=low, high=high)).astype(int)
