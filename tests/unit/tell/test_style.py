"""How figures look: nothing is cut, nothing overlaps, numbers of maps can be read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from probes.tell import style
from tests.unit.tell.seen import faults


@given(st.floats(allow_nan=True, allow_infinity=True, width=32), st.sampled_from(["+.1f", ".0f"]))
def test_what_rounds_to_nothing_has_no_sign(value, form):
    text = style.spelt(value, form)

    assert text == "" if not np.isfinite(value) else float(text) == float(f"{value:{form}}")
    assert not text.startswith(("-0", "+0")) or float(text) != 0


def test_numbers_read_on_their_colours():
    ax = style.new_axes(None)
    values = np.array([[-1.0, 0.0, 1.0]])
    image = ax.imshow(values, cmap=style.TWO_SIDED, vmin=-1, vmax=1)
    style.numbers(ax, values, "+.1f", 1)
    light = [sum(image.cmap(image.norm(v))[:3]) / 3 for v in values[0]]
    ink = [sum(to_rgb(t.get_color())) / 3 for t in ax.texts]

    assert [t.get_text() for t in ax.texts] == ["-1.0", "0.0", "+1.0"]
    assert all(abs(a - b) > 0.45 for a, b in zip(light, ink, strict=True))


def test_a_long_title_and_a_long_caption_stay_on_the_figure():
    figure, axes = style.panels(2, (5, 3))
    axes[0].plot([0, 1], [0, 1], label="a line")
    style.below(figure, axes[0], "what was found here " * 9, caption="what the marks are " * 9)
    style.dress(figure)

    assert figure._suptitle.get_text().count("\n") >= 2
    assert faults(figure) == []


def test_the_title_of_the_only_panel_is_the_figure_s():
    ax = style.new_axes(None)
    ax.set_title("what was found")
    style.dress(ax.figure)
    style.dress(ax.figure)  # a figure may be written twice

    assert (ax.figure._suptitle.get_text(), ax.get_title()) == ("what was found", "")


@pytest.mark.parametrize("size", [6.0, 12.0])
def test_text_is_never_larger_than_that_of_other_figures(size):
    ax = style.new_axes(None)
    ax.set_xlabel("x", fontsize=size)
    ax.set_xticks([0, 1], ["a", "b"], fontsize=size)
    style.dress(ax.figure)

    assert ax.xaxis.label.get_fontsize() == min(size, style.LABEL)
    assert {t.get_fontsize() for t in ax.get_xticklabels()} == {min(size, style.SMALL)}


def test_what_is_cut_or_overlaps_is_seen():
    """The check of every committed figure finds the faults that it is there to find."""
    figure = Figure((3, 2))
    figure.text(0.9, 0.5, "this leaves the canvas")
    figure.text(0.1, 0.5, "over")
    figure.text(0.12, 0.5, "under")

    found = "; ".join(faults(figure))
    assert "leaves the figure: this leaves the canvas" in found
    assert "overlap: over | under" in found
    assert "no title" in found
