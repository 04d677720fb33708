"""The questions that a claim asks of a table: each picks its rule by the kind of effect and the
unit, and gives verdicts.

An effect is the response to the highest level: a log-ratio to level 0 for norms and variances
(SESOI in ``%``), a difference for shares and accuracy (``points``). The verdict is ``supported``
when a one-sided test at alpha excludes every effect up to the SESOI, ``refuted`` when it excludes
every effect as large as the SESOI, else ``inconclusive``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from probes.errors import BadInput
from probes.judge import family
from probes.judge.asking import Question, Sweepable
from probes.judge.deciding import LEAST
from probes.judge.sesoi import quantity
from probes.judge.verdict import Verdicts, settle


def rises(
    table: pd.DataFrame | Sweepable,
    metric: str,
    *,
    sesoi: str | float,
    by: str | None = None,
    unit: str = "image",
    typical: str | None = None,
    cluster: str | None = None,
) -> Verdicts:
    """Does the metric rise from level 0 to the highest level, by more than the SESOI?

    ``by="site"`` judges each block, with Holm over them; without it the blocks of a unit are
    averaged. ``unit`` is ``"image"`` (a claim about one checkpoint), ``"train_seed"`` (about an
    architecture) or, where a perturbation gives all images the same draws, ``"image and draw"``
    (one checkpoint, over images and over draws: the two-way rule). ``typical="draw"`` asks the
    latter of the typical draw, the 20 % trimmed mean over draws: another number than their mean.
    ``cluster="patient"`` names a key column that images are nested in: it is averaged over, as
    draws are, and counted instead of images.

    Raises BadInput for a SESOI of the wrong unit, a unit that is nested, several nets or runs in
    the table; UnknownName for a metric.

    >>> import numpy as np
    >>> t = pd.DataFrame({"net": "n", "weights": "w", "dataset": "d", "train_seed": 0,
    ...     "image": np.repeat(range(200), 2),
    ...                   "draw": 0, "level": [0.0, 0.1] * 200, "site": "a", "gain": np.tile([0.0,
    ...                       1.0], 200)})
    >>> t["gain"] += np.arange(400) % 7 / 100
    >>> rises(t, "gain", sesoi=0.5).overall
    'supported'
    """
    return Question("rises", metric, sesoi, by, unit, typical=typical, cluster=cluster).of(table)


def falls(
    table: pd.DataFrame | Sweepable,
    metric: str,
    *,
    sesoi: str | float,
    by: str | None = None,
    unit: str = "image",
    typical: str | None = None,
    cluster: str | None = None,
) -> Verdicts:
    """Does the metric fall from level 0 to the highest level, by more than the SESOI?  The mirror
    image of :func:`rises`.

    A fall of 1 % is a factor below 1/1.01.
    """
    return Question("falls", metric, sesoi, by, unit, typical=typical, cluster=cluster).of(table)


def exceeds(
    table: pd.DataFrame | Sweepable,
    metric: str,
    *,
    sesoi: str | float,
    between: tuple[str, str] | None = None,
    by: str | None = None,
    unit: str = "image",
    arm: str = "net",
    pool: str | None = None,
    typical: str | None = None,
    cluster: str | None = None,
) -> Verdicts:
    """Does the response of one arm exceed that of another by more than the SESOI, on the same
    units?

    ``between=("a", "b")`` takes a minus b, where both are values of the key column ``arm``. A table
    with one level compares the values themselves. Without ``between`` it asks whether the response
    itself exceeds the SESOI. ``pool="net"`` judges the training runs of several networks together,
    where the estimate of each network lies on the same side of the SESOI (else inconclusive).
    Raises what :func:`rises` raises, and BadInput where the arms are not paired.
    """
    question = Question("exceeds", metric, sesoi, by, unit, between, arm, pool=pool)
    return dataclasses.replace(question, typical=typical, cluster=cluster).of(table)


def below(
    table: pd.DataFrame | Sweepable,
    metric: str,
    *,
    sesoi: str | float,
    between: tuple[str, str] | None = None,
    by: str | None = None,
    unit: str = "image",
    arm: str = "net",
    typical: str | None = None,
    cluster: str | None = None,
) -> Verdicts:
    """Is the effect below minus the SESOI?  The mirror image of :func:`exceeds`."""
    question = Question("below", metric, sesoi, by, unit, between, arm)
    return dataclasses.replace(question, typical=typical, cluster=cluster).of(table)


def equivalent(
    table: pd.DataFrame | Sweepable,
    metric: str,
    *,
    sesoi: str | float,
    between: tuple[str, str] | None = None,
    by: str | None = None,
    unit: str = "image",
    arm: str = "net",
    typical: str | None = None,
    cluster: str | None = None,
) -> Verdicts:
    """Does the effect stay within plus or minus the SESOI?  Two one-sided tests (Schuirmann 1987).

    Refuted where the effect lies beyond either side, by a test that is exact at its edge. BadInput
    for a SESOI that is not positive.
    """
    question = Question("equivalent", metric, sesoi, by, unit, between, arm)
    question = dataclasses.replace(question, typical=typical, cluster=cluster)
    if not quantity(sesoi)[0] > 0:
        raise BadInput(f"equivalent(sesoi={sesoi!r}): the SESOI must be positive")
    return question.of(table)


def increases(
    table: pd.DataFrame | Sweepable,
    metric: str,
    *,
    rho: float = 0.5,
    least: str | float = LEAST,
    by: str | None = None,
    unit: str = "image",
    cluster: str | None = None,
) -> Verdicts:
    """Does the metric increase with the level, as Spearman's correlation beyond ``rho``?

    Over training runs each run's rho (of its mean over images) is judged against the bound by the
    signed-rank test. Over images each counts +1, 0 or -1 for a rho beyond the bound, within, or
    below minus the bound, and the score test asks whether their mean is above ``least``: by how
    many points of all images those that do outnumber those that go the other way. (Against 0 a
    balance of .3 points decided, with 10,000 images.) Raises what :func:`rises` raises, and
    BadInput for fewer than three levels, or a bound or share outside (0, 1).

    >>> import numpy as np
    >>> t = pd.DataFrame({"net": "n", "weights": "w", "dataset": "d",
    ...     "train_seed": np.repeat(range(8), 3), "image": 0, "draw": 0,
    ...                   "level": [0.0, 0.1, 0.2] * 8, "site": "a", "loss": np.tile([0.1, 0.2,
    ...                       0.4], 8)})
    >>> increases(t, "loss", unit="train_seed").overall
    'supported'
    """
    return Question("increases", metric, rho, by, unit, least=least, cluster=cluster).of(table)


def decreases(
    table: pd.DataFrame | Sweepable,
    metric: str,
    *,
    rho: float = 0.5,
    least: str | float = LEAST,
    by: str | None = None,
    unit: str = "image",
    cluster: str | None = None,
) -> Verdicts:
    """Does the metric decrease with the level, Spearman's correlation below minus ``rho``?  Mirrors
    :func:`increases`.
    """
    return Question("decreases", metric, rho, by, unit, least=least, cluster=cluster).of(table)


def both(*parts: Verdicts) -> Verdicts:
    """Every part at once, joined within each block: supported when all are, refuted when one is
    (Holm over parts).

    Holm and the overall verdict then run over blocks. Raises BadInput where the parts have other
    blocks or alpha.
    """
    labels = [[v.label for v in part] for part in parts]
    alphas = {part.alpha for part in parts}
    if len(parts) < 2 or any(other != labels[0] for other in labels) or len(alphas) > 1:
        what = [
            f"{p.items[0].measured if len(p) else '?'}: {', '.join(map(str, ls)) or 'no blocks'},"
            f" alpha {p.alpha:g}"
            for p, ls in zip(parts, labels, strict=True)
        ]
        raise BadInput(
            "both() joins two or more questions over the same blocks, at the same alpha; these are"
            f" {'; '.join(what) or 'none'}"
        )
    units = list(dict.fromkeys(v.unit for part in parts for v in part))
    if len(units) > 1:
        raise BadInput(
            "both() joins questions about the same units, these are about"
            f" {' and about '.join(f'{unit}s' for unit in units)}"
        )
    items = []
    for label in labels[0]:
        mine = [part[label] for part in parts]
        nan = math.nan
        p_supported, p_refuted = family.conjunction(
            [v.p_supported for v in mine], [v.p_refuted for v in mine]
        )
        items.append(
            dataclasses.replace(
                mine[0],
                question=" and ".join(v.question for v in mine),
                metric=" & ".join(v.metric for v in mine),
                estimate=nan,
                low=-math.inf,
                high=math.inf,
                wide=(-math.inf, math.inf),
                sesoi=nan,
                spread=nan,
                p_supported=p_supported,
                p_refuted=p_refuted,
                n=min(v.n for v in mine),
                needed=max((v.needed for v in mine if v.needed is not None), default=None),
                rule=" & ".join(dict.fromkeys(v.rule for v in mine)),
                obstacle="; ".join(dict.fromkeys(v.obstacle for v in mine if v.obstacle)),
                notes={},
                curve=(),
                parts=tuple(mine),
            )
        )
    spec = {"ask": "both", "parts": [dict(part.spec) for part in parts]}
    inputs = tuple(frame for part in parts for frame in part.inputs)
    asked = tuple(one for part in parts for one in part.asked)
    alpha = alphas.pop()
    return Verdicts(settle(items, alpha), alpha, parts[0].scope, spec, inputs, asked)


def normal(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A question as JSON with every field that it has today, so that two can be compared."""
    if spec.get("ask") == "both":
        return {"ask": "both", "parts": [normal(part) for part in spec["parts"]]}
    fields = {f.name: f.default for f in dataclasses.fields(Question)}
    return {
        name: spec.get(name, default)
        for name, default in fields.items()
        if name in ("ask", "metric", "sesoi", "unit") or spec.get(name, default) != default
    }


def again(spec: Mapping[str, Any], inputs: list[pd.DataFrame], alpha: float) -> Verdicts:
    """Judge once more: a question as JSON (``Verdicts.spec``), the tables of its parts in order,
    and alpha.

    Raises BadInput when the JSON is no question.
    """
    try:
        if spec["ask"] == "both":
            return both(
                *(
                    again(part, [frame], alpha)
                    for part, frame in zip(spec["parts"], inputs, strict=True)
                )
            )
        between = spec["between"]
        question = Question(**{**spec, "between": tuple(between) if between else None})
    except (KeyError, TypeError, ValueError) as e:
        raise BadInput(f"{spec!r} is no question: {e}") from e
    return question.of(inputs[0], alpha)
