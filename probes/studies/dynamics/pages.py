"""The sections that the study of H1 and H0 adds to a report: the published way corrected step by
step, and other conditions.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from probes.judge.wording import shown
from probes.studies.dynamics.plots import stages, steps
from probes.table import from_csv, kind_of, label_of
from probes.tell import evidence, plots
from probes.tell.markdown import Line, grid, slug


def published(folder: Path) -> str:
    """The published way compared with ours: the change of each metric, as published and after each
    correction.
    """
    path = folder / "tables" / "published.csv"
    if not path.exists():
        return ""
    table = pd.read_csv(path)
    top = table["level"].max()
    text = [
        "## The study's own way, put right one step at a time",
        (
            "*As published*: noise on the normalised image, clamped to [0, 1]; h and the ReLU"
            " input kept by reference and read after the pass, when an in-place sum and ReLU have"
            " overwritten them; norm, variance, mean and share of zeros over a batch of 128,"
            " averaged over batches. *Tensors as they are made*: the same, h and x + h copied in"
            " the hook. *Without the clamp*: the same, not clamped. *Noise in pixel space*: noise"
            " added to the image in [0, 1] and clamped there. *Mean over images*: metrics per"
            " image, averaged. *Per image (ours)*: the typical image (trimmed mean of the"
            f" log-ratio). Every number is the change from clean images, at σ = {top:g} where"
            " nothing else is said: a change that is there at the first level and stays does not"
            " come from the strength of the noise."
        ),
        (
            "The same σ is not the same noise: on the normalised image it is multiplied by the"
            " standard deviation of the data, and a clamp there replaces everything darker than the"
            " mean colour. Realised, as standard deviation in pixels:"
        ),
        _realised(table[table["metric"] == "sigma_realised"]),
    ]
    for subject, part in table.groupby("subject", sort=False):
        for metric in FIGURES:
            place = Path("figures") / slug(f"published-{subject}")
            chosen = part[part["metric"] == metric]
            plots.save(steps(chosen, metric, f"{subject}"), folder / place / f"{metric}.png")
            text.append(f"![{label_of(metric)}, step by step]({place.as_posix()}/{metric}.png)")
            text.append(_steps(chosen, metric))
    return "\n\n".join(text)


def _realised(found: pd.DataFrame) -> str:
    wide = found.drop_duplicates(["step", "level"]).pivot(
        index="step", columns="level", values="change"
    )
    wide = wide.loc[list(dict.fromkeys(found["step"]))]
    return grid(
        ["step", *(f"σ = {lv:g}" for lv in wide.columns)],
        [[s, *(f"{v:.3f}" for v in r)] for s, r in wide.iterrows()],
    )


def _steps(chosen: pd.DataFrame, metric: str) -> str:
    kind = kind_of(metric)
    low, top = chosen["level"].min(), chosen["level"].max()
    wide = chosen.pivot(index="site", columns=["step", "level"], values="change")
    steps = list(dict.fromkeys(chosen["step"]))
    rows = []
    for site in dict.fromkeys(chosen["site"]):
        row = wide.loc[site]
        flips = [step for step in steps[:-1] if row[step, top] * row[steps[-1], top] < 0]
        numbers = [row[step, top] for step in steps] + [row[steps[0], low], row[steps[-1], low]]
        rows.append([site, *(shown(v, kind) for v in numbers), "; ".join(flips)])
    header = [
        "block",
        *steps,
        f"{steps[0]}, at σ = {low:g}",
        f"ours, at σ = {low:g}",
        "other sign than ours",
    ]
    return f"**{label_of(metric)}**\n\n" + grid(header, rows)


def robustness(folder: Path) -> str:
    """The verdict maps under other noise, images and precision."""
    path = folder / "tables" / "robustness.csv"
    if not path.exists():
        return ""
    table = pd.read_csv(path)
    letter = {"supported": "+", "refuted": "-", "inconclusive": "o"}
    text = [
        "## Is the answer the same under other conditions?",
        (
            "A sign per block, from input to output: + supported, - refuted, o open. Each condition"
            " differs from the first in one thing only."
        ),
    ]
    for (subject, claim), part in table.groupby(["subject", "claim"], sort=False):
        first = None
        rows = []
        for condition, one in part.groupby("condition", sort=False):
            marks = "".join(letter[v] for v in one["verdict"])
            first = first or marks
            same = sum(a == b for a, b in zip(marks, first, strict=True))
            rows.append(
                [condition, one["overall"].iloc[0], f"`{marks}`", f"{same} of {len(marks)}"]
            )
        text.append(
            f"**{claim} on {subject}**\n\n"
            + grid(["condition", "verdict", "blocks", "as in the first row"], rows)
        )
    return "\n\n".join(text)


FIGURES = {
    "l2_h": "l2_norm_hx_vs_noise.png",
    "var_h": "var_hx_vs_noise.png",
    "mean_sum": "mean_relu_in_vs_noise.png",
    "sparsity": "sparsity_relu_out_vs_noise.png",
}
"""The four figures of the original study, with its own file names."""


def by_level(folder: Path, line: Line) -> list[str]:
    """The metrics of blocks against the level. They stand below a claim on one training run that
    was measured at three levels or more.
    """
    summary = from_csv(folder / line["summary"]["file"])
    if len(summary[["net", "train_seed"]].drop_duplicates()) > 1 or summary["level"].nunique() < 3:
        return []
    if not summary["metric"].isin(list(FIGURES)).any():
        return []
    place = Path("figures") / slug(line["subject"])
    text = [
        (
            "### The levels themselves"
            if not (folder / place).exists()
            else f"The levels themselves: see [{place.as_posix()}/]({place.as_posix()}/), above."
        )
    ]
    if (folder / place).exists():
        return text
    unit = line["design"].get("unit") or (
        "pixel range 0 to 1" if evidence.varied(line) == "noise σ" else ""
    )
    across = f"{evidence.varied(line)}{f' ({unit})' if unit else ''}"
    for metric, name in FIGURES.items():
        if (summary["metric"] == metric).any():
            plots.save(
                stages(summary, metric, line["subject"], across),
                folder / place / name,
            )
            text.append(
                f"![{label_of(metric)} against {evidence.varied(line)}]({place.as_posix()}/{name})"
            )
    return text
