"""A study's record: its name, its command, and what it adds to a report."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Study:
    """A study as a record: everything else of it is imported when it is used.

    ``name`` is what one types after ``probes run``, ``sentence`` its line in the help. ``command``
    is a module with ``options(parser)``, which adds the study's options to an ``argparse`` parser,
    and ``run(asked)``, which runs it (:class:`probes.run.console.Asked`); commands in its
    ``EXAMPLES``, if it has any, stand below the options in the help. ``sections`` says what it
    adds at the top of a report: a file in the folder of the report -> ``module:function``, where
    ``function(folder)`` gives markdown and is called where that file is. ``below`` names a
    ``module:function`` that gives paragraphs below a claim, ``function(folder, line)``. ``files``
    are names of files of its own that lie beside the page.

    A study of your own is such a record, named by an entry point of the group ``probes.studies``:

    >>> Study("flips", "how often a mirrored image is named otherwise",
    ...     command="flips.command").name
    'flips'
    """

    name: str
    sentence: str
    command: str
    sections: Mapping[str, str] = dataclasses.field(default_factory=dict)
    below: str = ""
    files: tuple[str, ...] = ()


def loaded(name: str) -> Any:
    """The thing that ``module:attribute`` names, or the module if there is no attribute. The module
    is imported now.
    """
    module, _, attribute = name.partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found
