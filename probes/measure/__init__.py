"""What is measured on a subject: numbers per image and site."""

from probes.measure.adapters import BlockAdapter, block_sites, register_block
from probes.measure.blocks import BlockMetrics, block_metrics
from probes.measure.confidence import Agreement, Certainty, agreement, certainty
from probes.measure.features import FeatureMetrics, extract, feature_metrics, stages
from probes.measure.predictions import Predictions, accuracy
from probes.measure.protocol import Measure, Reading
from probes.measure.regression import Error, error
from probes.measure.sums import Residual, residuals
from probes.measure.taps import Streams, tap

__all__ = [
    "Agreement",
    "BlockAdapter",
    "BlockMetrics",
    "Certainty",
    "Error",
    "FeatureMetrics",
    "Measure",
    "Predictions",
    "Reading",
    "Residual",
    "Streams",
    "accuracy",
    "agreement",
    "block_metrics",
    "block_sites",
    "certainty",
    "error",
    "extract",
    "feature_metrics",
    "register_block",
    "residuals",
    "stages",
    "tap",
]
