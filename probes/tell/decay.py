"""The section of a report on weight noise: decay curves, drops, what was perturbed, the primary alphas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probes.judge import verdict as verdicts
from probes.tell import plots
from probes.tell.pages import grid

FILES = ("summary.csv", "sweep.csv", "results.json", "calibration.csv", "runs.csv")
ONE = "architecture"


def section(folder: Path) -> str:
    """Decay curves and drops from the rows of ``sweep.csv``, with the tables behind them; empty where there are none."""
    if not (folder / "sweep.csv").exists() or not (folder / "runs.csv").exists():
        return ""
    sweep, calibration, runs = (pd.read_csv(folder / f"{name}.csv") for name in ("sweep", "calibration", "runs"))
    if sweep.empty or runs.empty:
        return ""
    primary = primary_of(calibration)
    dataset, draws = sweep["dataset"].iloc[0], runs["draws"].iloc[0]
    plots.save(curves(sweep, primary), folder / "figures" / "decay.png")
    plots.save(drops(sweep, primary), folder / "figures" / "drops.png")
    text = [
        f"## Accuracy and loss under weight noise, {dataset}",
        f"Per weight tensor W, noise of standard deviation alpha times that of W, frozen batch norm; {runs['images'].iloc[0]:,}"
        f" test images, {draws} draws at each alpha, whose direction is the same at every alpha and in both regimes of a seed."
        " *With noise*: fresh noise at every batch of the training, the clean weights updated.",
        "![accuracy and loss against alpha, a panel per network](figures/decay.png)",
        "![the loss of accuracy of every training run](figures/drops.png)",
        summary(sweep, primary),
        "**What was perturbed**\n\n" + perturbed(runs),
    ]  # fmt: skip
    if len(calibration):
        wide = calibration.pivot(index=ONE, columns="alpha", values="drop")
        rows = []
        for net, row in wide.iterrows():
            mine = calibration[calibration[ONE] == net]
            chosen = f"{primary[net]:g}" if net in primary else "none: it loses less than 5 points"
            rows.append([net, mine["seeds"].iloc[0], *(f"{100 * v:.2f}" for v in row), chosen])
        text.append("**The primary alpha of each network**: the smallest at which its clean regime loses 5 points or more, on other"
                    " seeds than those that are judged. Points lost:\n\n"
                    + grid(["network", "on seeds", *(f"alpha = {a:g}" for a in wide.columns), "primary"], rows))  # fmt: skip
    return "\n\n".join(text)


def primary_of(calibration: pd.DataFrame) -> dict[Any, float]:
    """The primary alpha of each network that has one."""
    return calibration[calibration["primary"] == "yes"].set_index(ONE)["alpha"].to_dict()


def sentence(member: Mapping[str, Any]) -> str:
    """A verdict of an evidence line as it prints itself."""
    return str(verdicts.from_json(member))


def perturbed(runs: pd.DataFrame) -> str:
    """Which share of each network the noise was put on, and how it was trained."""
    rows = []
    for net, r in runs.groupby(ONE).first().iterrows():
        tensors, some, every = (int(r[name]) for name in ("perturbed_tensors", "perturbed_parameters", "parameters"))
        trained = [int(r["epochs"]), f"{r['lr']:g}", int(r["batch_size"])] if r["epochs"] else ["unknown"] * 3
        names = str(r["perturbed"]).replace(" ", ", ")
        rows.append([net, tensors, f"{some:,}", f"{some / every:.1%}", *trained, names])
    head = ["network", "tensors", "numbers in them", "of all parameters", "epochs", "learning rate", "batch", "the tensors"]
    return grid(head, rows)


def summary(sweep: pd.DataFrame, primary: dict[Any, float]) -> str:
    """The summary table: clean accuracy, and the points lost at .1 and at the primary alpha, mean over seeds with their range."""
    rows = []
    for (net, regime, alpha_train), part in sweep.groupby([ONE, "regime", "alpha_train"], sort=False):
        wide = part.pivot(index="seed", columns="alpha_test", values="acc")
        clean = wide[0.0]
        cells = [f"{100 * clean.mean():.2f}"]
        for alpha in (0.1, primary.get(net)):
            lost = 100 * (clean - wide[alpha]) if alpha in wide.columns else pd.Series(dtype=float)
            cells.append(f"{lost.mean():.2f} [{lost.min():.2f}, {lost.max():.2f}]" if len(lost) else "")
        at = primary.get(net)
        loss = part.groupby("alpha_test")["loss"].mean()
        cells += [f"{loss[a]:.3f}" if a in loss.index else "" for a in (0.0, at or -1.0)]
        rows.append([net, regime, f"{alpha_train:g}", len(wide), *cells, f"{at:g}" if at else ""])
    return grid(
        ["network", "regime", "alpha in training", "seeds", "clean accuracy, %", "points lost at .1 [range over seeds]",
         "points lost at the primary alpha", "clean loss, nats", "loss at the primary alpha", "primary alpha"], rows)  # fmt: skip


def arms(sweep: pd.DataFrame) -> list[tuple[str, float, str]]:
    """The regimes with their strength in training, and what a legend calls them."""
    found = sorted({(str(r), float(a)) for r, a in zip(sweep["regime"], sweep["alpha_train"], strict=True)})
    return [(r, a, "trained without noise" if r == "clean" else f"trained with noise of {a:g}") for r, a in found]


def _arm(part: pd.DataFrame, regime: str, strength: float) -> pd.DataFrame:
    return part[(part["regime"] == regime) & (part["alpha_train"] == strength)]


def _place(alphas: Any) -> np.ndarray:
    """Where an alpha stands on the axis: logarithmic, 0 half a decade before the smallest."""
    values = np.asarray(alphas, float)
    least = values[values > 0].min()
    return np.log10(np.where(values > 0, values, least / 10**0.5))


def curves(sweep: pd.DataFrame, primary: dict[Any, float]) -> Any:
    """Accuracy (above) and loss (below) against alpha, a column per network; a line per regime, the band spans the seeds."""
    nets = list(dict.fromkeys(sweep[ONE]))
    figure, axes = plots.panels(2 * len(nets), (2.6 * len(nets) + 2.4, 5.4), len(nets))
    for i, net in enumerate(nets):
        mine = sweep[sweep[ONE] == net]
        for ax, metric in ((axes[i], "acc"), (axes[len(nets) + i], "loss")):
            for j, (regime, strength, words) in enumerate(arms(sweep)):
                part = _arm(mine, regime, strength)
                if part.empty:
                    continue
                wide = part.groupby(["seed", "alpha_test"])[metric].mean().unstack("alpha_test")
                x = _place(wide.columns)
                scale = 100 if metric == "acc" else 1
                ax.plot(x, scale * wide.mean(), plots.STYLES[j], marker=plots.MARKERS[j], ms=4, color=plots.COLOURS[j], label=words)
                ax.fill_between(x, scale * wide.min(), scale * wide.max(), color=plots.COLOURS[j], alpha=0.2, lw=0)
            ticks = sorted(set(mine["alpha_test"]))
            ax.set_xticks(_place(ticks), [f"{a:g}" for a in ticks], fontsize=7, rotation=60)
            if net in primary and primary[net] in ticks:
                ax.axvline(_place(ticks)[ticks.index(primary[net])], color="black", lw=0.8, ls=":", label="primary alpha")
            ax.grid(alpha=0.3)
            if metric == "loss":
                if mine["loss"].max() > 5 * mine["loss"].min():
                    ax.set_yscale("log")
                ax.set_xlabel("alpha (noise / std of W)")
        axes[i].set_title(f"{net}, {mine['seed'].nunique()} seeds", fontsize=9)
    axes[0].set_ylabel("accuracy, %")
    axes[len(nets)].set_ylabel("cross-entropy loss, nats")
    return plots.below(figure, axes[0], "Mean over training seeds; the band is their range", across=3, small=7)


def drops(sweep: pd.DataFrame, primary: dict[Any, float]) -> Any:
    """Points of accuracy lost by every training run, at .1 (left) and at each network's primary alpha (right)."""
    nets = list(dict.fromkeys(sweep[ONE]))
    parts = [({}, "at alpha = 0.1"), *([(primary, "at the primary alpha of each")] if primary else [])]
    figure, axes = plots.panels(len(parts), (len(parts) * max(3.8, 0.9 * len(nets) + 1.5), 3.8), len(parts))
    for ax, (alpha_of, title) in zip(axes, parts, strict=True):
        shown = nets if not alpha_of else [net for net in nets if net in alpha_of]
        for i, net in enumerate(shown):
            for j, (regime, strength, words) in enumerate(arms(sweep)):
                part = _arm(sweep[sweep[ONE] == net], regime, strength)
                if part.empty:
                    continue
                wide = part.groupby(["seed", "alpha_test"])["acc"].mean().unstack("alpha_test")
                if (alpha := alpha_of.get(net, 0.1)) not in wide.columns:
                    continue
                lost = 100 * (wide[0.0] - wide[alpha])
                x = i + 0.3 * (j - (len(arms(sweep)) - 1) / 2)
                ax.plot(np.full(len(lost), x), lost, plots.MARKERS[j], mfc="none", color=plots.COLOURS[j], ms=5,
                        label=f"{words}: a run" if i == 0 else None)  # fmt: skip
                ax.plot([x - 0.11, x + 0.11], [lost.mean()] * 2, "-", color=plots.COLOURS[j], lw=2.5)
        ticks = [f"{net}\n{alpha_of[net]:g}" if alpha_of else net for net in shown]
        ax.set_xticks(range(len(shown)), ticks, fontsize=8, rotation=0 if alpha_of else 20)
        ax.set_xlim(-0.6, max(len(shown), 1) - 0.4)
        ax.axhline(0, color="black", lw=0.8)
        ax.set_title(title, fontsize=9)
        ax.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("points of accuracy lost")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, loc="outside lower center", ncols=2)
    figure.suptitle("Accuracy lost to weight noise; symbols are training runs, bars their mean", fontsize=9)
    return figure
