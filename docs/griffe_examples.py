"""An extension of griffe: examples in docstrings are blocks of code, roles are code."""

import re

import griffe

EXAMPLE = re.compile(r"^ *>>> .*(?:\n.*\S.*)*", re.M)
"""An example: a line behind >>>, and what follows without an empty line."""


class Examples(griffe.Extension):
    """Fence what stands behind >>>, and show :func:`name` as a name."""

    def on_object(self, *, obj, loader, **kwargs):
        if obj.docstring:
            text = EXAMPLE.sub(lambda m: f"```pycon\n{m[0].rstrip()}\n```\n", obj.docstring.value)
            obj.docstring.value = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
