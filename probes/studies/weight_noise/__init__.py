"""Does training with weight noise buy robustness to it?"""

from probes.studies.study import Study

STUDY = Study(
    "weight-noise",
    "does training with weight noise buy robustness to it?",
    command="probes.studies.weight_noise.command",
    sections={"sweep.csv": "probes.studies.weight_noise.pages:section"},
    files=("summary.csv", "sweep.csv", "results.json", "calibration.csv", "runs.csv"),
)
