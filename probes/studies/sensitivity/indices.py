"""The indices of a network's modules from independent scramblings, in portions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from probes.measure.indices import Replicates
from probes.run.bench import Bench
from probes.studies.sensitivity.plan import Plan
from probes.studies.sensitivity.portions import per_unit, portions
from probes.studies.sensitivity.source import Source
from probes.studies.sensitivity.work import ENOUGH, Scrambling, pool_of, read, told

SMALL = 100_000
"""With fewer units than this there are 16 scramblings, else 8."""
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Sampled:
    """The indices of modules, in the files of their scramblings. For each portion there are its
    units, and a file for each scrambling.

    ``facts`` describe the design. ``lost`` counts the base points left out, by module. ``without``
    are modules that gave NaN or infinity in all of a scrambling. Iteration yields one module after
    the other, so that one is in memory at a time.
    """

    units: Mapping[str, int]
    files: Sequence[tuple[Mapping[str, slice], Sequence[Path]]]
    facts: Mapping[str, Any]
    lost: Mapping[str, int]
    without: Sequence[str]

    def __iter__(self) -> Iterator[tuple[str, Replicates]]:
        open_: dict[str, list[Replicates]] = {}
        for part, paths in self.files:
            found = {name: Replicates() for name in part if name not in self.without}
            for path in paths:
                one = read(path, list(found))
                for name in found:
                    found[name].add(one[name])
            for name in list(found):
                open_.setdefault(name, []).append(found.pop(name))
                if part[name].stop == self.units[name]:
                    yield name, Replicates.joined(open_.pop(name))


def indices_of(
    lab: Bench,
    source: Source,
    plan: Plan,
    units: Mapping[str, int],
    memory: float,
    say: Say,
) -> Sampled:
    """The indices of some modules, whose numbers of units are ``units``. What is not in the store
    is sampled now. A killed run loses at most one scrambling per process.
    """
    subject = source.of(lab.place)
    count = plan.scramblings or (16 if sum(units.values()) < SMALL else 8)
    designs = [design for _, design in plan.designs(subject.data.channels)]
    rows = plan.rows * sum(d.evaluations for d in designs)
    parts = portions(units, max(per_unit(d) for d in designs), memory * 1e9)
    pool = pool_of(source, plan, lab.place)
    say(
        f"{count} scramblings of {plan.rows:,} base points, {count * rows:,} rows; groups"
        f" {', '.join(designs[0].groups)}"
    )
    if len(parts) > 1:
        say(
            f"the units do not fit in {memory:g} GB together: {len(parts)} portions, all rows for"
            " each"
        )
    if plan.rows & (plan.rows - 1):
        say(
            f"{plan.rows} rows are no power of two: the sequence loses its balance, and intervals"
            " are wider"
        )
    if plan.rows < ENOUGH:
        say(
            f"fewer than {ENOUGH} rows: columns of the sequence may be tied, so that a switch never"
            " changes"
        )
    works = [
        Scrambling(source, plan, spans(part), lab.options.where, "study", number)
        for part in parts
        for number in range(count)
    ]
    paths = lab.fill(works, "scramblings")
    files = [(part, paths[p * count : (p + 1) * count]) for p, part in enumerate(parts)]
    lost: dict[str, int] = {}
    without: list[str] = []
    for part, mine in files:
        for there, missed in map(told, mine):
            for name, n in missed.items():
                lost[name] = lost.get(name, 0) + n
            without += [name for name in part if name not in (*there, *without)]
    for name in without:
        say(f"{name} gives NaN or infinity in every base point: left out")
    facts = {
        "groups": list(designs[0].groups),
        "rows": plan.rows,
        "scramblings": count,
        "portions": len(parts),
        "partitions": {p.split: {"images": len(p), "sha256": p.sha256} for p in pool.parts},
    }
    return Sampled(units, files, facts, lost, without)


def spans(parts: Mapping[str, slice]) -> tuple[tuple[str, int, int], ...]:
    """The units of modules in the form that a piece of work holds.

    >>> spans({"layer1": slice(0, 64)})
    (('layer1', 0, 64),)
    """
    return tuple((name, part.start, part.stop) for name, part in parts.items())
