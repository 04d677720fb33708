"""The claims about networks under corruptions, attacks and low precision, and the questions that
are asked of their tables.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from probes.judge import Verdicts, below, exceeds, falls, rises
from probes.judge.calibrating import FEWEST, calibration
from probes.judge.lazytable import LazyTable
from probes.subjects.spec import Spec

SEVERITY = 3.0
"""The severity that is judged, where it is among those of the run; else the highest one."""
INT8 = 24.0
"""The level of 8 bits: 32 less the bits."""
GROUPS = 20
SENTENCES = {
    "ROB": "{first} loses at least a point less accuracy than {second} under each corruption.",
    "ROB-COST": "Each corruption costs {net} 5 points of accuracy or more.",
    "ROB-ECE": (
        "Under each corruption the expected calibration error of {net} rises by 2 points or more."
    ),
    "ROB-INT8": "Weights of 8 bits cost {net} less than half a point of accuracy.",
    "ROB-ATTACK": (
        "The attack costs {net} at least 5 points more than random noise of the same size."
    ),
}


@dataclasses.dataclass(frozen=True)
class Arm:
    """A network of the study: its subject, and what its tables call it. ``alike`` says that another
    one has the same ``net``, so that ``weights`` tell them apart.
    """

    spec: Spec
    net: str
    weights: str
    alike: bool = False

    @property
    def name(self) -> str:
        """The network as sentences and tables call it."""
        return f"{self.net}:{self.weights}" if self.alike else self.net

    @property
    def keys(self) -> dict[str, str]:
        """The key columns that name it among several."""
        return {"net": self.net} | ({"weights": self.weights} if self.alike else {})


def judged_severity(levels: Sequence[float]) -> float:
    """The severity that is judged of those of a run.

    >>> judged_severity((0.0, 1.0, 3.0, 5.0)), judged_severity((0.0, 2.0))
    (3.0, 2.0)
    """
    return SEVERITY if SEVERITY in levels else max(levels)


def unit_of(specs: Sequence[Spec]) -> str:
    """The unit of the claims: training runs where all networks have several, else images."""
    return "train_seed" if all(spec.seed == "*" for spec in specs) else "image"


def between(first: Arm, second: Arm) -> dict[str, Any]:
    """How a question tells two networks apart: by name, or by weights where both have one name."""
    if first.net != second.net:
        return {"between": (first.net, second.net)}
    return {"between": (first.weights, second.weights), "arm": "weights"}


Ask = Callable[[], Verdicts]
Asked = list[tuple[str, str, str, Ask]]


def claims_of(arms: Sequence[Arm], tables: Mapping[str, LazyTable]) -> Asked:
    """The id, sentence, subject and question of each claim that the tables of a run allow: the
    first network beside every other, and each by itself.

    ``tables`` are by kind: ``corruptions`` with the key column of that name, ``quantised``,
    ``pgd`` with an arm of noise.
    """
    unit, found = unit_of([arm.spec for arm in arms]), Asked()
    if (table := tables.get("corruptions")) is not None:
        at = table.where(level=(0.0, judged_severity(table.design.levels)))
        found += _corrupted(arms, at, unit)
    for arm in arms:
        words, mine = _words(arm), arm.keys if len(arms) > 1 else {}
        subject = str(arm.spec)
        quantised = tables.get("quantised")
        if quantised is not None and INT8 in quantised.design.levels:
            at = quantised.where(level=(0.0, INT8), **mine)
            found.append(("ROB-INT8", words["ROB-INT8"], subject, _cheap(at, unit)))
        if (attacks := tables.get("pgd")) is not None:
            at = attacks.where(**mine) if mine else attacks
            found.append(("ROB-ATTACK", words["ROB-ATTACK"], subject, _attacked(at, unit)))
    return found


def _words(arm: Arm) -> dict[str, str]:
    return {name: text.replace("{net}", arm.name) for name, text in SENTENCES.items()}


def _corrupted(arms: Sequence[Arm], at: LazyTable, unit: str) -> Asked:
    found = Asked()
    for other in arms[1:]:
        sentence = SENTENCES["ROB"].format(first=arms[0].name, second=other.name)
        subject = f"{arms[0].spec} + {other.spec}"
        mine = _narrowed(at, arms[0], other) if len(arms) > 2 else at
        found.append(("ROB", sentence, subject, _beside(mine, arms[0], other, unit)))
    for arm in arms:
        words, subject = _words(arm), str(arm.spec)
        mine = at.where(**arm.keys) if len(arms) > 1 else at
        found.append(("ROB-COST", words["ROB-COST"], subject, _costs(mine, unit)))
        if mine.design.images >= GROUPS * FEWEST:
            found.append(("ROB-ECE", words["ROB-ECE"], subject, _miscalibrates(mine, unit)))
    return found


def _narrowed(at: LazyTable, first: Arm, second: Arm) -> LazyTable:
    """The rows of two networks of more."""
    nets = tuple(dict.fromkeys((first.net, second.net)))
    weights = (first.weights, second.weights) if len(nets) == 1 else ()
    return at.where(net=nets, **({"weights": weights} if weights else {}))


def _beside(at: LazyTable, first: Arm, second: Arm, unit: str) -> Ask:
    arms = between(first, second)
    return lambda: exceeds(at, "correct", by="corruption", unit=unit, sesoi="1 point", **arms)


def _costs(at: LazyTable, unit: str) -> Ask:
    return lambda: falls(at, "correct", by="corruption", unit=unit, sesoi="5 points")


def _miscalibrates(at: LazyTable, unit: str) -> Ask:
    of_groups = "image group" if unit == "image" else unit
    return lambda: rises(
        calibration(at, groups=GROUPS), "ece", by="corruption", unit=of_groups, sesoi="2 points"
    )


def _cheap(table: LazyTable, unit: str) -> Ask:
    return lambda: exceeds(table, "correct", unit=unit, sesoi="-0.5 points")


def _attacked(table: LazyTable, unit: str) -> Ask:
    return lambda: below(
        table,
        "correct",
        between=("attack", "noise"),
        arm="attack",
        unit=unit,
        sesoi="5 points",
    )
