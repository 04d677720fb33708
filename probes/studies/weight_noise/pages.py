"""The section of a report on weight noise: decay curves, drops, the perturbed weights, the primary
alphas.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from probes.studies.weight_noise.plots import ONE, curves, drops
from probes.tell import plots
from probes.tell.markdown import grid


def section(folder: Path) -> str:
    """Decay curves and drops from the rows of ``sweep.csv``, with the tables behind them. Empty if
    there are none.
    """
    if not (folder / "sweep.csv").exists() or not (folder / "runs.csv").exists():
        return ""
    sweep, calibration, runs = (
        pd.read_csv(folder / f"{name}.csv") for name in ("sweep", "calibration", "runs")
    )
    if sweep.empty or runs.empty:
        return ""
    primary = primary_of(calibration)
    dataset, draws = sweep["dataset"].iloc[0], runs["draws"].iloc[0]
    plots.save(curves(sweep, primary), folder / "figures" / "decay.png")
    plots.save(drops(sweep, primary), folder / "figures" / "drops.png")
    text = [
        f"## Accuracy and loss under weight noise, {dataset}",
        (
            "Per weight tensor W, noise of standard deviation alpha times that of W, frozen batch"
            f" norm; {runs['images'].iloc[0]:,} test images, {draws} draws at each alpha, whose"
            " direction is the same at every alpha and in both regimes of a seed. *With noise*:"
            " fresh noise at every batch of the training, the clean weights updated."
        ),
        "![accuracy and loss against alpha, a panel per network](figures/decay.png)",
        "![the loss of accuracy of every training run](figures/drops.png)",
        summary(sweep, primary),
        "**What was perturbed**\n\n" + perturbed(runs),
    ]
    if len(calibration):
        wide = calibration.pivot(index=ONE, columns="alpha", values="drop")
        rows = []
        for net, row in wide.iterrows():
            mine = calibration[calibration[ONE] == net]
            chosen = f"{primary[net]:g}" if net in primary else "none: it loses less than 5 points"
            rows.append([net, mine["seeds"].iloc[0], *(f"{100 * v:.2f}" for v in row), chosen])
        text.append(
            "**The primary alpha of each network**: the smallest at which its clean regime loses 5"
            " points or more, on other seeds than those that are judged. Points lost:\n\n"
            + grid(
                ["network", "on seeds", *(f"alpha = {a:g}" for a in wide.columns), "primary"], rows
            )
        )
    return "\n\n".join(text)


def primary_of(calibration: pd.DataFrame) -> dict[Any, float]:
    """The primary alpha of each network that has one."""
    return calibration[calibration["primary"] == "yes"].set_index(ONE)["alpha"].to_dict()


def perturbed(runs: pd.DataFrame) -> str:
    """The share of each network that gets noise, and how the network was trained."""
    rows = []
    for net, r in runs.groupby(ONE).first().iterrows():
        tensors, some, every = (
            int(r[name]) for name in ("perturbed_tensors", "perturbed_parameters", "parameters")
        )
        trained = (
            [int(r["epochs"]), f"{r['lr']:g}", int(r["batch_size"])]
            if r["epochs"]
            else ["unknown"] * 3
        )
        names = str(r["perturbed"]).replace(" ", ", ")
        rows.append([net, tensors, f"{some:,}", f"{some / every:.1%}", *trained, names])
    head = [
        "network",
        "tensors",
        "numbers in them",
        "of all parameters",
        "epochs",
        "learning rate",
        "batch",
        "the tensors",
    ]
    return grid(head, rows)


def summary(sweep: pd.DataFrame, primary: dict[Any, float]) -> str:
    """The summary table: clean accuracy, and the points lost at .1 and at the primary alpha, as
    means over seeds with their range.
    """
    rows = []
    for (net, regime, alpha_train), part in sweep.groupby(
        [ONE, "regime", "alpha_train"], sort=False
    ):
        wide = part.pivot(index="seed", columns="alpha_test", values="acc")
        clean = wide[0.0]
        cells = [f"{100 * clean.mean():.2f}"]
        for alpha in (0.1, primary.get(net)):
            lost = 100 * (clean - wide[alpha]) if alpha in wide.columns else pd.Series(dtype=float)
            cells.append(
                f"{lost.mean():.2f} [{lost.min():.2f}, {lost.max():.2f}]" if len(lost) else ""
            )
        at = primary.get(net)
        loss = part.groupby("alpha_test")["loss"].mean()
        cells += [f"{loss[a]:.3f}" if a in loss.index else "" for a in (0.0, at or -1.0)]
        rows.append([net, regime, f"{alpha_train:g}", len(wide), *cells, f"{at:g}" if at else ""])
    return grid(
        [
            "network",
            "regime",
            "alpha in training",
            "seeds",
            "clean accuracy, %",
            "points lost at .1 [range over seeds]",
            "points lost at the primary alpha",
            "clean loss, nats",
            "loss at the primary alpha",
            "primary alpha",
        ],
        rows,
    )
