"""Block metrics: what a residual block does to an image, one number per image, block and metric."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from probes.errors import ProbesError
from probes.measure.moments import mean_and_variance, rows, squares, wide
from probes.measure.taps import adapter_of, block_sites, tap

METRICS = ("l2_h", "var_h", "mean_sum", "mean_abs_sum", "sparsity", "ratio_hx")
"""The metrics by name; :mod:`probes.table` declares what each of them is."""

Read = Callable[[Sequence[int]], dict[str, np.ndarray]]


def _reduce(part: str, tensor: Tensor) -> dict[str, Tensor]:
    row = rows(tensor)
    if part == "h":
        mean, variance = mean_and_variance(row)
        return {"l2_h": (row.shape[1] * (variance + mean.square())).sqrt(), "var_h": variance}
    if part == "x":
        return {"l2_x": squares(row).sqrt()}
    n = row.shape[1]
    return {
        "mean_sum": wide(row.sum(1)) / n,
        "mean_abs_sum": wide(torch.linalg.vector_norm(row, ord=1, dim=1)) / n,
        # ReLU(s) is 0 exactly where s <= 0.
        "sparsity": wide((row <= 0).sum(1)) / n,
    }


@dataclasses.dataclass(frozen=True)
class BlockMetrics:
    """Six metrics of each residual block, per image, over all elements of its maps (channels, height, width).

    ``l2_h`` and ``var_h`` (ddof 0): norm and variance of the branch h. ``mean_sum``, ``mean_abs_sum``: of x + h, the
    input of the block's last ReLU. ``sparsity``: the share of zeros after it. ``ratio_hx``: ||h|| / ||x|| (not for a
    plain block, which has no x). After the study "Investigating Internal Dynamics of Pre-trained ResNet Models Under
    Input Uncertainty", per image instead of per batch.

    A measure is a context manager around forward passes; it yields ``read(ids)``, to be called after each pass with
    the ids of its images, which returns the sites under ``"site"`` and an array (sites, images) per metric.

    >>> from probes.subjects.nets import nets
    >>> net = nets["resnet20"](1, 10).eval()
    >>> with torch.no_grad(), BlockMetrics().open(net) as read:
    ...     _ = net(torch.rand(4, 1, 8, 8))
    ...     found = read([0, 1, 2, 3])
    >>> found["var_h"].shape
    (9, 4)
    """

    sites: tuple[str, ...] | None = None

    name = "block_metrics"
    version = 1

    def key(self) -> dict:
        """What the numbers depend on, as JSON."""
        return {"kind": self.name, "version": self.version, "sites": self.sites and list(self.sites)}

    def count(self, model: nn.Module) -> int:
        """How many sites it reads of a model: the size of a family over sites, known before any compute."""
        return len(self.sites or block_sites(model))

    @contextlib.contextmanager
    def open(self, model: nn.Module) -> Iterator[Read]:
        """Measure every forward pass inside the block; see the class. Raises what :func:`probes.measure.tap` raises."""
        blocks = block_sites(model)
        for site, block in blocks.items():
            adapter = adapter_of(block)
            relu = getattr(block, adapter.relu) if adapter else None
            if (self.sites is None or site in self.sites) and not isinstance(relu, nn.ReLU):
                raise ProbesError(
                    f"block {site!r} ends in {type(relu).__name__}: sparsity is defined for ReLU only, whose zeros are exact"
                )
        with tap(model, self.sites, _reduce, parts=("h", "x", "sum")) as seen:

            def read(ids: Sequence[int]) -> dict[str, np.ndarray]:
                return _read(seen, ids)

            yield read


def _read(seen: dict, ids: Sequence[int]) -> dict[str, np.ndarray]:
    if not seen:
        raise ProbesError("nothing was measured: run a forward pass before read()")
    merged = [{k: v for part in streams.values() for k, v in part.items()} for streams in seen.values()]
    for values in merged:
        if "l2_x" in values:
            values["ratio_hx"] = values["l2_h"] / values.pop("l2_x")
    out: dict[str, np.ndarray] = {"site": np.array(list(seen))}
    for name in METRICS:
        if all(name in values for values in merged):
            out[name] = torch.stack([values[name] for values in merged]).cpu().numpy()
            if (bad := ~np.isfinite(out[name])).any() and name != "ratio_hx":
                site, image = np.argwhere(bad)[0]
                raise ProbesError(f"{name} is {out[name][site, image]} in block {str(out['site'][site])!r} for image {ids[image]}")
    return out


block_metrics = BlockMetrics()
"""All blocks that taps know: ``lab.sweep(block_metrics, under=gaussian(0, .1))``."""
