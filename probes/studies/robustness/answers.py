"""What the study measures of an image: how sure the network is, and which class it names."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from torch import Tensor

from probes import table
from probes.judge.lazytable import Derived, LazyTable
from probes.measure.confidence import Certainty

table.declare_metric("kept", "hit", "answers as on the clean image")


@dataclasses.dataclass(frozen=True)
class Answers(Certainty):
    """What :class:`probes.measure.confidence.Certainty` measures, and ``answer``, the number of the
    class that is named: whether an answer changed is then known without a second pass.
    """

    name = "answers"
    version = 1

    def of(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """What certainty measures, and the class that is named."""
        return super().of(logits, labels) | {"answer": logits.argmax(1)}


class Kept(Derived):
    """The table of a sweep of :class:`Answers` with ``kept``, 1 where the answer is that on the
    clean image, instead of the answers themselves, which are no numbers to average.

    ``source.frame`` still has them.
    """

    def __init__(self, source: LazyTable) -> None:
        super().__init__(source, source.design)

    def whole(self) -> LazyTable:
        """This table: the one that it is made from has a column that means nothing to a reader."""
        return self

    def compute(self) -> pd.DataFrame:
        """The same rows."""
        frame = self.source.frame
        keys = [key for key in table.keys_of(frame) if key not in ("level", "draw")]
        clean = frame[frame["level"] == 0].groupby(keys, observed=True)["answer"].first()
        joined = frame.join(clean.rename("_clean"), on=keys)
        kept = (joined["answer"] == joined["_clean"]).astype(np.float32)
        out = frame.drop(columns="answer").assign(kept=kept.to_numpy())
        out.attrs = {k: v for k, v in frame.attrs.items() if k != table.ASKED}
        return table.check(out)
