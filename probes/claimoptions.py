"""Options as they were typed, or stand in the ini file."""

from __future__ import annotations

from typing import Any

import pytest

from probes.run.options import OPTIONS


def dest(name: str) -> str:
    """The name of an option in the configuration."""
    return f"probes_{name.replace('-', '_')}"


def option(config: pytest.Config, name: str) -> Any:
    """An option of ours: typed, else from the ini file, else its default; UsageError for an ini
    value that is none.
    """
    spec = next(o for o in OPTIONS if o.name == name)
    if (typed := config.getoption(dest(name))) is not None:
        return typed
    written = config.getini(dest(name))
    if written == "" and spec.off:
        return ""
    if written in (None, "", False):
        return spec.default
    try:
        value = written if spec.flag else spec.kind(written)
    except ValueError as e:
        raise pytest.UsageError(f"{dest(name)} = {written} (ini): {e}") from e
    if spec.choices and value not in spec.choices:
        raise pytest.UsageError(
            f"{dest(name)} = {written} (ini): allowed are {', '.join(spec.choices)}"
        )
    return value
