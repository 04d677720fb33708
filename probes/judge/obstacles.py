"""What is in the way of a verdict, beside what its rule says itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from probes.judge import power, ruling
from probes.judge.rules import TRIM


def in_the_way(
    x: np.ndarray,
    rule: str,
    sesoi: float,
    alpha: float,
    k: int,
    *,
    reached_at: float | None,
    share: float,
    inside: bool,
) -> str:
    """Why effects can't be judged; empty where they can.

    ``share`` of the images are 0/0 (``inside`` of one training run), at most 20 % may be;
    ``reached_at`` is the level of a perturbation, and some effect reaches a thousandth of the
    SESOI; a family of ``k`` needs training runs enough.
    """
    if share > TRIM:
        whose = " of a training run" if inside else ""
        return f"{share:.0%} of the images{whose} are 0/0 and left out, at most 20 % may be"
    if _unreached(x, sesoi, rule, reached_at):
        return "the perturbation did not reach this metric: no effect is a thousandth of the SESOI"
    if rule == "signed rank" and (least := power.runs_needed(alpha, k)) > len(x):
        return f"a family of {k} needs {least} training runs, there are {len(x)}"
    return ""


def _unreached(x: np.ndarray, sesoi: float, rule: str, top: float | None) -> bool:
    """Whether no effect of a perturbation is a thousandth of the SESOI, and some are not 0."""
    if rule == "score" or top is None or not sesoi or not x.any():
        return False
    return bool(np.abs(x).max() < abs(sesoi) / 1000)


def pooled(
    effects: pd.Series,
    by: str | None,
    sign: float,
    estimate: float,
    sesoi: float,
    run: Callable[..., ruling.Ruling],
) -> tuple[str, dict[str, float]]:
    """Why training runs of several networks can't be judged together, and the estimate of each
    network; empty where nothing is pooled.

    Each network lies on the pooled estimate's side of the SESOI: together they would else say of
    all what is not so of one. Their signs say nothing where a claim is that something costs at
    most so much.
    """
    if not by:
        return "", {}
    each = {
        str(name): sign * run(sign * part.to_numpy(float), sesoi).estimate
        for name, part in effects.groupby(level=by, observed=True)
    }
    against = [name for name, one in each.items() if (sign * one - sesoi) * (estimate - sesoi) <= 0]
    if not against:
        return "", each
    lie = "lies" if len(against) == 1 else "lie"
    return f"not pooled: {', '.join(against)} {lie} on the other side of the SESOI", each
