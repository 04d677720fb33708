"""The command ``probes check``."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
from pathlib import Path

from probes.check import families
from probes.check.instruments import Examined, examine
from probes.errors import ProbesError, Unavailable
from probes.run.console import say
from probes.run.settings import Options
from probes.store import Store
from probes.subjects import pretrained
from probes.subjects.data import load
from probes.subjects.remedy import training_command
from probes.subjects.spec import Spec, on, parse
from probes.subjects.subject import UNTRAINED, Subject
from probes.tell.wrapping import wrapped

SHOWN = 12
"""At most this many sums are shown without ``--all``."""


def run(given: argparse.Namespace) -> int:
    """Check a network, or a member of each family of timm. Returns 0, or 2 for a network that can't
    be measured.
    """
    store = Store(given.store) if given.store else Store.default()
    options = Options(device=given.device, threads=given.threads)
    if given.net == families.EVERY:
        families.write(given.out or Path("reports/networks"), store, options, given.argv)
        return 0
    spec = parse(given.net) if "@" in given.net else on(given.net, given.dataset)
    subject, note = _subject(spec, store, options)
    say(f"{subject.spec}")
    if note:
        say(note)
    try:
        found = examine(subject, options.where, store)
    except ProbesError as e:
        say(f"can not be measured: {e}")
        return 2
    except Exception as e:  # noqa: BLE001 - a fault of the network's own
        side = " x ".join(map(str, subject.data.images.shape[1:]))
        why = (str(e).splitlines() or [""])[0]
        say(f"can not be measured: it fails on images of {side}: {type(e).__name__}: {why}")
        return 2
    for line in told(found, given.all):
        say(line)
    return 0


def _subject(spec: Spec, store: Store, options: Options) -> tuple[Subject, str]:
    """The subject with its weights; with random ones, and a sentence, if there are none here."""
    spec = pretrained.resolved(spec)
    data = load(str(spec.dataset), options.split, store).sample(None)
    data = data.sample(min(len(data), 64))
    try:
        one = pretrained.expand(spec, store)[0]
        return pretrained.load(one, data, store), ""
    except Unavailable as e:
        random = dataclasses.replace(spec, weights=UNTRAINED, seed=None)
        if spec.weights is not None and not spec.net.startswith(("timm:", "hf:")):
            raise
        command = training_command(dataclasses.replace(spec, weights=None), 0, store)
        try:
            return pretrained.load(random, data, store), f"no weights here ({command}): random ones"
        except Unavailable:
            raise e from None


def told(found: Examined, every: bool = False) -> list[str]:
    """What was found out, line by line: lines of a terminal, or whole ones in a file."""
    width = shutil.get_terminal_size((10_000, 24)).columns
    lines = [f"  {word:15} {what}" for word, what in found.facts]
    lines.append(f"\nresidual sums: {len(found.sums) or 'none'}")
    if found.sums:
        shown = found.sums if every else found.sums[:SHOWN]
        rows = [("sum", "branch", "shortcut", "next", "shape")]
        rows += [
            (s.name, s.branch or "-", s.shortcut, s.next or "-", " x ".join(map(str, s.shape)))
            for s in shown
        ]
        wide = [max(len(row[i]) for row in rows) for i in range(5)]
        lines += [
            "  " + "  ".join(c.ljust(w) for c, w in zip(row, wide, strict=True)).rstrip()
            for row in rows
        ]
        if len(shown) < len(found.sums):
            lines.append(f"  ... and {len(found.sums) - len(shown)} more (--all)")
    for sentence in found.wrong:
        lines.append(f"  not read right: {sentence}")
    lines.append("\ninstruments:")
    for one in found.tried:
        name = f"  {'yes' if one.works else 'no':3}  {one.name:22} "
        lines += [line for line, _ in wrapped(one.what, width, name, " " * len(name))]
    lines.append("\na first claim:\n")
    lines += [f"    {line}".rstrip() for line in found.claim.splitlines()]
    return lines
