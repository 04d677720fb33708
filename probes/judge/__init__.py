"""Judges a table: questions in, verdicts out. No torch."""

from probes.judge.questions import below, both, equivalent, exceeds, falls, rises
from probes.judge.verdict import Verdict, Verdicts

__all__ = ["Verdict", "Verdicts", "below", "both", "equivalent", "exceeds", "falls", "rises"]
