"""Claims about neural networks as pytest cases: measured on the right tensors, judged on the right unit, reported."""

from probes.subjects.spec import pair

__all__ = ["pair"]
__version__ = "0.1.0"
