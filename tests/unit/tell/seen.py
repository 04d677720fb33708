"""What an eye would find wrong with a figure at a glance."""

import itertools

from probes.tell import style


def faults(figure):
    """Texts that leave the figure or lie over each other, a missing title, a figure too wide."""
    figure.draw_without_rendering()
    page, found = figure.bbox, []
    if figure._suptitle is None:
        found.append("no title")
    if figure.get_figwidth() > style.WIDEST + 0.01:
        found.append(f"{figure.get_figwidth():.1f} inches wide")
    shown = []
    for text in _texts(figure):
        box = text.get_window_extent()
        if box.x0 < page.x0 - 1 or box.x1 > page.x1 + 1 or box.y0 < -1 or box.y1 > page.y1 + 1:
            found.append(f"leaves the figure: {text.get_text()}")
        if text.get_rotation() % 90 == 0:  # the boxes of slanted texts are larger than they are
            shown.append((text.get_text(), box))
    for (a, x), (b, y) in itertools.combinations(shown, 2):
        wide = min(x.x1, y.x1) - max(x.x0, y.x0)
        high = min(x.y1, y.y1) - max(x.y0, y.y0)
        if wide > 1 and high > 2:
            found.append(f"overlap: {a} | {b}")
    return found


def _texts(figure):
    """Every text that is drawn."""
    texts = [figure._suptitle, figure._supxlabel, figure._supylabel, *figure.texts]
    for legend in [*figure.legends, *(ax.get_legend() for ax in figure.axes)]:
        texts += [*legend.get_texts(), legend.get_title()] if legend else []
    for ax in figure.axes:
        for axes in (ax, *ax.child_axes):
            texts += [axes.title, *axes.texts]
            for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
                ticks = axis._update_ticks()  # those inside the limits
                texts += [axis.label, *(label for t in ticks for label in (t.label1, t.label2))]
    unique = {id(t): t for t in texts if t is not None and t.get_visible()}
    return [t for t in unique.values() if t.get_text().strip()]
