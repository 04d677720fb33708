"""Whether there is accuracy to lose: a network above chance on clean images."""

from __future__ import annotations

import pandas as pd
from scipy import stats

ABOVE_CHANCE = 0.05
"""Points of accuracy by which a network is above chance before a claim about its accuracy is
judged.
"""


def at_chance(frame: pd.DataFrame) -> str:
    """Why there is no accuracy to lose: the first network whose clean accuracy is not 5 points
    above chance, at 95 %; else empty.

    Read from ``attrs["floor"]``, where what measured the table put it: chance, the margin, and hits
    of images for each run.
    """
    floor = frame.attrs.get("floor")
    if not floor:
        return ""
    here = {
        tuple(map(str, row))
        for row in frame[["net", "weights", "train_seed"]].drop_duplicates().itertuples(index=False)
    }
    for net, weights, seed, hits, n in floor["clean"]:
        if (net, weights, str(seed)) in here and not above_chance(
            hits, n, floor["chance"], floor["margin"]
        ):
            return (
                f"at chance: {net} ({weights}) names {hits / n:.1%} of {n:,} clean images right,"
                f" not {floor['margin'] * 100:g} points above the {floor['chance']:.1%} of chance,"
                " so there is nothing to lose"
            )
    return ""


def above_chance(hits: int, n: int, chance: float, margin: float = ABOVE_CHANCE) -> bool:
    """Whether hits of n images show an accuracy above chance by a margin: the exact one-sided 95 %
    bound (Clopper, Pearson 1934).

    >>> above_chance(200, 1000, 0.1), above_chance(150, 1000, 0.1)
    (True, False)
    """
    if not hits:
        return False
    return bool(stats.beta.ppf(0.05, hits, n - hits + 1) > chance + margin)
