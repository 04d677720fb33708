"""What the fields of a verdict are, where they come from a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from probes.judge.family import Outcome
from probes.table import Kind

PLAIN: dict[tuple[str, ...], Any] = {
    ("label", "question", "outcome", "kind", "metric", "unit", "rule", "obstacle", "part"): str,
    ("estimate", "low", "high", "sesoi", "p_supported", "p_refuted", "spread"): int | float,
    ("n", "direction"): int,
    ("needed", "top"): int | float | None,
    ("notes",): Mapping,
}


def check(found: Any) -> None:
    """TypeError or ValueError, naming the field, for a verdict that the judge can't have made."""
    for names, kind in PLAIN.items():
        for name in names:
            if not isinstance(value := getattr(found, name), kind) or isinstance(value, bool):
                raise TypeError(f"{name} is {type(value).__name__}")
    if found.outcome not in get_args(Outcome) or found.kind not in get_args(Kind):
        raise ValueError(f"outcome {found.outcome!r} of a {found.kind!r}")
