"""A report that was written, read again: verdicts and tables as DataFrames."""

from __future__ import annotations

import dataclasses
import re
from functools import cached_property
from pathlib import Path

import pandas as pd

from probes.errors import BadInput
from probes.judge import rich
from probes.registry import unknown
from probes.tell import evidence
from probes.tell.markdown import Line
from probes.tell.report import verdict_table

OF_CLAIMS = re.compile(r"(summary-)?[0-9a-f]{16}")
"""The names of tables that belong to a claim: parts of their SHA-256."""


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """The report in a folder: ``claims`` are its lines of evidence, as dictionaries."""

    folder: Path
    claims: tuple[Line, ...]

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """A row for each claim, subject, block and part: effect, interval, n, p, verdict."""
        return verdict_table(self.claims)

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables of a study, by name; a report of claims alone has none."""
        return {
            path.stem: pd.read_csv(path)
            for path in sorted((self.folder / "tables").glob("*.csv"))
            if not OF_CLAIMS.fullmatch(path.stem)
        }

    def table(self, claim: str, subject: str | None = None, part: int = 0) -> pd.DataFrame:
        """The table that a claim was judged on (:mod:`probes.table`), a row for each image, draw,
        level and site; ``part`` is the number of the question where a claim has several.

        A claim on several subjects needs ``subject``; of several numbers of images the largest is
        taken. Raises UnknownName for another claim or subject, BadInput for a part that it has not.
        """
        mine = [line for line in self.claims if line["id"] == claim]
        if not mine:
            raise unknown("claim", claim, dict.fromkeys(line["id"] for line in self.claims))
        subjects = list(dict.fromkeys(line["subject"] for line in mine))
        if subject is None and len(subjects) > 1:
            raise BadInput(f"{claim} is judged on {', '.join(subjects)}: name one as subject=")
        if subject is not None and subject not in subjects:
            raise unknown(f"subject of {claim}", subject, subjects)
        mine = [line for line in mine if subject in (None, line["subject"])]
        line = max(mine, key=lambda one: one["design"]["images"])
        if not 0 <= part < len(line["inputs"]):
            raise BadInput(f"{claim}, part {part}: it has {len(line['inputs'])}, from 0")
        return evidence.load_table(self.folder, line, part)

    def __str__(self) -> str:
        """A line for each claim."""
        return "\n".join(
            f"{r['id']} on {r['subject']}, {r['design']['images']:,} images: {r['overall']}"
            + (f" ({r['counts']})" if len(r["verdicts"]) > 1 else "")
            for r in self.claims
        )

    def _repr_html_(self) -> str:
        rows = [
            [r["id"], r["subject"], r["overall"], r["counts"], f"{r['design']['images']:,}"]
            for r in self.claims
        ]
        return rich.grid(["claim", "subject", "verdict", "blocks", "images"], rows)


def load(folder: Path | str) -> Report:
    """The report in a folder, as DataFrames: ``.verdicts``, ``.tables``, ``.table(claim)``.

    Nothing is measured or judged. Raises ProbesError for a folder that holds no report.

    >>> found = load("reports/dynamics")
    >>> print(found)
    H0 on resnet20@mnist5k, 1,000 images: refuted (0 supported, 9 refuted, 0 open)
    H1 on resnet20@mnist5k, 1,000 images: mixed (6 supported, 3 refuted, 0 open)
    SHORTCUT on resnet20@mnist5k#* + plainnet20@mnist5k#*, 1,000 images: refuted
    >>> found.verdicts.columns[:3].tolist()
    ['claim', 'subject', 'overall']
    >>> len(found.table("H0"))  # 1,000 images, six levels, nine blocks
    54000
    """
    place = Path(folder)
    return Report(place, tuple(evidence.read(place / "evidence.jsonl")))
