"""The block metrics as the study's script computed them: kept for comparison, not for use.

The script's hooks keep tensors by reference, and its metrics are taken over a whole batch. So the
branch that it reads has been overwritten by ``out += identity`` and the in-place ReLU, its "ReLU
input" is the ReLU's output, and its norm grows with the batch size. Each of these can be corrected
alone, to see what it does to the answer.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from probes.batch import Batch
from probes.measure.adapters import block_sites
from probes.measure.protocol import Measure
from probes.measure.taps import tap


@dataclasses.dataclass(frozen=True)
class PublishedMetrics(Measure):
    """``l2_h``, ``var_h``, ``mean_sum`` and ``sparsity`` of whole batches. Every image of a batch
    gets the batch's value.

    With ``kept`` h and the ReLU input are read after the pass, from tensors kept by reference (as
    published). Without it they are copied when they are made. Norm, variance (ddof 1), mean and
    share of zeros are over all elements of a batch.
    """

    kept: bool = True

    name = "published_metrics"
    version = 1

    def key(self) -> dict:
        """What the numbers depend on, as JSON."""
        return {"kind": self.name, "version": self.version, "kept": self.kept}

    def count(self, model: nn.Module) -> int:
        """The number of sites that it reads of a model."""
        return len(block_sites(model))

    @contextlib.contextmanager
    def open(self, model: nn.Module) -> Iterator[Callable[[Batch], dict[str, np.ndarray]]]:
        """Measure every forward pass inside the block, as :meth:`probes.measure.BlockMetrics.open`
        does.
        """

        def keep(_: str, tensor: Tensor) -> Tensor:
            return tensor if self.kept else tensor.clone()

        with tap(model, reduce=keep, parts=("h", "sum", "out")) as seen:

            def read(batch: Batch) -> dict[str, np.ndarray]:
                found = [_batch(streams) for streams in seen.values()]
                out = {
                    name: np.repeat([[f[name]] for f in found], len(batch), axis=1)
                    for name in found[0]
                }
                return {"site": np.array(list(seen))} | out

            yield read


def _batch(streams: dict[str, Tensor]) -> dict[str, float]:
    return {
        "l2_h": torch.linalg.vector_norm(streams["h"].float()).item(),
        "var_h": streams["h"].float().var().item(),
        "mean_sum": streams["sum"].float().mean().item(),
        "sparsity": (streams["out"] == 0).float().mean().item(),
    }
