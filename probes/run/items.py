"""What the plugin reads off a test: its name with its parameters, whether it is repeated, what went wrong in it. No pytest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from probes.errors import BadInput
from probes.origin import installed


def labelled(ident: str, item: Any) -> str:
    """The id of a claim with the parameters of its test beside the subject, as pytest names them: ``P[sigma=0.1]``."""
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return ident
    subject = str(callspec.params.get("_probes_subject", ""))
    values = {name: value for name, value in callspec.params.items() if name != "_probes_subject"}
    found = []
    for text in (part for part in callspec._idlist if part != subject):
        owners = [name for name, value in values.items() if str(value) == text]
        found.append(f"{owners[0]}={text}" if len(owners) == 1 else text)
    return f"{ident}[{', '.join(found)}]" if found else ident


def refuse_repeats(item: Any) -> None:
    """Raise BadInput for a claim that would be run several times: by reruns, retries or repeats of other plugins."""
    repeated = "__pytest_repeat_step_number" in getattr(getattr(item, "callspec", None), "params", {})
    asked = repeated or any(_anybodys(item.config, name) for name in ("reruns", "retries"))
    if asked or item.get_closest_marker("flaky"):
        raise BadInput("reruns and repeats are extra looks at the data, and a claim has one: run claims without them")


def _anybodys(config: Any, name: str) -> bool:
    """Whether an option of another plugin is set, on the command line or in the ini file."""
    try:
        written = config.getini(name)
    except (KeyError, ValueError):
        written = None
    return bool(getattr(config.option, name, None)) or str(written or 0) != "0"


def trouble(item: Any, excinfo: Any) -> str:
    """An exception with the frames of the user's own files: his test, his network, his measure."""
    own = [entry for entry in excinfo.traceback if not installed(str(entry.frame.f_globals.get("__name__", "__main__")))]
    text = f"{type(excinfo.value).__name__}: {excinfo.value}"
    for entry in own or excinfo.traceback[-1:]:
        path = Path(str(entry.path))
        place = path.relative_to(item.config.rootpath) if path.is_relative_to(item.config.rootpath) else path
        text += f"\n  {place}:{entry.lineno + 1}: in {entry.name}\n      {str(entry.statement).strip()}"
    return text
