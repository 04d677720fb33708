"""Accuracy under noise on the outputs of layers."""

from probes.studies.study import Study

STUDY = Study(
    "layer-noise",
    "accuracy under noise on the outputs of layers, of one network or beside another",
    command="probes.studies.layer_noise.command",
    sections={"tables/drops.csv": "probes.studies.layer_noise.pages:section"},
)
