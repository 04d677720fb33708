"""The options of the plugin: ``--probes-NAME`` on the command line, ``probes_NAME`` in the ini
file.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from probes.errors import BadInput


@dataclasses.dataclass(frozen=True)
class Option:
    """An option: its name, its help text, how its value is read, and its default; whether an empty
    value means that what it names is ``off``, else it means the default.
    """

    name: str
    help: str
    kind: Callable[[str], Any] = str
    default: Any = None
    choices: tuple[str, ...] | None = None
    flag: bool = False
    off: bool = False


def levels(text: str) -> tuple[float, ...]:
    """Noise levels as typed: numbers between commas or blanks.

    >>> levels("0,.1 .2")
    (0.0, 0.1, 0.2)
    """
    return tuple(float(part) for part in text.replace(",", " ").split())


def batch_size(text: str) -> int | str:
    """A batch size as typed: a number, or ``auto``.

    >>> batch_size("250"), batch_size("auto")
    (250, 'auto')
    """
    return text if text == "auto" else int(text)


def contradiction(values: Mapping[str, Any]) -> str:
    """Why the options contradict each other. Empty if they do not. ``values`` are options by name,
    None if not given.

    >>> contradiction({"levels": (0.0,), "draws": 3})
    '--probes-draws 3 with --probes-levels 0: clean images have no draws; give a level above 0'
    """
    levels, draws = values.get("levels"), values.get("draws")
    if draws and draws > 1 and levels is not None and not any(levels):
        return (
            f"--probes-draws {draws} with --probes-levels 0: clean images have no draws; give a"
            " level above 0"
        )
    if values.get("images") and values.get("until"):
        return (
            f"--probes-images {values['images']} with --probes-until {values['until']}: a claim"
            " has a number of images, or one at which it is decided at the latest"
        )
    report, store = values.get("report"), values.get("store")
    if report and store:
        folder, other = Path(report).resolve(), Path(store).resolve()
        if folder == other or other in folder.parents or folder in other.parents:
            return (
                f"--probes-report {report} with --probes-store {store}: a report replaces its"
                " folder; keep the two apart"
            )
    device, precision = values.get("device"), values.get("precision")
    if precision == "bf16" and str(device).startswith("mps"):
        return (
            f"--probes-precision bf16 with --probes-device {device}: bf16 is for cuda and cpu; use"
            " fp32 there"
        )
    return ""


def ranges(text: str) -> list[tuple[int, int]] | None:
    """Whole numbers and ranges between commas, as (first, last). None if the text is anything else.

    >>> ranges("0-2, 5"), ranges("3-1"), ranges("x")
    ([(0, 2), (5, 5)], None, None)
    """
    found = [re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part.strip()) for part in text.split(",")]
    pairs = [(int(m[1]), int(m[2] or m[1])) for m in found if m]
    return (
        pairs if len(pairs) == len(found) and all(first <= last for first, last in pairs) else None
    )


def shard_of(text: str) -> tuple[int, int]:
    """A shard as typed, the number of the part and that of all parts.

    Raises BadInput for anything else.

    >>> shard_of("3/16")
    (3, 16)
    """
    found = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", text)
    number, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= of:
        raise BadInput(f"shard {text!r}: the number of a part and of all parts, 1/16 to 16/16")
    return number, of


OPTIONS = (
    Option(
        "model",
        "the network of subjects, instead of the test's own or where it names none:"
        " net[:weights][#seed]",
    ),
    Option("dataset", "the dataset of subjects, likewise"),
    Option("data", "folder with datasets (default: the environment's PROBES_DATA)"),
    Option("images", "number of test images (default: all)", int),
    Option("levels", "noise levels instead of the test's own, e.g. 0,.1,.2", levels),
    Option("draws", "noise draws per image", int),
    Option("device", "cuda, mps or cpu (default: the best one here)"),
    Option("precision", "fp32, or bf16 by autocast", str, "fp32", ("fp32", "bf16")),
    Option(
        "batch-size",
        "images per forward pass, or auto: as many as fit, found by trying",
        batch_size,
        250,
    ),
    Option("threads", "CPU threads (default: torch's, divided among xdist workers)", int),
    Option("seed", "seed of the noise", int, 0),
    Option("alpha", "error rate of a false supported, and of a false refuted", float, 0.05),
    Option(
        "until",
        "decide claims over images as soon as they are decided, at the latest at this number",
        int,
    ),
    Option(
        "ledger",
        "file of looks beside the claims (default: probes-looks.jsonl); off, or empty, for none",
        str,
        "probes-looks.jsonl",
        off=True,
    ),
    Option("strict", "what is not on this machine is an error, not a skip", flag=True),
    Option("expect", "what a claim must come out as", str, "recorded", ("recorded", "supported")),
    Option("report", "folder of the report; empty for none", str, "reports/latest", off=True),
    Option(
        "download",
        "fetch what is not on this machine: datasets into --probes-data, torchvision's weights",
        flag=True,
    ),
    Option(
        "engine",
        "serial: one piece of work after the other; processes: several at once; ray: on the"
        " machines of a cluster",
        str,
        "serial",
        ("serial", "processes", "ray"),
    ),
    Option("jobs", "number of processes (default: one per core)", int),
    Option("ray-address", "Ray cluster to join: auto or HOST:PORT (default: one on this machine)"),
    Option("shard", "fill the store with this part of the work, e.g. 3/16, and judge nothing"),
    Option("max-seconds", "judge what is measured after this time, and say what is missing", float),
    Option("quiet", "show no progress", default=False, flag=True),
    Option(
        "estimate",
        "say what the claims would cost, by a trial; judge nothing",
        bool,
        False,
        flag=True,
    ),
    Option("max-hours", "refuse claims that would take longer, by a trial before them", float),
    Option("store", "folder of the store (default: PROBES_STORE, else .probes)"),
)
