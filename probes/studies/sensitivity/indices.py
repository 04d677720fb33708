"""The indices of a network's modules from independent scramblings, in portions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from tqdm import tqdm

from probes.measure.indices import Replicates
from probes.run.settings import Options
from probes.store import Store
from probes.studies.sensitivity import work as scramblings
from probes.studies.sensitivity.plan import Plan
from probes.subjects.subject import Subject

SMALL = 100_000
"""Below so many units there are 16 scramblings, else 8."""


def indices_of(
    subject: Subject,
    plan: Plan,
    units: Mapping[str, int],
    facts: dict[str, Any],
    memory: float,
    options: Options,
    store: Store,
    say: Say,
) -> Iterator[tuple[str, Replicates]]:
    """The indices of one module after the other; what is told of the run goes into ``facts``."""
    pool = plan.pool(subject.data, store)
    many = plan.scramblings or (16 if sum(units.values()) < SMALL else 8)
    designs = [design for _, design in plan.designs(subject.data.channels)]
    rows = plan.rows * sum(d.rows for d in designs)
    parts = scramblings.portions(units, max(scramblings.per_unit(d) for d in designs), memory * 1e9)
    chosen = {p.split: {"images": len(p), "sha256": p.sha256} for p in pool.parts}
    facts.update(
        groups=list(designs[0].groups),
        rows=plan.rows,
        scramblings=many,
        portions=len(parts),
        partitions=chosen,
    )
    say(
        f"{many} scramblings of {plan.rows:,} base points, {many * rows:,} rows; groups"
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
    if plan.rows < scramblings.ENOUGH:
        say(
            f"fewer than {scramblings.ENOUGH} rows: columns of the sequence may be tied, so that a"
            " switch never changes"
        )
    steps = sum(math.ceil(plan.rows / scramblings.together(d)) for d in designs)
    open_: dict[str, list[Replicates]] = {}
    with tqdm(
        total=len(parts) * many * steps, desc="probes", unit="block", leave=False, disable=None
    ) as bar:
        for p, part in enumerate(parts):
            passes = scramblings.passes_of(subject, plan, part, options.where)
            key = scramblings.key_of(subject, plan, pool, part, options)
            found = {name: Replicates() for name in part}
            for number in range(many):
                one, lost = scramblings.made(
                    store,
                    key | {"scrambling": number},
                    passes,
                    partial(
                        scramblings.scrambling, passes, plan, number, pool, bar.update, "study"
                    ),
                )
                bar.n = (p * many + number + 1) * steps
                bar.refresh()
                for name in part:
                    if name in one:
                        found[name].add(one[name])
                    if lost.get(name):
                        facts["lost"][name] = facts["lost"].get(name, 0) + lost[name]
            for name, replicates in found.items():
                if replicates.n < many:  # NaN or infinity in all of a scrambling
                    if name not in facts["without"]:
                        facts["without"].append(name)
                        say(f"{name} gives NaN or infinity in every base point: left out")
                    continue
                open_.setdefault(name, []).append(replicates)
                if part[name].stop == units[name] and name not in facts["without"]:
                    yield name, Replicates.joined(open_.pop(name))


Say = Callable[[str], None]
