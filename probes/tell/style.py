"""How figures look: colours, markers, sizes of text, the panels of a figure, its finding and its
caption.

Colours are those of Okabe and Ito (2008), told apart by the colour-blind; every colour comes with a
marker or a line style of its own, so that prints in grey can be read. Maps of values with two sides
use one scale of colours, maps of values from 0 up another, pictures are grey.
"""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
STYLES = ("-", "--", "-.", ":")
MARKERS = "osD^vP*X"
TWO_SIDED = "PuOr"  # orange below 0, purple above
FROM_ZERO = "Blues"  # white at 0
TITLE, SMALL = 10.5, 8.0  # points: what was found; ticks, legends and captions
LABEL = 9.0  # points: axes and panels
WIDEST = 13.0  # inches: wider figures are made small by the pages that show them


def new_axes(ax: Axes | None, size: tuple[float, float] = (6, 4)) -> Axes:
    """The axes that are given, else those of a new figure of ``size`` inches."""
    return ax if ax is not None else Figure(size, layout="constrained").subplots()


def panels(
    n: int, size: tuple[float, float], across: int | None = None
) -> tuple[Figure, list[Axes]]:
    """A figure of ``n`` axes, ``across`` to a row; places that are left over stay empty."""
    figure = Figure(size, layout="constrained")
    across = min(across or n, n)
    axes = figure.subplots(math.ceil(n / across), across, squeeze=False).ravel()
    for ax in axes[n:]:
        ax.set_axis_off()
    return figure, list(axes[:n])


def titled(figure: Figure, finding: str, caption: str = "") -> Figure:
    """The figure with what it shows above, and below all panels what marks and bands are."""
    figure.suptitle(finding)
    if caption:
        figure.supxlabel(caption)
    return figure


def below(figure: Figure, ax: Axes, finding: str, across: int = 4, caption: str = "") -> Figure:
    """The figure with what it shows above and, below all panels, its caption and the legend of one
    of them, ``across`` to a row.
    """
    handles, labels = ax.get_legend_handles_labels()
    wide = wrapped(caption, figure.get_figwidth() - 0.6, SMALL)
    figure.legend(
        handles,
        labels,
        fontsize=SMALL,
        loc="outside lower center",
        ncols=across,
        title=wide or None,
        title_fontsize=SMALL,
    )
    return titled(figure, finding)


def frame(ax: Axes, x: int, y: int) -> None:
    """A frame around a cell of a picture."""
    ax.add_patch(Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False, ec="black", lw=1.1))


def wrapped(text: str, inches: float, size: float = LABEL) -> str:
    """A text in lines that fit a width at a font size, so that titles of neighbouring panels don't
    meet.

    >>> wrapped("correct exceeds minus 1 point (layers = 2)", 2, 9)
    'correct exceeds minus 1\\npoint (layers = 2)'
    """
    width = max(12, int(inches * 126 / size))
    return "\n".join(
        textwrap.fill(line, width, break_long_words=False) for line in text.split("\n")
    )


def spelt(value: float, form: str) -> str:
    """A number as a map shows it: what rounds to 0 has no sign.

    >>> spelt(-0.004, "+.2f"), spelt(-0.04, "+.2f"), spelt(float("nan"), ".1f")
    ('0.00', '-0.04', '')
    """
    if not math.isfinite(value):
        return ""
    text = f"{value:{form}}"
    return text if any(digit in text for digit in "123456789") else text.lstrip("+-")


def capital(text: str) -> str:
    """A text with a capital letter first.

    >>> capital("variance of h(x)")
    'Variance of h(x)'
    """
    return text[:1].upper() + text[1:]


def numbers(
    ax: Axes, values: np.ndarray, form: str, reach: float, size: float = SMALL, dark: float = 0.65
) -> None:
    """The number of every cell of a map, in an ink that reads on its colour: white from ``dark``
    of ``reach``, the end of the scale, on.
    """
    for (y, x), value in np.ndenumerate(values):
        ink = "white" if abs(value) > dark * reach else "black"
        text = spelt(float(value), form)
        ax.text(x, y, text, ha="center", va="center", fontsize=size, color=ink)


def dress(figure: Any) -> None:
    """Give a figure the sizes of text and the lines that all figures have, and break its title and
    caption into lines that fit it. The title of the only panel becomes the figure's.
    """
    inner = [ax for ax in figure.axes if not _bar(ax)]
    if figure._suptitle is None and len(inner) == 1 and inner[0].get_title():
        figure.suptitle(inner[0].get_title())
        inner[0].set_title("")
    width = figure.get_figwidth() - 0.4
    for text, room, size in (
        (figure._suptitle, 0.9 * width, TITLE),  # bold is wider
        (figure._supxlabel, width, SMALL),
    ):
        if text is not None:
            text.set_text(wrapped(text.get_text(), room, size))
            text.set_fontsize(size)
    if figure._suptitle is not None:
        figure._suptitle.set_fontweight("bold")
    if figure._supylabel is not None:
        figure._supylabel.set_fontsize(LABEL)
    for legend in figure.legends:
        legend.set_frame_on(False)
    for ax in figure.axes:
        _plain(ax)


def _bar(ax: Axes) -> bool:
    """Whether axes are the bar of a scale of colours."""
    return str(ax.get_label()).startswith("<colorbar")


def _plain(ax: Axes) -> None:
    """Axes without a box (pictures keep theirs), with the sizes of text that all have."""
    if not ax.images and not _bar(ax):
        ax.spines[["top", "right"]].set_visible(False)
    for text in (ax.title, ax.xaxis.label, ax.yaxis.label):
        text.set_fontsize(min(float(text.get_fontsize()), LABEL))
    for axis in (ax.xaxis, ax.yaxis):
        sizes = [float(t.get_fontsize()) for t in axis.get_ticklabels()]
        axis.set_tick_params(labelsize=min([SMALL, *sizes]))
    if legend := ax.get_legend():
        legend.get_frame().set(linewidth=0, alpha=0.8)
