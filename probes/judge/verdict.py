"""A verdict, and verdicts over blocks: small frozen results that print themselves and refuse to be
a boolean.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from probes.judge import family, fields
from probes.judge.family import Outcome
from probes.judge.wording import counted, p_shown, shown
from probes.table import Kind


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was found for one block (or one question without blocks).

    ``estimate``, ``low``, ``high`` (1 - 2 alpha) and ``wide`` (simultaneous, 1 - 2 alpha/k) are
    effects in working units: log-ratios, differences of shares in [0, 1], plain numbers;
    :meth:`effect` prints them. ``p_supported`` and ``p_refuted`` are one-sided. ``n`` counts
    ``unit``, never pixels, batches or draws. ``needed`` is how many of them would decide.
    ``obstacle`` says why the rule can't decide. ``curve`` is (level, estimate, low, high) per
    level.

    ``direction`` is the claimed side of the SESOI: 1 above, -1 below, 0 between minus and plus.
    ``top`` is the level that effects were measured to, from level 0 (None: the values themselves);
    ``between`` names two arms, the first minus the second; ``part`` is what the table was narrowed
    to.
    """

    label: str
    question: str
    outcome: Outcome
    kind: Kind
    metric: str
    estimate: float
    low: float
    high: float
    wide: tuple[float, float]
    sesoi: float
    p_supported: float
    p_refuted: float
    n: int
    unit: str
    rule: str
    spread: float
    needed: int | None = None
    obstacle: str = ""
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    curve: tuple[tuple[float, float, float, float], ...] = ()
    parts: tuple[Verdict, ...] = ()
    direction: int = 1
    top: float | None = None
    between: tuple[str, str] | None = None
    part: str = ""

    def __bool__(self) -> bool:
        raise TypeError(
            "a verdict is no boolean: it is supported, refuted or inconclusive; read .outcome, or"
            " hand it to claim.holds()"
        )

    @property
    def measured(self) -> str:
        """What the effect is of, in short: the metric and, of two arms, which minus which; of a
        part of a sweep, which.
        """
        arms = f", {self.between[0]} minus {self.between[1]}" if self.between else ""
        return self.metric + arms + (f" ({self.part})" if self.part else "")

    def asked(self, varied: str = "level") -> str:
        """The question with what is compared with what: metric, SESOI, and from which level to
        which.
        """
        return (
            self.question
            if self.top is None
            else f"{self.question}, from {varied} 0 to {round(self.top, 4):g}"
        )

    @property
    def leaves(self) -> tuple[Verdict, ...]:
        """The verdicts on single metrics: the parts of a joint verdict, or the verdict itself."""
        return self.parts or (self,)

    def effect(self) -> str:
        """The estimate with its interval, in the unit that people read: ``+3.1 % [+2.5, +3.7]``."""
        value = shown(self.estimate, self.kind)
        low, high = (shown(v, self.kind).split(" ")[0] for v in (self.low, self.high))
        return f"{value} [{low}, {high}]"

    def __str__(self) -> str:
        head = f"{self.label}: " if self.label else ""
        if self.parts:
            return (
                f"{head}{self.outcome}"
                f" ({'; '.join(f'{p.measured} {p.effect()}' for p in self.parts)})"
            )
        p = min(self.p_supported, self.p_refuted)
        tail = f"; {self.obstacle}" if self.obstacle else ""
        if self.outcome == "inconclusive" and not self.obstacle:
            tail = f"; {self.advice()}"
        return (
            f"{head}{self.outcome}: {self.effect()}, n = {counted(self.n, self.unit)}, p"
            f" {p_shown(p, '= ')}{tail}"
        )

    def advice(self) -> str:
        """How many units would decide, for an open verdict; with draws common to all images, which
        of the two limits.
        """
        if "needed_draws" in self.notes:
            ways = [
                (self.needed, self.n, "images"),
                (self.notes["needed_draws"], self.notes["draws"], "draws"),
            ]
            more = " or ".join(
                f"{needed:,} {what}"
                for needed, have, what in ways
                if needed is not None and needed > have
            )
            return f"open: the {self.notes['limit']} limit" + (
                f"; {more} would decide" if more else ""
            )
        if bound := self.notes.get("bound"):
            return f"open: {self.metric} is a {bound} bound, which decides on one side only"
        if self.needed is None:
            return "open"
        if self.n >= self.needed:
            edges = {self.sesoi} if self.direction else {-self.sesoi, self.sesoi}
            own = any(self.low <= edge <= self.high for edge in edges)
            low, high = (shown(v, self.kind).split(" ")[0] for v in self.wide)
            return (
                f"open: its interval holds the SESOI of {shown(self.sesoi, self.kind)}"
                if own
                else f"open after Holm over the blocks; simultaneous interval [{low}, {high}]"
            )
        return f"open: {counted(self.needed, self.unit)} would decide"

    def json(self) -> dict[str, Any]:
        """As JSON values; an unbounded or missing number is null."""
        return plain(dataclasses.asdict(self))


