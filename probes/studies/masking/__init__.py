"""Do the indices predict what matters? Guided masks beside random and matched ones."""

from probes.studies.study import Study

STUDY = Study(
    "masking",
    "do the indices predict what matters? Guided masks beside random and matched ones",
    command="probes.studies.masking.command",
    sections={"tables/responses.csv": "probes.studies.masking.pages:section"},
)
