"""Judges a table: questions in, verdicts out. No torch."""

from probes.judge.calibrating import calibration
from probes.judge.looks import sequential
from probes.judge.questions import (
    below,
    both,
    decreases,
    equivalent,
    exceeds,
    falls,
    increases,
    rises,
)
from probes.judge.verdict import Verdict, Verdicts

__all__ = [
    "Verdict",
    "Verdicts",
    "below",
    "both",
    "calibration",
    "decreases",
    "equivalent",
    "exceeds",
    "falls",
    "increases",
    "rises",
    "sequential",
]