def plain(value: Any) -> Any:
    """A value as JSON has it: tuples are lists, an unbounded or missing number is null."""
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def from_json(record: Mapping[str, Any]) -> Verdict:
    """The verdict that :meth:`Verdict.json` wrote; null becomes an unbounded or missing number
    again.
    """
    record = dict(record)
    nan = math.nan
    for name, absent in (
        ("estimate", nan),
        ("low", -math.inf),
        ("high", math.inf),
        ("sesoi", nan),
        ("spread", nan),
    ):
        record[name] = absent if record[name] is None else record[name]
    low, high = record["wide"]
    record["wide"] = (-math.inf if low is None else low, math.inf if high is None else high)
    record["curve"] = tuple(tuple(nan if v is None else v for v in row) for row in record["curve"])
    record["parts"] = tuple(from_json(p) for p in record["parts"])
    if (
        "direction" not in record
    ):  # evidence of an earlier version: what the fields say now stood in its sentence
        record |= _said(record)
    record["between"] = tuple(record["between"]) if record.get("between") else None
    found = Verdict(**record)
    fields.check(found)
    return found


def _said(record: Mapping[str, Any]) -> dict[str, Any]:
    question = str(record["question"])
    down = any(word in question for word in (" falls by ", " is below ", " decreases "))
    arms = re.search(r", ([^,]+) minus ([^,]+), ", question)
    part = re.search(r" \(([^()]+ = [^()]+)\)$", question)
    curve = record["curve"]
    return {
        "direction": 0 if " stays within " in question else -1 if down else 1,
        "top": curve[-1][0] if curve else None,
        "between": (arms[1], arms[2]) if arms else None,
        "part": part[1] if part else "",
    }


@dataclasses.dataclass(frozen=True)
class Look:
    """One look at a number of images: its nominal level, and of each block the (estimate, low,
    high) of its parts then, and its outcome.
    """

    n: int
    level: float
    blocks: tuple[tuple[tuple[float, float, float], ...], ...]
    outcomes: tuple[Outcome, ...]

    @property
    def decided(self) -> int:
        """How many blocks were decided by this look."""
        return sum(outcome != "inconclusive" for outcome in self.outcomes)


@dataclasses.dataclass(frozen=True)
class Verdicts:
    """The verdicts of one question over its family (blocks, say), after Holm; ``overall`` is the
    answer.

    ``scope`` says over what the answer generalises; ``spec`` is the question as JSON, and
    ``inputs`` the tables that it was asked of, in the order of its parts: from both, anyone can
    judge again. ``asked`` are the tables of a lab that these are, with their designs; None for one
    that is nobody's. ``path`` are the looks of a claim that was judged as soon as it was decided,
    at most at ``until`` images; p-values are then sequential.
    """

    items: tuple[Verdict, ...]
    alpha: float
    scope: str
    spec: Mapping[str, Any]
    inputs: tuple[pd.DataFrame, ...] = ()
    asked: tuple[Any, ...] = dataclasses.field(default=(), compare=False, repr=False)
    path: tuple[Look, ...] = ()
    until: int | None = None

    def __bool__(self) -> bool:
        raise TypeError("verdicts are no boolean: read .overall, or hand them to claim.holds()")

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, label: str) -> Verdict:
        return {v.label: v for v in self.items}[label]

    @property
    def overall(self) -> Outcome:
        """The verdict over all blocks: see :func:`probes.judge.family.overall`."""
        return family.overall(
            [v.p_supported for v in self], [v.p_refuted for v in self], self.alpha
        )

    @property
    def level(self) -> float:
        """The level that the intervals were made at: alpha, or that of the last look."""
        return self.path[-1].level if self.path else self.alpha

    @property
    def judged(self) -> bool:
        """Whether the rule's conditions (fewest units, first of all) were met in at least one
        block.
        """
        return any(all(not leaf.obstacle for leaf in v.leaves) for v in self)

    def counts(self) -> str:
        """How many blocks came out how: ``5 supported, 1 refuted, 3 open``; and that each is at
        alpha, where the claim is decided and no block is by itself, after Holm.
        """
        found = Counter(v.outcome for v in self)
        whole = self.overall in ("supported", "refuted") and not found[self.overall]
        return (
            f"{found['supported']} supported, {found['refuted']} refuted, {found['inconclusive']}"
            f" open{'; each at alpha' if whole else ''}"
        )

    def __str__(self) -> str:
        head = f"{self.overall}" + (f" ({self.counts()})" if len(self) > 1 else "")
        return "\n".join([f"{head} {self.scope}", *(f"  {v}" for v in self)])

    def _repr_html_(self) -> str:
        from probes.judge import rich

        return rich.verdicts(self)


def settle(items: list[Verdict], alpha: float) -> tuple[Verdict, ...]:
    """The members of a family with their outcomes after Holm."""
    found = family.outcomes([v.p_supported for v in items], [v.p_refuted for v in items], alpha)
    return tuple(dataclasses.replace(v, outcome=o) for v, o in zip(items, found, strict=True))
