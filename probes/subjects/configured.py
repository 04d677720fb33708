"""Configurations that transformers wrote: ``config.json`` and its like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from probes.errors import BadInput
from probes.reading import loads

FIELDS = {
    "image_size": int | list | None,
    "num_channels": int,
    "num_labels": int,
    "id2label": dict | None,
    "do_normalize": bool,
    "image_mean": list,
    "image_std": list,
}
"""What we read of a configuration of transformers, and what it is."""


def configuration(path: Path) -> dict[str, Any]:
    """A configuration of transformers; BadInput for a file that is none."""
    try:
        found = loads(path.read_text(encoding="utf-8"))
        for name, kind in FIELDS.items():
            if name in found and not isinstance(found[name], kind):
                raise TypeError(f"{name} is {type(found[name]).__name__}")
        for name in ("image_mean", "image_std"):
            if any(not isinstance(v, int | float) for v in found.get(name, ())):
                raise TypeError(f"{name} holds more than numbers")
        _ = [int(k) for k in found.get("id2label") or ()]
    except (OSError, ValueError, TypeError, AttributeError) as e:
        raise BadInput(f"{path} is no configuration of transformers: {e}") from e
    return dict(found)
