"""What the rows of the weight-noise study say: its claims, asked of tables over training seeds, with their evidence."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import pandas as pd

from probes.judge import Verdicts, decreases, exceeds
from probes.measure import accuracy
from probes.perturb import weight_noise
from probes.run.lab import Lab, Options
from probes.store import Store
from probes.subjects import training
from probes.subjects.data import Dataset
from probes.tell import evidence

MAIN = 0.1
"""The strength of the study's own summary: its drop stays in the tables."""
SESOI = 0.2
"""Of the effect on robustness: a fifth of the accuracy that the network loses without noise in training."""
Rows = Mapping[str, pd.DataFrame]


class Planned(Protocol):
    """What of a study's plan its claims depend on."""

    @property
    def dataset(self) -> str: ...

    @property
    def draws(self) -> int: ...

    @property
    def alpha_train(self) -> float: ...

    @property
    def quick(self) -> bool: ...


def primary_of(calibration: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Of each network its primary alpha and its calibrated clean drop; networks without one are left out."""
    chosen = calibration[calibration["primary"] == "yes"]
    return {str(r["architecture"]): (float(r["alpha"]), float(r["drop"])) for _, r in chosen.iterrows()}


def tidy(sweep: pd.DataFrame, images: int, draws: int) -> pd.DataFrame:
    """The rows of ``sweep.csv`` as a table for questions over training seeds: a row per run and alpha, a mean over images."""
    frame = pd.DataFrame({
        "net": sweep["architecture"], "weights": sweep["regime"], "dataset": sweep["dataset"], "train_seed": sweep["seed"],
        "image": -1, "draw": -1, "level": sweep["alpha_test"], "site": pd.Categorical(["output"] * len(sweep), ordered=True),
        "correct": sweep["acc"], "loss": sweep["loss"],
    })  # fmt: skip
    frame.attrs |= {"draws": "common", "mean over images": images, "mean over draws": draws}
    return frame


def relative(frame: pd.DataFrame, primary: Mapping[str, tuple[float, float]]) -> pd.DataFrame:
    """Each network at level 0 and at its primary alpha (then called level 1), accuracy in units of its calibrated clean drop."""
    known = frame[frame["net"].isin(list(primary))]
    alpha, drop = (known["net"].map({net: found[i] for net, found in primary.items()}).astype(float) for i in (0, 1))
    kept = (known["level"] == 0) | (known["level"] == alpha)
    relative_accuracy = known["correct"] / drop
    return known.assign(level=(known["level"] > 0).astype(float), relative_accuracy=relative_accuracy)[kept]


def lines(rows: Rows, plan: Planned, data: Dataset, options: Options, store: Store) -> list[dict[str, Any]]:
    """The evidence of every claim that these rows allow: of the runs of which both regimes are there."""
    sweep = rows["sweep"]
    sweep = sweep[sweep["alpha_train"] == sweep["regime"].map({"clean": 0.0, "noisy": plan.alpha_train})]
    pairs = sweep.groupby(["architecture", "seed"])["regime"].nunique() == len(training.REGIMES)
    chosen = sweep[[bool(pairs.get((a, s), False)) for a, s in zip(sweep["architecture"], sweep["seed"], strict=True)]]
    if chosen.empty:
        return []
    frame = tidy(chosen, len(data), plan.draws)
    asked = _quick(frame) if plan.quick else _claims(frame, primary_of(rows["calibration"]))
    return [_line(ident, sentence, found, frame, rows, plan, data, options, store) for ident, sentence, found in asked]


def _quick(frame: pd.DataFrame) -> list[tuple[str, str, Verdicts]]:
    two = frame[frame["level"].isin([0.0, MAIN])]
    found = exceeds(two, "correct", between=("noisy", "clean"), arm="weights", by="net", unit="train_seed", sesoi="-0.5 points")
    sentence = "A network trained with weight noise drops by no more than half a point beyond the clean one, at alpha .1."
    return [("WN-QUICK", sentence, found)]


def _claims(frame: pd.DataFrame, primary: Mapping[str, tuple[float, float]]) -> list[tuple[str, str, Verdicts]]:
    out = []
    arms: dict[str, Any] = {"between": ("noisy", "clean"), "arm": "weights", "unit": "train_seed"}
    many = "net" if frame["net"].nunique() > 1 else None
    scaled = relative(frame, primary)
    if len(scaled):
        sentence = "Training with weight noise makes a network lose less accuracy under weight noise, at its primary alpha"
        pool = "net" if scaled["net"].nunique() > 1 else None
        out.append(("WN", f"{sentence}.", exceeds(scaled, "relative_accuracy", **arms, pool=pool, sesoi=SESOI)))
        if pool:
            out.append(("WN-NET", f"{sentence}, each network by itself.",
                        exceeds(scaled, "relative_accuracy", **arms, by="net", sesoi=SESOI)))  # fmt: skip
    clean = frame[frame["level"] == 0]
    cost = "Training with weight noise costs at most half a point of clean accuracy"
    out.append(("WN-COST", f"{cost}.", exceeds(clean, "correct", **arms, pool=many, sesoi="-0.5 points")))
    if many:
        out.append(("WN-COST-NET", f"{cost}, each network by itself.",
                    exceeds(clean, "correct", **arms, by="net", sesoi="-0.5 points")))  # fmt: skip
    common = set.intersection(*(set(part["level"]) for _, part in frame.groupby("net")))
    steps = frame[frame["level"].isin(common)]
    if len(common) > 2:
        for regime in training.REGIMES:
            part = steps[steps["weights"] == regime]
            out.append((f"WN-RISE-{regime}", f"The drop in accuracy rises with the strength of the noise ({regime} regime).",
                        decreases(part, "correct", by="net", unit="train_seed")))  # fmt: skip
    return out


def _line(
    ident: str, sentence: str, found: Verdicts, frame: pd.DataFrame, rows: Rows, plan: Planned, data: Dataset, options: Options,
    store: Store,
) -> dict[str, Any]:  # fmt: skip
    nets = list(dict.fromkeys(frame["net"]))
    runs = frame[frame["weights"] == "clean"].groupby("net")["train_seed"].nunique()
    lab = Lab([], store, options)
    design = lab.design(accuracy, weight_noise(*sorted(set(frame["level"]))), plan.draws, data,
                        {f"{net}:{regime}": int(runs[net]) for net in nets for regime in training.REGIMES})  # fmt: skip
    known = {(r["architecture"], r["regime"], r["seed"]): r for _, r in rows["runs"].iterrows()}
    used = frame[["net", "weights", "train_seed"]].drop_duplicates().itertuples(index=False)
    weights = {
        f"{net}:{regime}@{plan.dataset}#{seed}": _provenance(known.get((net, regime, seed)), frame, (net, regime, seed), len(data))
        for net, regime, seed in used
    }
    claim: dict[str, Any] = {"id": ident, "sentence": sentence, "family": "weight noise"}
    claim |= {"test": None, "expect": None, "altered": []}
    inputs = [evidence.deposit(part, store) for part in found.inputs]
    extra = {"weights": weights, "where": dataclasses.asdict(options.where), "summary": evidence.deposit(_summary(frame), store)}
    subject = " + ".join(nets) + f"@{plan.dataset}"
    return evidence.line(found, claim=claim, subject=subject, design=design.json(), inputs=inputs, extra=extra)


def _provenance(run: Any, frame: pd.DataFrame, who: tuple[str, str, int], images: int) -> dict[str, Any]:
    columns = zip(("net", "weights", "train_seed", "level"), (*who, 0.0), strict=True)
    mine = frame[np.logical_and.reduce([frame[column] == value for column, value in columns])]
    clean = f"{float(mine['correct'].iloc[0]):.1%} of {images:,}" if len(mine) else None
    if run is None:  # rows that another program made
        return {"origin": "unknown", "sha256": "unknown", "history": None, "accuracy": clean}
    return {"origin": run["weights"], "sha256": run["weights_sha256"], "history": None, "accuracy": clean}


def _summary(frame: pd.DataFrame) -> pd.DataFrame:
    keys = ["net", "weights", "dataset", "train_seed", "level", "site"]
    parts = [frame[keys].assign(metric=name, n=1, mean=frame[name], low=math.nan, high=math.nan) for name in ("correct", "loss")]
    return pd.concat(parts, ignore_index=True)
