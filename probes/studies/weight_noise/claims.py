"""The claims of the weight-noise study, asked of tables over training seeds, with their
evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import pandas as pd

from probes.errors import BadInput
from probes.judge import Verdicts, decreases, exceeds
from probes.measure import accuracy
from probes.perturb import weight_noise
from probes.run.bench import Bench
from probes.run.judging import record
from probes.run.settings import Options
from probes.store import Store
from probes.studies.weight_noise.plan import MAIN
from probes.subjects.dataset import Dataset
from probes.subjects.recipes import REGIMES
from probes.tell import evidence

SESOI = 0.2
"""The SESOI of the effect on robustness: a fifth of the accuracy that the network loses without
noise in training.
"""
Rows = Mapping[str, pd.DataFrame]
Say = Callable[[str], None]


class Planned(Protocol):
    """The part of a study's plan that its claims depend on."""

    @property
    def draws(self) -> int: ...

    @property
    def quick(self) -> bool: ...


def primary_of(calibration: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """The primary alpha and the calibrated clean drop of each network. Networks without a primary
    alpha are left out.
    """
    chosen = calibration[calibration["primary"] == "yes"]
    return {
        str(r["architecture"]): (float(r["alpha"]), float(r["drop"])) for _, r in chosen.iterrows()
    }


def tidy(sweep: pd.DataFrame, images: int, draws: int) -> pd.DataFrame:
    """The rows of ``sweep.csv`` as a table for questions over training seeds: a row per run and
    alpha, a mean over images.
    """
    frame = pd.DataFrame(
        {
            "net": sweep["architecture"],
            "weights": sweep["regime"],
            "dataset": sweep["dataset"],
            "train_seed": sweep["seed"],
            "image": -1,
            "draw": -1,
            "level": sweep["alpha_test"],
            "site": pd.Categorical(["output"] * len(sweep), ordered=True),
            "correct": sweep["acc"],
            "loss": sweep["loss"],
        }
    )
    frame.attrs |= {"draws": "common", "mean over images": images, "mean over draws": draws}
    return frame


def relative(frame: pd.DataFrame, primary: Mapping[str, tuple[float, float]]) -> pd.DataFrame:
    """Each network at level 0 and at its primary alpha (then called level 1), with accuracy in
    units of its calibrated clean drop.

    A network without a primary alpha loses too little to show anything. Its effects are 0, so its
    verdict stays open.
    """
    top = frame[frame["level"] > 0].groupby("net")["level"].max()
    alpha = frame["net"].map(
        {
            net: primary[net][0] if net in primary else top.get(net, 0.0)
            for net in frame["net"].unique()
        }
    )
    unit = frame["net"].map(
        {net: 1 / primary[net][1] if net in primary else 0.0 for net in frame["net"].unique()}
    )
    kept = (frame["level"] == 0) | (frame["level"] == alpha.astype(float))
    scaled = frame["correct"] * unit.astype(float)
    return frame.assign(level=(frame["level"] > 0).astype(float), relative_accuracy=scaled)[kept]


def lines(
    rows: Rows, plan: Planned, data: Dataset, options: Options, store: Store, say: Say
) -> list[dict[str, Any]]:
    """The evidence of every claim that these rows allow. Runs count if their origin is known and
    both regimes are there.

    Each strength in training is judged by itself.
    """
    sweep = rows["sweep"].merge(rows["runs"][["architecture", "regime", "seed", "alpha_train"]])
    clean = sweep[sweep["regime"] == "clean"]
    strengths = sorted(set(sweep[sweep["regime"] == "noisy"]["alpha_train"]))
    out = []
    for strength in strengths:
        noisy = sweep[(sweep["regime"] == "noisy") & (sweep["alpha_train"] == strength)]
        both = (
            clean[["architecture", "seed"]].merge(noisy[["architecture", "seed"]]).drop_duplicates()
        )
        chosen = pd.concat([clean, noisy]).merge(both)
        if chosen.empty:
            continue
        frame = tidy(chosen, len(data), plan.draws)
        suffix = f" (alpha {strength:g} in training)" if len(strengths) > 1 else ""
        for ident, sentence, ask, part in (
            _quick(frame) if plan.quick else _claims(frame, primary_of(rows["calibration"]))
        ):
            try:
                found = ask(part)
            except BadInput as e:
                say(f"{ident}{suffix} is not judged: {e}")
                continue
            out.append(
                _line(
                    ident, sentence, suffix, found, part, rows, strength, plan, data, options, store
                )
            )
    return out


def _whole(frame: pd.DataFrame, levels: set[float]) -> pd.DataFrame:
    """The rows of the seeds for which both regimes of a network were swept at all these levels."""
    part = frame[frame["level"].isin(levels)]
    have = part.groupby(["net", "train_seed"])["level"].transform("size") == 2 * len(levels)
    return part[have]


Asked = list[tuple[str, str, Callable[[pd.DataFrame], Verdicts], pd.DataFrame]]


def _quick(frame: pd.DataFrame) -> Asked:
    sentence = (
        "A network trained with weight noise drops by no more than half a point beyond the clean"
        " one, at alpha .1."
    )
    ask = partial(exceeds, metric="correct", **ARMS, by="net", sesoi="-0.5 points")
    return [("WN-QUICK", sentence, ask, _whole(frame, {0.0, MAIN}))]


ARMS: dict[str, Any] = {"between": ("noisy", "clean"), "arm": "weights", "unit": "train_seed"}


def _claims(frame: pd.DataFrame, primary: Mapping[str, tuple[float, float]]) -> Asked:
    out: Asked = []
    scaled = relative(frame, primary)
    scaled = _whole(scaled, {0.0, 1.0})
    known = scaled[scaled["net"].isin(list(primary))]
    sentence = (
        "Training with weight noise makes a network lose less accuracy under weight noise, at its"
        " primary alpha"
    )
    asked = partial(exceeds, metric="relative_accuracy", **ARMS, sesoi=SESOI)
    if known["net"].nunique() > 1:
        out.append(("WN", f"{sentence}.", partial(asked, pool="net"), known))
    if len(scaled):
        single = scaled["net"].nunique() == 1
        out.append(
            (
                "WN" if single else "WN-NET",
                f"{sentence}{'' if single else ', each network by itself'}.",
                partial(asked, by="net"),
                scaled,
            )
        )
    clean = _whole(frame, {0.0})
    cost = "Training with weight noise costs at most half a point of clean accuracy"
    asked = partial(exceeds, metric="correct", **ARMS, sesoi="-0.5 points")
    if clean["net"].nunique() > 1:
        out.append(("WN-COST", f"{cost}.", partial(asked, pool="net"), clean))
        out.append(
            ("WN-COST-NET", f"{cost}, each network by itself.", partial(asked, by="net"), clean)
        )
    else:
        out.append(("WN-COST", f"{cost}.", partial(asked, by="net"), clean))
    common = set.intersection(
        *(
            set(part["level"])
            for _, part in frame.groupby(["net", "train_seed", "weights"], observed=True)
        )
    )
    if len(common) > 2:
        steps = _whole(frame, common)
        for regime in REGIMES:
            out.append(
                (
                    f"WN-RISE-{regime}",
                    f"The drop in accuracy rises with the strength of the noise ({regime} regime).",
                    partial(decreases, metric="correct", by="net", unit="train_seed"),
                    steps[steps["weights"] == regime],
                )
            )
    return out


def _line(
    ident: str,
    sentence: str,
    suffix: str,
    found: Verdicts,
    frame: pd.DataFrame,
    rows: Rows,
    strength: float,
    plan: Planned,
    data: Dataset,
    options: Options,
    store: Store,
) -> dict[str, Any]:
    dataset = frame["dataset"].iloc[0]
    nets, regimes = (list(dict.fromkeys(frame[name])) for name in ("net", "weights"))
    seeds = frame.groupby("net")["train_seed"].nunique()
    lab = Bench([], store, options)
    design = lab.design(
        accuracy,
        weight_noise(*sorted({0.0, *frame["level"]})),
        plan.draws,
        data,
        {f"{net}:{regime}": int(seeds[net]) for net in nets for regime in regimes},
    )
    runs = rows["runs"]
    runs = runs[(runs["regime"] == "clean") | (runs["alpha_train"] == strength)]
    known = {(r["architecture"], r["regime"], r["seed"]): r for _, r in runs.iterrows()}
    used = frame[["net", "weights", "train_seed"]].drop_duplicates().itertuples(index=False)
    weights = {
        f"{net}:{regime}@{dataset}#{seed}": _provenance(
            known[net, regime, seed], rows["summary"], len(data)
        )
        for net, regime, seed in used
    }
    extra = {
        "weights": weights,
        "where": options.where.told(),
        "summary": evidence.deposit(_summary(frame), store),
    }
    subject = " + ".join(nets) + f"@{dataset}{suffix}"
    return record(
        found,
        (ident, sentence, "weight noise"),
        subject,
        [design] * len(found.inputs),
        extra,
        store,
    )


def _provenance(run: Any, summary: pd.DataFrame, images: int) -> dict[str, Any]:
    mine = summary
    for name in ("architecture", "regime", "seed", "alpha_train"):
        mine = mine[mine[name] == run[name]]
    clean = f"{float(mine['acc_0'].iloc[0]):.1%} of {images:,}" if len(mine) else None
    return {
        "origin": run["weights"],
        "sha256": run["weights_sha256"],
        "history": None,
        "accuracy": clean,
    }


def _summary(frame: pd.DataFrame) -> pd.DataFrame:
    keys = ["net", "weights", "dataset", "train_seed", "level", "site"]
    parts = [
        frame[keys].assign(metric=name, n=1, mean=frame[name], low=math.nan, high=math.nan)
        for name in ("correct", "loss")
    ]
    return pd.concat(parts, ignore_index=True)
