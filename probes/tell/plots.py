"""Plots of tables and verdicts: ``plot(thing, ax=None) -> ax``; figures are written here, and
look as :mod:`probes.tell.style` says.
"""

from __future__ import annotations

import contextlib
import contextvars
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from PIL import Image

from probes import table as tables
from probes.judge.verdict import Verdict
from probes.judge.wording import cover
from probes.table import Kind
from probes.tell.style import COLOURS as COLOURS
from probes.tell.style import FROM_ZERO as FROM_ZERO
from probes.tell.style import MARKERS as MARKERS
from probes.tell.style import STYLES as STYLES
from probes.tell.style import TWO_SIDED as TWO_SIDED
from probes.tell.style import WIDEST as WIDEST
from probes.tell.style import below as below
from probes.tell.style import capital as capital
from probes.tell.style import dress as dress
from probes.tell.style import frame as frame
from probes.tell.style import new_axes as new_axes
from probes.tell.style import numbers as numbers
from probes.tell.style import panels as panels
from probes.tell.style import spelt as spelt
from probes.tell.style import titled as titled
from probes.tell.style import wrapped as wrapped

OUTCOME = {
    "supported": ("#0072B2", "^", "supported"),
    "refuted": ("#D55E00", "v", "refuted"),
    "inconclusive": ("#777777", "o", "open (inconclusive)"),
}
AXIS = {
    "ratio": "change (%)",
    "share": "change (points)",
    "hit": "change (points)",
    "plain": "change",
}

UNIT = {"ratio": " %", "share": " points", "hit": " points", "plain": ""}
"""What follows a number that is shown."""


def save(figure: Any, path: Path) -> None:
    """Write a figure as PNG with 256 colours: a third of the bytes; the same figure gives the same
    bytes.
    """
    write_png(figure, path, 256, Image.Quantize.MEDIANCUT, True)


_vectors: contextvars.ContextVar[dict[Path, bytes] | None]
_vectors = contextvars.ContextVar("vectors", default=None)


@contextlib.contextmanager
def drawings() -> Iterator[dict[Path, bytes]]:
    """A block in which every figure that :func:`save` writes is also drawn as SVG: by its path."""
    found: dict[Path, bytes] = {}
    token = _vectors.set(found)
    try:
        yield found
    finally:
        _vectors.reset(token)


