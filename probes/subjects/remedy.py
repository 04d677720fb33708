"""The command that brings weights which are not on this machine."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from probes.origin import installed, outside
from probes.store import Store
from probes.subjects.data import FOLDER
from probes.subjects.dataset import datasets
from probes.subjects.nets import nets
from probes.subjects.recipes import by_recipe
from probes.subjects.spec import Spec


def training_command(spec: Spec, seeds: str | int, store: Store) -> str:
    """The command that trains the weights of a spec. It finds what a test registered or has in a
    folder of its own.
    """
    recipe = ["--recipe", str(spec.weights)] if by_recipe(spec) else []
    filed = {
        str(thing.__module__)
        for name, known in ((spec.net, nets), (str(spec.dataset), datasets))
        if name in known and outside(thing := known[name])
    }
    written = {
        name.partition(":")[0]
        for name in (spec.net, str(spec.dataset))
        if ":" in name and not name.startswith(FOLDER)
    }
    places = dict.fromkeys(place for module in sorted(filed | written) if (place := _place(module)))
    path = f"PYTHONPATH={shlex.quote(os.pathsep.join(places))} " if places else ""
    words = ["probes", "train", spec.net, str(spec.dataset), "--seeds", str(seeds), *recipe]
    words += [word for module in sorted(filed) for word in ("--import", module)]
    if store.folder.resolve() != Store.default().folder.resolve():
        words += ["--store", str(store.folder)]
    return path + shlex.join(words)


def _place(module: str) -> str:
    """The folder that a module is imported from. Empty for the current folder and for
    installations.
    """
    top = sys.modules.get(module.partition(".")[0])
    if installed(module) or top is None or not getattr(top, "__file__", None):
        return ""
    folder = Path(str(top.__file__)).resolve().parent
    folder = folder.parent if hasattr(top, "__path__") else folder
    if folder == Path.cwd():
        return ""
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)
