"""The tables of the study: a row for each network, perturbation and level; confidence against
accuracy; corruption errors; the images whose answers change first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from probes.errors import BadInput
from probes.judge.accuracies import accuracy_of, points_lost
from probes.judge.calibrating import BINS, area_under_roc, calibration_error
from probes.studies.robustness.published import ALEXNET, PUBLISHED_ON

RUN = ["net", "weights", "train_seed"]


def named(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with the networks called by name, and by name and weights where several have one
    name.
    """
    nets, weights = frame["net"].astype(str), frame["weights"].astype(str)
    alike = (
        pd.DataFrame({"net": nets, "weights": weights})
        .drop_duplicates()
        .groupby("net")["weights"]
        .transform("size")
        .max()
        > 1
    )
    return frame.assign(net=nets + ":" + weights if alike else nets)


def conditions(frame: pd.DataFrame, kind: str, column: str | None, name: str) -> pd.DataFrame:
    """A row for each run, arm and level: accuracy, points lost, confidence and calibration.

    ``frame`` is a table with ``correct``, ``confidence``, ``brier`` and ``kept`` per image;
    ``column`` the key column of its arms, if there are several, else ``name`` is the one.
    ``accuracy``, ``confidence``, ``ece`` and ``changed`` (the share of answers that are not those
    on the clean images) are in percent, ``drop`` in points; ``auroc`` is empty where all answers
    are right, or all wrong.
    """
    by = ["net", "train_seed", *([column] if column else [])]
    rows = []
    for label, part in frame.groupby(by, observed=True, sort=False):
        clean = part[part["level"] == 0].sort_values("image")["correct"].to_numpy(float)
        for level in sorted(map(float, part["level"].unique())):
            at = part[part["level"] == level].sort_values("image")
            hits = at["correct"].to_numpy(float)
            sure = at["confidence"].to_numpy(float)
            rows.append(
                {
                    "kind": kind,
                    "net": label[0],
                    "train_seed": label[1],
                    "perturbation": label[2] if column else name,
                    "level": level,
                    "images": len(at),
                    **_triple("accuracy", accuracy_of(hits)),
                    **_triple("drop", points_lost(clean, hits)),
                    "confidence": 100 * sure.mean(),
                    "brier": at["brier"].mean(),
                    "ece": 100 * calibration_error(sure, hits, BINS),
                    "auroc": area_under_roc(sure, hits),
                    "changed": 100 * (1 - at["kept"].mean()),
                }
            )
    return pd.DataFrame(rows)


def _triple(name: str, found: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))


def reliability(frame: pd.DataFrame, bins: int = BINS) -> pd.DataFrame:
    """Accuracy by confidence in bins of equal width, all arms and runs of a level together: columns
    ``net, level, bin, answers, confidence, accuracy``.
    """
    where = np.minimum((frame["confidence"] * bins).astype(int), bins - 1)
    # on the clean images all arms are the same answers
    one = frame["level"] > 0
    if column := next(iter(frame.attrs.get("keys", ())), None):
        one |= frame[column] == frame[column].iloc[0]
    groups = frame.assign(bin=where)[one].groupby(
        ["net", "level", "bin"], observed=True, sort=False
    )
    return pd.DataFrame(
        {
            "answers": groups.size(),
            "confidence": groups["confidence"].mean(),
            "accuracy": groups["correct"].mean(),
        }
    ).reset_index()


