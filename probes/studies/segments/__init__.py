"""Which regions of an image its class depends on, by hue, saturation and value."""

from probes.studies.study import Study

STUDY = Study(
    "segments",
    "segments cut out and fed with hue, saturation or value, beside the whole network",
    command="probes.studies.segments.command",
)
