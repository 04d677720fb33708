"""The smallest effect of interest, as typed: a number and its unit."""

from __future__ import annotations

import math
import re

from probes.errors import BadInput
from probes.table import Kind

UNIT_OF = {"ratio": "%", "share": "points", "hit": "points", "plain": ""}


LARGEST = 10
"""Percent from which a fall is written as a factor: -33 % is a factor of 1/1.5, not 50 %."""


def sesoi_of(text: str | float, metric: str, kind: Kind, side: int = 1) -> float:
    """The smallest effect of interest in working units; BadInput when its unit does not fit the
    metric.

    ``side`` is -1 where a fall is asked for. A fall of 10 % or more is written as a factor.

    >>> round(sesoi_of("/1.5", "l2_h", "ratio", side=-1), 4) == round(math.log(1.5), 4)
    True
    >>> round(sesoi_of("1 %", "var_h", "ratio"), 6), sesoi_of("0.5 points", "sparsity", "share")
    (0.00995, 0.005)
    """
    unit = UNIT_OF[kind]
    if kind == "ratio" and (factor := _factor(text)):
        return math.log(factor)
    one = unit.removesuffix("s")
    example = f'"1 {one}"' if unit else "0.5"
    value, given = quantity(text, f"for {metric} e.g. {example}")
    if given != unit:
        raise BadInput(
            f"sesoi {text!r}: {metric} is judged in {unit or 'plain numbers'}, so write e.g."
            f" {example}"
        )
    if kind == "ratio":
        if -side * value >= LARGEST:  # a fall
            factor = 1 + abs(value) / 100
            raise BadInput(
                f"sesoi {text!r}: ratios are judged by their logarithm, so a fall of"
                f" {abs(value):g} % would be a factor below 1/{factor:g}, which is"
                f" {100 / factor - 100:.3g} %; write the factor, e.g. '/{factor:g}', or '/2' for"
                " half"
            )
        return math.copysign(math.log1p(abs(value) / 100), value)
    return value / 100 if unit else value


def quantity(
    text: str | float, way_out: str = "e.g. 0.5 or '1 point'", what: str = "sesoi"
) -> tuple[float, str]:
    """A SESOI, or ``what`` else it is called, as typed: its number and its unit (``%``, ``points``
    or nothing); BadInput for what is no finite number.

    >>> quantity("1e-3 points"), quantity(1e-5), quantity(" -.5 % ")
    ((0.001, 'points'), (1e-05, ''), (-0.5, '%'))
    """
    found = re.fullmatch(r"\s*(.*?)\s*(%|points?|)\s*", str(text))
    try:
        value = (
            float(found[1])
            if found and not isinstance(text, bool) and "_" not in found[1]
            else math.nan
        )
    except ValueError:
        value = math.nan
    if not found or not math.isfinite(value):
        raise BadInput(f"{what} {text!r}: a number with its unit, {way_out}")
    return value, "points" if found[2].startswith("point") else found[2]


def _factor(text: str | float) -> float:
    """The factor of ``"/1.5"``, a fall to less than 1/1.5; 0 for anything else."""
    found = re.fullmatch(r"\s*/\s*(\d+\.?\d*)\s*", str(text))
    return float(found[1]) if found and float(found[1]) > 1 else 0.0
