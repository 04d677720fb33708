"""Splits units into portions whose sums fit in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping

from probes.measure.sensitivity import SobolDesign
from probes.studies.sensitivity.work import together


def per_unit(design: SobolDesign) -> int:
    """The approximate number of bytes that a unit needs: sums, mean and variance over scramblings
    in double precision, a block of rows and its differences.
    """
    n_groups = len(design.groups)
    kept = 6 + 4 * n_groups + (n_groups + math.comb(n_groups, 2)) * design.second
    return 3 * 8 * kept + 4 * together(design) * (design.evaluations + 2 * n_groups)


def portions(units: Mapping[str, int], each: int, memory: float) -> list[dict[str, slice]]:
    """The units of modules, in portions of at most ``memory`` bytes, at ``each`` bytes per unit. A
    module is split if necessary.

    >>> portions({"a": 3, "b": 5}, each=1, memory=4)
    [{'a': slice(0, 3, None)}, {'b': slice(0, 4, None)}, {'b': slice(4, 5, None)}]
    """
    limit = max(1, int(memory / each))
    found: list[dict[str, slice]] = [{}]
    left = limit
    for name, n_units in units.items():
        if n_units > left and found[-1]:
            found.append({})
            left = limit
        for start in range(0, n_units, limit):
            if start:
                found.append({})
                left = limit
            found[-1][name] = slice(start, min(start + limit, n_units))
            left -= found[-1][name].stop - start
    return found
