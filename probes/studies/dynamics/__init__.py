"""H1 and H0: how residual blocks respond to noise on the input."""

from probes.studies.study import Study

STUDY = Study(
    "dynamics",
    "H1 and H0: how residual blocks respond to noise on the input",
    command="probes.studies.dynamics.command",
    sections={
        "tables/published.csv": "probes.studies.dynamics.pages:published",
        "tables/robustness.csv": "probes.studies.dynamics.pages:robustness",
    },
    below="probes.studies.dynamics.pages:by_level",
)
