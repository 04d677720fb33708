"""The figure of masks that respond alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.cluster import hierarchy

from probes.studies.masking.responses import Tree
from probes.tell import plots


def tree(found: Tree, title: str) -> Any:
    """Which masks respond alike beyond their size: a dendrogram of 1 - rho, and rho in the order of
    its leaves.
    """
    n_masks = len(found.names)
    figure, (left, right) = plots.panels(2, (0.24 * n_masks + 6.5, 0.22 * n_masks + 2.0), 2)
    groups = len(set(hierarchy.fcluster(found.linkage, found.cut, "distance")))
    names = [f"{measure}: {variable}" for measure, variable in found.names]
    drawn = hierarchy.dendrogram(
        found.linkage,
        ax=left,
        orientation="left",
        labels=names,
        color_threshold=found.cut,
        above_threshold_color="#888888",
        leaf_font_size=7,
    )
    left.axvline(found.cut, color="black", ls="--", lw=1)
    for i, lines in enumerate(left.collections):
        lines.set_color("#888888" if i == len(left.collections) - 1 else plots.COLOURS[i % 6])
    left.set_xlabel("1 - rho (dashed: 5 % of pairs of random masks are nearer)")
    order = (drawn["leaves"] or [])[::-1]
    shown = right.imshow(
        found.rho[np.ix_(order, order)], cmap=plots.TWO_SIDED, vmin=-1, vmax=1, aspect="auto"
    )
    right.set_yticks(range(n_masks), [])
    right.set_xticks(range(n_masks), [names[i] for i in order], rotation=90, fontsize=6)
    figure.colorbar(shown, ax=right, shrink=0.8, label="Spearman's rho of excesses")
    return plots.titled(
        figure,
        f"{title}: {n_masks} masks make {groups} groups that respond alike beyond their size",
    )
