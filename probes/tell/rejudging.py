"""Verdicts judged again from the tables of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from probes.judge import questions
from probes.judge.looks import sequential
from probes.judge.verdict import Verdicts


def rejudged(line: Mapping[str, Any], frames: Sequence[pd.DataFrame]) -> Verdicts:
    """The verdicts of an evidence line, judged again from its tables; look by look, where it was
    decided as soon as it could be.
    """
    if not (until := line.get("until")):
        return questions.again(line["question"], list(frames), line["alpha"])
    order = [frame["image"].drop_duplicates().to_numpy() for frame in frames]

    def ask(n: int, level: float) -> Verdicts:
        some = []
        for frame, images in zip(frames, order, strict=True):
            part = frame[frame["image"].isin(images[:n])]
            part.attrs = dict(frame.attrs)
            some.append(part)
        return questions.again(line["question"], some, level)

    return sequential(ask, until["images"], line["alpha"], stop=until["looks"][-1]["n"])
