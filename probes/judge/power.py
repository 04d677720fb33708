"""What a design can decide, before compute is spent, and how many more units an open verdict
needs."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy import stats

POWER = 0.8


@dataclasses.dataclass(frozen=True)
class Design:
    """What is fixed before a sweep: which images, how many draws, which levels, how many runs of
    which net.

    ``varied`` is what levels are called, with their ``unit``; ``description`` says in words what is
    done to the subject; ``part`` is what a table was narrowed to, as (key column, values).
    """

    dataset: str
    images: int
    images_sha256: str
    draws: int
    seed: int
    levels: tuple[float, ...]
    runs: tuple[tuple[str, int], ...]
    perturbation: str = "gaussian"
    clamp: bool = True
    space: str = "pixels"
    precision: str = "fp32"
    split: str = "test"
    sites: int = 1
    varied: str = "level"
    unit: str = ""
    description: str = ""
    part: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def json(self) -> dict:
        """As JSON values: what a recorded expectation is bound to."""
        return dataclasses.asdict(self) | {
            "levels": list(self.levels),
            "runs": dict(self.runs),
            "part": {key: list(values) for key, values in self.part},
        }


def runs_needed(alpha: float, k: int = 1) -> int:
    """Training runs (or pairs) without which no exact test in a family of k can reach alpha: 5, or
    log2(k / alpha).

    >>> runs_needed(0.05), runs_needed(0.05, 8)
    (5, 8)
    """
    return max(5, math.ceil(math.log2(k / alpha)))


def needed(
    spread: float,
    sesoi: float,
    n: int,
    alpha: float,
    k: int = 1,
    runs: bool = False,
    ternary: bool = False,
    both_sides: bool = False,
) -> int | None:
    """Units that tell an effect of 0, and of twice the SESOI, from the SESOI with power .8 in a
    family of k.

    n = ((z(1 - alpha/k) + z(.8)) s / SESOI)^2, where s is the units' spread, below 50 units its
    upper 80 % limit. The observed effect is not used. Effects of -1, 0 and 1 (``ternary``) have a
    spread s^2 of SESOI (1 - SESOI) at least, the least that a mean of the SESOI can have: no flip
    among few images says little. Where an effect must be told from either side (``both_sides``)
    z(.9) takes the place of z(.8). None where there is no SESOI or no spread.

    >>> needed(spread=1.0, sesoi=0.4, n=100, alpha=0.05)
    39
    """
    if not sesoi or not math.isfinite(spread) or n < 2:
        return None
    if n < 50:
        spread *= math.sqrt((n - 1) / float(stats.chi2.ppf(0.2, n - 1)))
    if ternary:
        spread = max(spread, math.sqrt(abs(sesoi) * (1 - min(1.0, abs(sesoi)))))
    chance = (1 + POWER) / 2 if both_sides else POWER
    z = float(stats.norm.isf(alpha / k) + stats.norm.ppf(chance))
    return max(math.ceil((z * spread / abs(sesoi)) ** 2), runs_needed(alpha, k) if runs else 1)


def needed_crossed(
    components: tuple[float, float, float],
    sesoi: float,
    n: int,
    draws: int,
    alpha: float,
    k: int = 1,
) -> tuple[int | None, int | None]:
    """Images that would decide with these draws, and draws that would decide with these images, as
    in :func:`needed`.

    ``components``: the variance of images, of draws (common to all images) and of what is left.
    None where no number is enough, since the other one limits.

    >>> needed_crossed((0.04, 0.0014, 0.08), 0.01, 10_000, 20, 0.05)
    (None, 116)
    """
    if not sesoi:
        return None, None
    target = (sesoi / float(stats.norm.isf(alpha / k) + stats.norm.ppf(POWER))) ** 2
    image, draw, left = components

    def enough(grows: float, fixed: float) -> int | None:
        return max(1, math.ceil(grows / (target - fixed))) if fixed < target else None

    return enough(image + left / draws, draw / draws), enough(draw + left / n, image / n)


def detectable(spread: float, n: int, alpha: float, k: int = 1) -> float:
    """The distance from the SESOI that n units decide with power .8, in the units of ``spread``.

    >>> round(detectable(1.0, 100, 0.05), 3)
    0.249
    """
    return float(stats.norm.isf(alpha / k) + stats.norm.ppf(POWER)) * spread / math.sqrt(n)


def power(distance: float, spread: float, n: int, alpha: float, k: int = 1) -> float:
    """The chance that n units decide an effect which lies ``distance`` from the SESOI (normal
    approximation).

    >>> round(power(0.249, 1.0, 100, 0.05), 2)
    0.8
    """
    return float(
        stats.norm.sf(stats.norm.isf(alpha / k) - np.abs(distance) * math.sqrt(n) / spread)
    )


MINIMUM = {
    **{"trimmed mean": 100, "mean": 200, "score": 20},
    **{"two-way": 200, "typical draw": 200, "typical group": 200},
}
DRAWS = 20
"""Draws common to all images without which the two-way rule does not decide."""


def foresee(design: Design, rule: str, alpha: float, k: int = 1) -> str:
    """Why a design can't reach a verdict, whatever comes out; empty when it can.

    >>> d = Design("digits", 40, "", 1, 0, (0.0, 0.1), (("resnet20", 1),))
    >>> foresee(d, "trimmed mean", 0.05)
    'can not decide: the trimmed mean rule needs 100 images, the design has 40'
    """
    if rule == "signed rank":
        have, least = min(n for _, n in design.runs), runs_needed(alpha, k)
        if have < least:
            return (
                f"can not decide: {have} training runs reach p = {0.5**have:.3g} at best; {least}"
                f" are needed{f' in a family of {k}' if k > 1 else ''}: train seeds 0 to"
                f" {least - 1}"
            )
    elif design.images < MINIMUM[rule]:
        return (
            f"can not decide: the {rule} rule needs {MINIMUM[rule]} images, the design has"
            f" {design.images}"
        )
    elif rule in ("two-way", "typical draw") and design.draws < DRAWS:
        return (
            f"can not decide: the {rule} rule needs {DRAWS} draws common to all images, the design"
            f" has {design.draws}"
        )
    return ""
