"""Feature maps under noise: values, statistics, pictures, how far they move."""

from probes.studies.study import Study

STUDY = Study(
    "features",
    "feature maps under noise: values, statistics, pictures, how far they move",
    command="probes.studies.features.command",
)