def errors(frame: pd.DataFrame, denominators: Mapping[str, float] | str | None) -> pd.DataFrame:
    """Corruption errors: a row for each run and corruption, and one that is the mean of all
    (``corruption`` "mean"), with their 90 % intervals over images.

    ``error`` is the share of wrong answers in percent, averaged over severities. ``relative`` is
    100 times that, over the error of another network under the same corruption (Hendrycks and
    Dietterich 2019, section 4): of the network that is named, on the same images (the mean of its
    runs), or of numbers that were published. The interval is that of the mean, for a ratio by
    linearising it (the delta method); published numbers count as exact. ``relative`` is empty where
    the other network makes no error.
    """
    # images x corruptions, severities averaged, for each run
    wrong = {
        label: 1 - part.groupby(["image", "corruption"], observed=True)["correct"].mean().unstack()
        for label, part in frame[frame["level"] > 0].groupby(
            ["net", "train_seed"], observed=True, sort=False
        )
    }
    names = list(dict.fromkeys(frame["corruption"].astype(str)))
    base: pd.DataFrame | None = None
    if isinstance(denominators, str):
        runs = [table for (net, _), table in wrong.items() if net == denominators]
        base = sum(runs[1:], runs[0]) / len(runs)
    rows = []
    for (net, seed), mine in wrong.items():
        x = mine[names].to_numpy(float)
        y = None if base is None else base.loc[mine.index, names].to_numpy(float)
        below = (
            None
            if denominators is None
            else np.array([denominators[n] for n in names])
            if not isinstance(denominators, str)
            else y.mean(0)  # type: ignore[union-attr]
        )
        plain = [_interval(x[:, i].mean(), x[:, i]) for i in range(len(names))]
        plain.append(_interval(x.mean(), x.mean(1)))
        relative = [(math.nan,) * 3] * len(plain)
        if below is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = x.mean(0) / below
                moved = x / below - (0 if y is None else ratio * y / below)
            known = np.isfinite(ratio)
            relative = [
                _interval(r, m) if ok else (math.nan,) * 3
                for r, m, ok in zip(ratio, moved.T, known, strict=True)
            ]
            relative.append(
                _interval(ratio.mean(), moved.mean(1)) if known.all() else (math.nan,) * 3
            )
        rows += [
            {
                "net": net,
                "train_seed": seed,
                "corruption": name,
                "images": len(x),
                **_triple("error", one),
                **_triple("relative", other),
            }
            for name, one, other in zip([*names, "mean"], plain, relative, strict=True)
        ]
    return pd.DataFrame(rows)


def _interval(estimate: float, each: np.ndarray) -> tuple[float, float, float]:
    """An estimate with its 90 % interval, from what each image adds to it."""
    half = math.nan
    if len(each) > 1:
        half = stats.t.isf(0.05, len(each) - 1) * each.std(ddof=1) / math.sqrt(len(each))
    return 100 * float(estimate), 100 * float(estimate - half), 100 * float(estimate + half)


def denominators(
    asked: str | None,
    nets: Sequence[str],
    corruptions: Sequence[str],
    levels: Sequence[float],
    classes: int,
) -> Mapping[str, float] | str | None:
    """What corruption errors are divided by: the name of a network of the run, the published errors
    of AlexNet, or nothing.

    Raises BadInput for a network that is not among those of the run, for AlexNet where its
    published errors are of other images, severities or corruptions, and where there are no
    corruptions.
    """
    if asked is not None and not corruptions:
        raise BadInput(
            f"relative to {asked!r}: that divides errors under corruptions, and there are none;"
            " name some, e.g. --under corruptions"
        )
    if asked is None or asked in nets:
        return asked
    if asked != "alexnet":
        raise BadInput(
            f"relative to {asked!r}: name one of the networks of this run ({', '.join(nets)}), or"
            f" alexnet for the published errors of AlexNet on {PUBLISHED_ON}"
        )
    other = [name for name in corruptions if name not in ALEXNET]
    wrong = (
        f"these images have {classes} classes"
        if classes != 1000
        else f"{other[0]} is none of them"
        if other
        else f"they are means over severities 1 to 5, not {_listed(levels)}"
        if tuple(v for v in levels if v) != (1, 2, 3, 4, 5)
        else ""
    )
    if wrong:
        raise BadInput(
            f"relative to alexnet: its published errors are those under fifteen corruptions of"
            f" {PUBLISHED_ON}, at 224 px; {wrong}; name a network of this run instead"
        )
    return ALEXNET


def _listed(levels: Sequence[float]) -> str:
    return ", ".join(f"{v:g}" for v in levels if v)


def flips(frame: pd.DataFrame) -> pd.DataFrame:
    """How easily the answer on each image changes: a row per image, those that change most first.

    ``share`` is the share of corruptions, severities, networks and runs under which the answer is
    not that on the clean image. Columns ``image, share, net, train_seed, corruption, severity``:
    the last four are where it changed first, at the lowest severity, in the order of the table;
    empty for an image that is always answered alike.
    """
    at = frame[frame["level"] > 0]
    share = (1 - at.groupby("image")["kept"].mean()).rename("share")
    changed = at[at["kept"] == 0].sort_values("level", kind="stable")
    first = changed.drop_duplicates("image").set_index("image")
    found = first[["net", "train_seed", "corruption", "level"]].rename(
        columns={"level": "severity"}
    )
    out = share.to_frame().join(found).reset_index()
    return out.sort_values(["share", "image"], ascending=[False, True], ignore_index=True)
