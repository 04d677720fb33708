"""What is measured on a subject: numbers per image and site."""

from probes.measure.adapters import BlockAdapter, block_sites, register_block
from probes.measure.blocks import BlockMetrics, block_metrics
from probes.measure.features import FeatureMetrics, extract, feature_metrics, stages
from probes.measure.predictions import Predictions, accuracy
from probes.measure.protocol import Measure, Reading
from probes.measure.sums import Residual, residuals
from probes.measure.taps import Streams, tap

__all__ = [
    "BlockAdapter",
    "BlockMetrics",
    "FeatureMetrics",
    "Measure",
    "Predictions",
    "Reading",
    "Residual",
    "Streams",
    "accuracy",
    "block_metrics",
    "block_sites",
    "extract",
    "feature_metrics",
    "register_block",
    "residuals",
    "stages",
    "tap",
]
