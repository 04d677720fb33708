"""Block metrics: what a residual block does to an image, one number per image, block and metric."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probes.batch import Batch
from probes.errors import BadInput, ProbesError
from probes.hooks import refuse_training, refuse_wrapped
from probes.measure.adapters import adapter_of, block_sites
from probes.measure.meeting import found_in, meet
from probes.measure.protocol import Measure
from probes.measure.taps import Streams, tap
from probes.moments import flatten_images, power_sums, sign_sums
from probes.registry import unknown

METRICS = ("l2_h", "var_h", "mean_sum", "mean_abs_sum", "sparsity", "ratio_hx")
"""The metrics by name; :mod:`probes.table` declares what each of them is."""
SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "GELU": lambda x: torch.special.ndtr(x) + x * torch.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    "SiLU": lambda x: torch.sigmoid(x) * (1 + x * torch.sigmoid(-x)),
}
"""The derivatives of smooth activations: GELU (Hendrycks and Gimpel 2016), SiLU (Elfwing et al.
2017).
"""
LINEARITY = "linearity"
NEEDS = {"sparsity": "ReLU only, whose zeros are exact", LINEARITY: "GELU and SiLU only"}
FITS: dict[str, Callable[[str], bool]] = {
    "sparsity": lambda activation: activation == "ReLU",
    LINEARITY: lambda activation: activation in SLOPES,
}
"""The activations after a sum at which two of the metrics are defined."""
LINEAR = 0.1
"""A slope is that of a linear piece if it is this near to 0 or 1, the slopes of a ReLU."""

Read = Callable[[Batch], dict[str, np.ndarray]]


Arrays = dict[str, Any]
"""What a hook keeps of one stream: tensors (images,), the variance if it was computed exactly, and
the row length.
"""


def _reduce(part: str, tensor: Tensor, metrics: frozenset[str]) -> Arrays:
    row = flatten_images(tensor.detach())  # also in a pass that follows gradients
    if part == "x":
        return {"norm": torch.linalg.vector_norm(row, dim=1)}
    if part == "h":
        total, norm, variance = power_sums(row)
        return {"total": total, "norm": norm, "variance": variance, "n": row.shape[1]}
    total, zeros, size = sign_sums(row, "mean_abs_sum" in metrics)
    return {"total": total, "zeros": zeros, "size": size, "n": row.shape[1]}


def _linear(activation: str, total: Tensor) -> Arrays | None:
    """How many positions of each image have the slope of a linear piece."""
    if activation not in SLOPES:
        return None
    slope = SLOPES[activation](flatten_images(total.detach()))
    near = (slope.abs() <= LINEAR) | ((slope - 1).abs() <= LINEAR)
    return {"linear": near.sum(1), "n": near.shape[1]}


def _brought(seen: Mapping[str, Streams]) -> Mapping[str, Streams]:
    """What the hooks kept, brought to the CPU by one copy from a device: each copy waits for it."""
    kept = [part for streams in seen.values() for part in streams.values() if part]
    rows = [value for part in kept for value in part.values() if isinstance(value, Tensor)]
    if rows[0].device.type in ("cpu", "mps") or len({row.shape for row in rows}) > 1:
        return seen
    here = iter(torch.stack([row.double() for row in rows]).cpu())

    def mine(part: Arrays | None) -> Arrays | None:
        return part and {n: next(here) if isinstance(v, Tensor) else v for n, v in part.items()}

    return {site: {name: mine(part) for name, part in s.items()} for site, s in seen.items()}


def _finish(streams: Mapping[str, Arrays]) -> dict[str, np.ndarray]:
    """The metrics of one site in float64, from what its hooks kept."""

    def array(part: str, name: str) -> np.ndarray:
        return streams[part][name].cpu().numpy().astype(np.float64)

    h, s = streams["h"], streams["sum"]
    norm, mean = array("h", "norm"), array("h", "total") / h["n"]
    variance = (
        np.maximum(norm**2 / h["n"] - mean**2, 0)
        if h["variance"] is None
        else array("h", "variance")
    )
    out = {"l2_h": norm, "var_h": variance, "mean_sum": array("sum", "total") / s["n"]}
    if s["size"] is not None:
        out["mean_abs_sum"] = array("sum", "size") / s["n"]
    out["sparsity"] = array("sum", "zeros") / s["n"]  # ReLU(s) is 0 exactly where s <= 0
    if streams.get("slope"):
        out["linearity"] = array("slope", "linear") / streams["slope"]["n"]
    if "x" in streams:
        with np.errstate(divide="ignore", invalid="ignore"):
            out["ratio_hx"] = norm / array("x", "norm")
    return out


@dataclasses.dataclass(frozen=True)
class BlockMetrics(Measure):
    """Six metrics of each residual block, per image, over all elements of its maps (channels,
    height, width).

    ``l2_h`` and ``var_h`` (ddof 0) are the norm and the variance of the branch h. ``mean_sum`` and
    ``mean_abs_sum`` are means of x + h, the input of the block's last ReLU. ``sparsity`` is the
    share of zeros after it. Where a GELU or a SiLU follows each sum, ``linearity`` takes its place:
    the share of positions at which the slope of the activation lies within 0.1 of 0 or 1, as it
    does everywhere for a ReLU (:data:`SLOPES`). A network whose sums go into nothing of the kind
    has neither. ``ratio_hx`` is ||h|| / ||x|| (a plain block has no x, and no ratio).
    They follow the study "Investigating Internal Dynamics of Pre-trained ResNet Models Under Input
    Uncertainty", but per image instead of per batch.

    A measure is a context manager around forward passes. It yields ``read(batch)``, to be called
    after each pass with its batch (:class:`probes.batch.Batch`). That returns the sites under
    ``"site"`` and an array (sites, images) per metric.

    >>> from probes.batch import Batch
    >>> from probes.subjects.nets import nets
    >>> net = nets["resnet20"](1, 10).eval()
    >>> with torch.no_grad(), BlockMetrics().open(net) as read:
    ...     _ = net(torch.rand(4, 1, 8, 8))
    ...     found = read(Batch.of([0, 1, 2, 3]))
    >>> found["var_h"].shape
    (9, 4)
    """

    sites: tuple[str, ...] | None = None
    metrics: tuple[str, ...] = METRICS

    name = "block_metrics"
    version = 2

    def __post_init__(self) -> None:
        for name in self.metrics:
            if name not in (*METRICS, LINEARITY):
                raise unknown("block metric", name, (*METRICS, LINEARITY))
        if not self.metrics:
            raise BadInput(f"BlockMetrics(metrics=()): at least one of {', '.join(METRICS)}")

    def key(self) -> dict:
        """What the numbers depend on, as JSON."""
        return {
            "kind": self.name,
            "version": self.version,
            "sites": self.sites and list(self.sites),
            "metrics": list(self.metrics),
        }

    def count(self, model: nn.Module) -> int:
        """The number of sites that it reads of a model, known before any pass: the size of a family
        over sites.
        """
        return len(self.sites or block_sites(model) or found_in(model)) or 1

    @contextlib.contextmanager
    def open(self, model: nn.Module) -> Iterator[Read]:
        """Measure every forward pass inside the block; see the class. Raises what
        :func:`probes.measure.tap` raises.
        """
        blocks = block_sites(model)
        for site, block in blocks.items():
            adapter = adapter_of(block)
            relu = getattr(block, adapter.relu) if adapter else None
            if (self.sites is None or site in self.sites) and not isinstance(relu, nn.ReLU):
                raise ProbesError(
                    f"block {site!r} ends in {type(relu).__name__}: sparsity is defined for ReLU"
                    " only, whose zeros are exact"
                )
        if blocks and LINEARITY in self.metrics:
            raise ProbesError(
                "linearity is defined where a GELU or a SiLU follows: the slope of a ReLU is 0 or 1"
                " everywhere; ask for sparsity"
            )
        reduce = partial(_reduce, metrics=frozenset(self.metrics))
        parts = ("h", "x", "sum") if "ratio_hx" in self.metrics else ("h", "sum")
        with self._streams(model, reduce, parts, bool(blocks)) as seen:

            def read(batch: Batch) -> dict[str, np.ndarray]:
                metrics = self.metrics if blocks else self._defined(model)
                return _read(seen, batch.ids, metrics)

            yield read

    def _streams(
        self, model: nn.Module, reduce: Callable, parts: tuple[str, ...], blocks: bool
    ) -> contextlib.AbstractContextManager[Mapping[str, Streams]]:
        if blocks:
            return tap(model, self.sites, reduce, parts)
        refuse_wrapped(model)
        refuse_training(model)
        asked = {"sparsity", LINEARITY} & set(self.metrics)
        return meet(model, self.sites, reduce, set(parts), _linear if asked else None)

    def lacks(self, model: nn.Module) -> dict[str, str]:
        """Sparsity or linearity, where a sum goes into something else."""
        if block_sites(model):
            return {}
        sites = [s for s in found_in(model) if self.sites is None or s.name in self.sites]
        return {
            name: f"sum {other.name!r} goes into {other.next or 'no activation'}: {name} is defined"
            f" for {NEEDS[name]}"
            for name, fits in FITS.items()
            if (other := next((s for s in sites if not fits(s.next)), None))
        }

    def _defined(self, model: nn.Module) -> tuple[str, ...]:
        """The metrics that are defined at sums: sparsity where a ReLU follows each of them,
        linearity in its place where a GELU or a SiLU does. What is undefined is left out of all six
        metrics, and refused where it was asked for by name.
        """
        lacks = self.lacks(model)
        if self.metrics == METRICS:
            chosen = next((name for name in FITS if name not in lacks), None)
            named = (chosen if name == "sparsity" else name for name in METRICS)
            return tuple(name for name in named if name is not None)
        for name in FITS.keys() & set(self.metrics):
            if why := lacks.get(name):
                raise ProbesError(f"{why}; ask for others of {', '.join((*METRICS, LINEARITY))}")
        return self.metrics


def _read(
    seen: Mapping[str, Streams], ids: np.ndarray, metrics: Sequence[str]
) -> dict[str, np.ndarray]:
    if not seen:
        raise ProbesError("nothing was measured: run a forward pass before read()")
    found = [_finish(streams) for streams in _brought(seen).values()]
    rows = {site: len(one["l2_h"]) for site, one in zip(seen, found, strict=True)}
    if odd := [site for site, n in rows.items() if n != len(ids)]:
        rest = tuple(site for site in rows if site not in odd)
        raise ProbesError(
            f"sum {odd[0]!r} has {rows[odd[0]]} rows for {len(ids)} images: patches or windows"
            f" stand there in place of images; name other sums, e.g. BlockMetrics(sites={rest[:3]})"
        )
    out: dict[str, np.ndarray] = {"site": np.array(list(seen))}
    for name in metrics:
        if all(name in values for values in found):
            out[name] = np.stack([values[name] for values in found])
            if name != "ratio_hx" and (bad := ~np.isfinite(out[name])).any():
                site, image = np.argwhere(bad)[0]
                raise ProbesError(
                    f"{name} is {out[name][site, image]} in block {str(out['site'][site])!r} for"
                    f" image {ids[image]}"
                )
    return out


block_metrics = BlockMetrics()
"""All registered blocks: ``lab.sweep(block_metrics, under=gaussian(0, .1))``."""
