"""Numbers of a verdict in words: effects in their units, counts, p-values, intervals."""

from __future__ import annotations

import math

from probes.table import Kind


def shown(value: float | None, kind: Kind, digits: int = 3, sign: bool = True) -> str:
    """An effect in the unit of its kind: log-ratios as percent, shares and hits as points, anything
    else as it is.

    >>> shown(0.0953, "ratio"), shown(-0.005, "share")
    ('+10 %', '-0.5 points')
    """
    if value is None or not math.isfinite(value):
        return "?" if value is None or math.isnan(value) else "∞" if value > 0 else "-∞"
    plus = "+" if sign else ""
    if kind == "ratio":
        value, unit = math.expm1(min(value, 700.0)) * 100, " %"  # what a float can hold
    elif kind in ("share", "hit"):
        value, unit = value * 100, " points"
    else:
        unit = ""
    value = value + 0.0  # no minus zero
    text = f"{value:{plus}.{digits}g}" if abs(value) < 1000 else f"{value:{plus},.0f}"
    return f"{text}{' point' if unit == ' points' and text.lstrip('+-') == '1' else unit}"


def counted(n: int, thing: str) -> str:
    """A number of things in words.

    >>> counted(1, "claim"), counted(1200, "image"), counted(2, "class")
    ('1 claim', '1,200 images', '2 classes')
    """
    more = "es" if thing.endswith("s") else "s"
    return f"{n:,} {thing}{'' if n == 1 else more}"


def percent(share: float) -> str:
    """A share in percent, with two digits.

    >>> percent(0.139), percent(0.002991), percent(1.0)
    ('14 %', '0.3 %', '100 %')
    """
    return f"{float(f'{100 * share:.2g}'):g} %"


def p_shown(p: float, equals: str = "") -> str:
    """A p-value as it is printed: two digits after ``equals``, or that it lies below 1e-4.

    >>> p_shown(0.0391), p_shown(1e-9, "= ")
    ('0.039', '< 1e-4')
    """
    return f"{equals}{p:.2g}" if p >= 1e-4 else "< 1e-4"


def cover(alpha: float) -> str:
    """The cover of the interval that two one-sided tests at alpha make.

    >>> cover(0.05), cover(0.0025)
    ('90 %', '99.5 %')
    """
    return f"{round(100 * (1 - 2 * alpha), 4):g} %"
