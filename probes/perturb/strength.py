"""What a strength is, for every kind of noise."""

from __future__ import annotations

import math
from typing import Any


def is_strength(value: Any) -> bool:
    """Whether a value is a strength of noise: a finite number from 0 up.

    >>> [is_strength(v) for v in (0, 0.5, -1, float("nan"), True, "1")]
    [True, True, False, False, False, False]
    """
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value >= 0
    )
