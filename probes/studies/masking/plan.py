"""What a study of guided masks measures: augmentations, measures, shares, factors and draws."""

from __future__ import annotations

import dataclasses
import itertools
import math

from probes.errors import BadInput
from probes.registry import unknown
from probes.studies.masking.guide import GUIDES, Guide
from probes.studies.masking.masks import Mask
from probes.studies.masking.work import PIECE

IMAGES = 1000


PRIMARY = (0.8, 0.0)
"""The q and alpha that are judged, if a plan has them; else its first."""


@dataclasses.dataclass(frozen=True)
class MaskPlan:
    """The masks and draws of a study: sets of augmentations, guiding measures, shares q and factors
    alpha, draws of random masks.

    The first measure is judged, and guides matched masks and masks of a module ``alone``. ``draws``
    counts the draws of an augmentation's parameters. ``rows`` and ``scramblings`` sample the
    indices of the modules ``names``, on training images. ``factors`` adds class and partition.
    Raises BadInput for an impossible q, alpha or number, UnknownName for a measure.
    """

    sets: tuple[str | tuple[str, ...], ...] = ("1", "2")
    measures: tuple[str, ...] = ("total", "first", "shapley")
    qs: tuple[float, ...] = (0.5, 0.8)
    alphas: tuple[float, ...] = (0.0, 0.5)
    random: int = 100
    matched: int = 20
    draws: int = 1
    alone: bool = False
    rows: int = 512
    scramblings: int = 8
    names: tuple[str, ...] | None = None
    factors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for measure in self.measures:
            if measure not in GUIDES:
                raise unknown("measure", measure, GUIDES)
        if bad := [q for q in self.qs if not 0 < q < 1]:
            raise BadInput(
                f"q {bad[0]:g}: a quantile between 0 and 1; .8 is the top fifth of the units"
            )
        if bad := [a for a in self.alphas if not 0 <= a < math.inf]:
            raise BadInput(
                f"alpha {bad[0]:g}: 0 removes units, below 1 damps them, above 1 amplifies them;"
                " none is negative"
            )
        for words in (self.sets, self.measures, self.qs, self.alphas):
            if len(set(words)) < len(words):
                raise BadInput(f"{', '.join(map(str, words))}: each once")
        if not (self.sets and self.measures and self.qs and self.alphas):
            raise BadInput("a set of augmentations, a measure, a q and an alpha at least")
        if self.random < 2 or self.matched < 2 or self.draws < 1:
            raise BadInput(
                f"{self.random} random and {self.matched} matched masks, {self.draws} draws: two of"
                " each and one draw at least"
            )

    @property
    def primary(self) -> tuple[float, float]:
        """The q and alpha that are judged."""
        q, alpha = PRIMARY
        return (q if q in self.qs else self.qs[0]), (
            alpha if alpha in self.alphas else self.alphas[0]
        )

    def masks(self, guide: Guide, name: str) -> list[Mask]:
        """All masks that are tested on an input."""
        settings = list(itertools.product(self.qs, self.alphas))
        chosen = list(itertools.product(self.measures, guide.variables))
        found = [
            Mask(),
            *(Mask("guided", v, q, a, measure=m) for m, v in chosen for q, a in settings),
        ]
        found += [Mask(kind, v, measure=m) for m, v in chosen for kind in ("full", "inverse")]
        found += [Mask("random", "", q, a, d) for q, a in settings for d in range(self.random)]
        first = self.measures[0]
        if name in guide.variables:
            found += [
                Mask("matched", name, q, a, d, first)
                for q, a in settings
                for d in range(self.matched)
            ]
            if self.alone:
                q, alpha = self.primary
                for module in guide.magnitude:
                    found.append(Mask("guided", name, q, alpha, 0, first, module))
                    found += [Mask("random", "", q, alpha, d, first, module) for d in range(PIECE)]
        return found
