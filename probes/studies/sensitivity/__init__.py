"""Which augmentations move which units: Sobol indices and Shapley effects."""

from probes.studies.study import Study

STUDY = Study(
    "sensitivity",
    "which augmentations move which units: Sobol indices and Shapley effects",
    command="probes.studies.sensitivity.command",
)
