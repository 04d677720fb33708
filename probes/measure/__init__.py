"""What is read off a subject: numbers per image and site."""

from probes.measure.blocks import BlockMetrics, block_metrics
from probes.measure.taps import BlockAdapter, Streams, block_sites, register_block, tap

__all__ = ["BlockAdapter", "BlockMetrics", "Streams", "block_metrics", "block_sites", "register_block", "tap"]
