"""Figures of accuracy against the strength of weight noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from probes.judge.wording import counted
from probes.tell import plots

ONE = "architecture"


def arms(sweep: pd.DataFrame) -> list[tuple[str, float, str]]:
    """The regimes with their strength in training, and their names in legends."""
    found = sorted(
        {(str(r), float(a)) for r, a in zip(sweep["regime"], sweep["alpha_train"], strict=True)}
    )
    return [
        (r, a, "trained without noise" if r == "clean" else f"trained with noise of {a:g}")
        for r, a in found
    ]


def _arm(part: pd.DataFrame, regime: str, strength: float) -> pd.DataFrame:
    return part[(part["regime"] == regime) & (part["alpha_train"] == strength)]


def _place(alphas: Any) -> np.ndarray:
    """The place of an alpha on the axis: logarithmic, with 0 half a decade before the smallest."""
    values = np.asarray(alphas, float)
    least = values[values > 0].min()
    return np.log10(np.where(values > 0, values, least / 10**0.5))


def curves(sweep: pd.DataFrame, primary: dict[Any, float]) -> Any:
    """Accuracy (above) and loss (below) against alpha, a column per network. There is a line per
    regime; the band spans the seeds.
    """
    nets = list(dict.fromkeys(sweep[ONE]))
    figure, axes = plots.panels(
        2 * len(nets), (min(plots.WIDEST, 2.6 * len(nets) + 2.4), 5.6), len(nets)
    )
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
                ax.plot(
                    x,
                    scale * wide.mean(),
                    plots.STYLES[j],
                    marker=plots.MARKERS[j],
                    ms=4,
                    color=plots.COLOURS[j],
                    label=words,
                )
                ax.fill_between(
                    x,
                    scale * wide.min(),
                    scale * wide.max(),
                    color=plots.COLOURS[j],
                    alpha=0.2,
                    lw=0,
                )
            ticks = sorted(set(mine["alpha_test"]))
            ax.set_xticks(_place(ticks), [f"{a:g}" for a in ticks], fontsize=7, rotation=60)
            if net in primary and primary[net] in ticks:
                ax.axvline(
                    _place(ticks)[ticks.index(primary[net])],
                    color="black",
                    lw=0.8,
                    ls=":",
                    label="primary alpha",
                )
            ax.grid(alpha=0.3)
            if metric == "loss":
                if mine["loss"].max() > 5 * mine["loss"].min():
                    ax.set_yscale("log")
                ax.set_xlabel("alpha (noise / std of W)")
        axes[i].set_title(f"{net}, {counted(mine['seed'].nunique(), 'seed')}")
    axes[0].set_ylabel("accuracy (%)")
    axes[len(nets)].set_ylabel("cross-entropy loss (nats)")
    told = [f"{net} {_cost(sweep, net, alpha)}" for net, alpha in primary.items() if net in nets]
    return plots.below(
        figure,
        axes[0],
        f"Points lost to weight noise, {_regimes(sweep)}: {', '.join(told)}"
        if told
        else "Accuracy and loss under weight noise",
        across=3,
        caption="mean over training seeds; band: their range"
        + ("; the title is at the primary alpha of each network" if told else ""),
    )


def _regimes(sweep: pd.DataFrame) -> str:
    return " and ".join(words for _, _, words in arms(sweep))


def _cost(sweep: pd.DataFrame, net: str, alpha: float) -> str:
    """The points that each regime of a network loses at an alpha, mean over seeds."""
    costs = []
    for regime, strength, _ in arms(sweep):
        part = _arm(sweep[sweep[ONE] == net], regime, strength)
        wide = part.groupby(["seed", "alpha_test"])["acc"].mean().unstack("alpha_test")
        known = not part.empty and {0.0, alpha} <= set(wide.columns)
        costs.append(f"{100 * (wide[0.0] - wide[alpha]).mean():.1f}" if known else "not measured")
    return " and ".join(costs)


def drops(sweep: pd.DataFrame, primary: dict[Any, float]) -> Any:
    """Points of accuracy lost by every training run, at .1 (left) and at each network's primary
    alpha (right).
    """
    nets = list(dict.fromkeys(sweep[ONE]))
    parts = [
        ({}, "at alpha = 0.1"),
        *([(primary, "at the primary alpha of each")] if primary else []),
    ]
    figure, axes = plots.panels(
        len(parts), (len(parts) * max(3.8, 0.9 * len(nets) + 1.5), 3.8), len(parts)
    )
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
                ax.plot(
                    np.full(len(lost), x),
                    lost,
                    plots.MARKERS[j],
                    mfc="none",
                    color=plots.COLOURS[j],
                    ms=5,
                    label=f"{words}: a run" if i == 0 else None,
                )
                ax.plot(
                    [x - 0.11, x + 0.11], [lost.mean()] * 2, "-", color=plots.COLOURS[j], lw=2.5
                )
        ticks = [f"{net}\n{alpha_of[net]:g}" if alpha_of else net for net in shown]
        ax.set_xticks(range(len(shown)), ticks, fontsize=8, rotation=0 if alpha_of else 20)
        ax.set_xlim(-0.6, max(len(shown), 1) - 0.4)
        ax.axhline(0, color="black", lw=0.8)
        ax.set_title(title, fontsize=9)
        ax.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("points of accuracy lost")
    told = ", ".join(f"{net} {_cost(sweep, net, 0.1)}" for net in nets)
    return plots.below(
        figure,
        axes[0],
        f"Points lost at alpha 0.1, {_regimes(sweep)}: {told}",
        caption="symbols: training runs; bars: their mean",
    )
