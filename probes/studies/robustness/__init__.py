"""Accuracy, confidence and calibration of networks under corruptions, noise, attacks and low
precision.
"""

from probes.studies.study import Study

STUDY = Study(
    "robustness",
    "accuracy, confidence and calibration under corruptions, noise, attacks, low precision",
    command="probes.studies.robustness.command",
    sections={"tables/conditions.csv": "probes.studies.robustness.pages:section"},
)