def write_png(
    figure: Any, path: Path, colours: int, method: Image.Quantize, vector: bool = False
) -> None:
    """Write a figure as PNG with so many colours, chosen by a method; ``vector`` lets
    :func:`drawings` have it, too.
    """
    dress(figure)
    kept = _vectors.get()
    if vector and kept is not None:
        svg = io.BytesIO()
        with rc_context({"svg.hashsalt": "probes"}):
            figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        kept[path] = svg.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    with Image.open(drawn) as full:
        small = full.convert("RGB").quantize(colours, method=method, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def display(values: Any, kind: Kind) -> Any:
    """Effects in the unit of an axis: percent for log-ratios, points for shares."""
    values = np.asarray(values, float)
    return (
        np.expm1(values) * 100
        if kind == "ratio"
        else values * 100
        if kind in ("share", "hit")
        else values
    )


def _axis(verdict: Verdict, varied: str) -> str:
    """What an effect is, for an axis; of a trend, correlations of runs or a balance of images."""
    label, trend = tables.label_of(verdict.metric), " with the level: "
    if trend not in verdict.question:
        return f"{label}: {AXIS[verdict.kind]}"
    if verdict.kind == "plain":
        return f"Spearman's rho of {label} with {varied}, over the runs"
    return f"images in which {label} goes this way with {varied}, less the others (points)"


def forest(
    verdicts: Sequence[Verdict], ax: Axes | None = None, varied: str = "level", inches: float = 5.5
) -> Axes:
    """Effects by depth, one row per block: estimate, own interval (thick), simultaneous interval
    (thin), the SESOI.

    Colour and marker tell the verdict of each block after Holm; the shaded side is the claimed one.
    ``varied`` is what levels are called, ``inches`` the width for the title.
    """
    ax = new_axes(ax)
    kind, sesoi = verdicts[0].kind, verdicts[0].sesoi
    unbounded = [np.isfinite([v.low, v.high]).all() for v in verdicts]
    edges = [sesoi, -sesoi] if verdicts[0].direction == 0 else [sesoi]
    spots = np.concatenate([display([v.estimate, *edges, 0], kind) for v in verdicts])
    ends = [
        display([v.low, v.high, *v.wide], kind)
        for v, ok in zip(verdicts, unbounded, strict=True)
        if ok
    ]
    finite = np.concatenate([spots, *ends]) if ends else spots
    finite = finite[np.isfinite(finite)]
    margin = 0.06 * (np.ptp(finite) or 1)
    left, right = finite.min() - margin, finite.max() + margin
    for y, v in enumerate(verdicts):
        colour, marker, _ = OUTCOME[v.outcome]
        low, high, low_wide, high_wide = np.clip(
            display([v.low, v.high, *v.wide], kind), left, right
        )
        ax.plot([low_wide, high_wide], [y, y], color=colour, lw=1)
        ax.plot([low, high], [y, y], color=colour, lw=3.5, solid_capstyle="butt")
        look: dict[str, Any] = (
            {"mfc": "white", "mec": colour} if v.obstacle else {"mec": "white", "mew": 0.7}
        )
        ax.plot(display(v.estimate, kind), y, marker, color=colour, ms=7, **look)
    at = sorted(float(v) for v in display(edges, kind))
    begin, end = {1: (at[0], right), -1: (left, at[0]), 0: (at[0], at[-1])}[verdicts[0].direction]
    ax.axvspan(begin, end, color="#0072B2", alpha=0.07, lw=0, gid="claimed")
    ax.axvline(0, color="black", lw=0.8)
    for edge in at:
        ax.axvline(edge, color="#0072B2", lw=1, ls="--")
    ax.set_xlim(left, right)
    ax.set_ylim(len(verdicts) - 0.5, -0.5)
    ax.set_yticks(range(len(verdicts)), [v.label or "all" for v in verdicts])
    ax.set_xlabel(wrapped(_axis(verdicts[0], varied), inches), fontsize=9)
    ax.set_title(wrapped(verdicts[0].asked(varied), inches), fontsize=9)
    ax.grid(alpha=0.3, axis="x")
    return ax


def verdict_map(
    verdicts: Sequence[Verdict],
    title: str,
    varied: str = "level",
    alpha: float = 0.05,
    called: str = "block",
) -> Figure:
    """The answer of a claim by depth: a forest per part, and the joint verdict of each block at the
    right. ``called`` is what blocks are called.
    """
    parts = list(zip(*(v.leaves for v in verdicts), strict=True))
    wide = min(4.6, (WIDEST - 1.4) / len(parts))
    figure = Figure((wide * len(parts) + 1.4, 0.36 * len(verdicts) + 2.4), layout="constrained")
    panels = figure.subplots(1, len(parts), squeeze=False, sharey=True)[0]
    for ax, part in zip(panels, parts, strict=True):
        forest(part, ax, varied, wide - 0.4)
    panels[0].set_ylabel(called if len(verdicts) > 1 else "")
    last = panels[-1].secondary_yaxis("right")
    last.set_yticks(
        range(len(verdicts)), [v.outcome.replace("inconclusive", "open") for v in verdicts]
    )
    last.tick_params(length=0)
    for tick, v in zip(last.get_yticklabels(), verdicts, strict=True):
        tick.set_color(OUTCOME[v.outcome][0])
        tick.set_fontweight("bold")
    figure.suptitle(title)
    between = "\n" if len(parts) == 1 else "   "
    hollow = (
        f"{between}○ can't decide, whatever the interval"
        if any(leaf.obstacle for part in parts for leaf in part)
        else ""
    )
    figure.supxlabel(
        f"thick: the block's {cover(alpha)} interval; thin: simultaneous over the blocks{between}"
        f"dashed: SESOI, claimed side shaded   ▲ supported  ▼ refuted  ● open{hollow}",
        fontsize=8,
    )
    return figure


def heat(verdicts: Sequence[Verdict], ax: Axes | None = None, varied: str = "level") -> Axes:
    """The effect of every level in every block, as a map with its numbers: a rise that turns over
    shows.
    """
    kind = verdicts[0].kind
    values = np.array([display([row[1] for row in v.curve], kind) for v in verdicts])
    levels = [f"{row[0]:.3g}" for row in verdicts[0].curve]
    size = max(5.8, 1.1 * values.shape[1] + 2.6), max(2.9, 0.36 * len(verdicts) + 1.8)
    ax = new_axes(ax, size)
    reach = np.nanmax(np.abs(values)) or 1.0
    image = ax.imshow(values, cmap=TWO_SIDED, norm=TwoSlopeNorm(0, -reach, reach), aspect="auto")
    numbers(ax, values, "+.1f", reach)
    ax.set_xticks(range(values.shape[1]), levels)
    ax.set_yticks(range(len(verdicts)), [v.label or "all" for v in verdicts])
    ax.set_xlabel(varied)
    first, (y, x) = verdicts[0], largest(values)
    between = f", {first.between[0]} minus {first.between[1]}," if first.between else ""
    label = f"{capital(tables.label_of(first.metric))}{between}"
    where = f" in {verdicts[y].label}" if verdicts[y].label else ""
    found = f"{values[y, x]:+.1f}{UNIT[kind]}"
    ax.set_title(f"{label} moves most{where}: {found} at {varied} {levels[x]}")
    ax.figure.colorbar(image, ax=ax, fraction=0.05, label=f"{AXIS[kind]} from {varied} 0")
    return ax


def largest(values: np.ndarray) -> tuple[int, ...]:
    """Where the value of the largest size stands in a table.

    >>> largest(np.array([[0.0, 2.0], [-3.0, float("nan")]]))
    (1, 0)
    """
    sizes = np.nan_to_num(np.abs(values), nan=-1.0)
    return tuple(int(i) for i in np.unravel_index(int(sizes.argmax()), values.shape))


def pictures(
    examples: np.ndarray, shown_levels: Sequence[float], title: str, varied: str = "noise σ"
) -> Figure:
    """Example images, uint8 (levels, images, C, H, W), a row per level: what the network sees."""
    name = "σ" if varied == "noise σ" else varied
    rows, columns = examples.shape[:2]
    figure = Figure((1.0 * columns + 0.7, 1.02 * rows + 0.5), layout="constrained")
    grid: Any = figure.subplots(rows, columns, squeeze=False)
    for y, x in np.ndindex(rows, columns):
        image = np.moveaxis(examples[y, x], 0, -1)
        grid[y, x].imshow(
            image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255
        )
        grid[y, x].set_xticks([])
        grid[y, x].set_yticks([])
        if x == 0:
            grid[y, x].set_ylabel(f"{name} = {shown_levels[y]:g}", fontsize=9)
    figure.suptitle(title, fontsize=9)
    return figure


def save_small(figure: Any, path: Path, colours: int = 200, rare: bool = False) -> None:
    """Write a figure as PNG with few colours: a third of the bytes, and the same bytes each time.

    ``rare`` keeps colours of which there is little, such as one side of a scale with two, at the
    cost of steps in the others.
    """
    method = Image.Quantize.FASTOCTREE if rare else Image.Quantize.MEDIANCUT
    write_png(figure, path, colours, method)
