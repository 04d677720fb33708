"""Statistics of feature maps by depth, streaming and mergeable: moments, extremes, zeros, and counts that give any quantile.

The counts are on fixed edges, 32 to each power of two from 2**-16 to 2**16, with either sign, and one for exact zeros: a value's
bin is read off the bits of its float32. So two streams merge by adding counts, a quantile is within 1.6 % of the exact one (or
within 2**-16), and 10,000 images cost the memory of one batch.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from probes.errors import BadInput

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
STATISTICS = ("n", "mean", "median", "std", "min", "max", "zeros", "q05", "q25", "q75", "q95")
_HALF = 1024  # bins of one sign: 32 powers of two, 32 bins each
_LOW, _HIGH = (127 - 16) << 23, (127 + 16) << 23  # bits of 2**-16 and 2**16
_SHIFT = 23 - 5
WIDTH = 2 * _HALF + 1
_EDGES = (np.arange(_LOW, _HIGH + 1, 1 << _SHIFT, dtype=np.int32)).view(np.float32).astype(np.float64)
LOWER = np.concatenate([-_EDGES[:0:-1], [0.0], _EDGES[:-1]])
UPPER = np.concatenate([-_EDGES[-2::-1], [0.0], _EDGES[1:]])


def bins(maps: Tensor) -> Tensor:
    """The bin of each value, in [0, 2049): int32, the shape of ``maps`` (float32).

    >>> bins(torch.tensor([-1.0, 0.0, 1.0])).tolist()
    [511, 1024, 1537]
    """
    bits = maps.view(torch.int32)
    size = (bits & 0x7FFFFFFF).clamp_(_LOW, _HIGH - 1).sub_(_LOW).bitwise_right_shift_(_SHIFT)
    side = torch.where(bits < 0, -1 - size, size + 1)
    return torch.where(maps == 0, 0, side).add_(_HALF)


@dataclasses.dataclass
class MapStatistics:
    """The statistics of one layer at one level: an entry per depth (channel) in each array.

    >>> one, two = MapStatistics.of(torch.rand(4, 3, 5, 5)), MapStatistics.of(torch.rand(2, 3, 5, 5))
    >>> int(one.merge(two).n[0])
    150
    """

    n: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, maps: Tensor) -> MapStatistics:
        """Of maps (N, C, H, W); BadInput where a value is not finite."""
        x = maps.detach().float().contiguous()
        images, depths, high, wide = x.shape
        total = x.sum((2, 3)).double().sum(0)
        if not torch.isfinite(total).all():
            raise BadInput(f"feature maps hold NaN or infinite values (depth {int((~torch.isfinite(total)).nonzero()[0])})")
        squares = torch.linalg.vector_norm(x, dim=(2, 3)).double().square().sum(0)
        flat = x.flatten(2)
        places = bins(flat).add_(torch.arange(0, depths * WIDTH, WIDTH, dtype=torch.int32, device=x.device)[None, :, None])
        counts = torch.bincount(places.flatten(), minlength=depths * WIDTH).view(depths, WIDTH)
        parts = [total, squares, flat.amin((0, 2)).double(), flat.amax((0, 2)).double(), counts]
        return cls(np.full(depths, images * high * wide), *(p.cpu().numpy() for p in parts))

    def merge(self, other: MapStatistics) -> MapStatistics:
        """Both streams together."""
        return MapStatistics(
            self.n + other.n, self.total + other.total, self.squares + other.squares,
            np.minimum(self.low, other.low), np.maximum(self.high, other.high), self.counts + other.counts,
        )  # fmt: skip

    def layer(self) -> MapStatistics:
        """All depths of the layer as one."""
        return MapStatistics(
            self.n.sum(keepdims=True), self.total.sum(keepdims=True), self.squares.sum(keepdims=True),
            self.low.min(keepdims=True), self.high.max(keepdims=True), self.counts.sum(0, keepdims=True),
        )  # fmt: skip

    def quantile(self, q: float) -> np.ndarray:
        """A quantile of each depth, within 1.6 % of the exact one or within 2**-16; exact where it is 0."""
        rank = q * (self.n - 1)
        behind = self.counts.cumsum(1)
        here = (behind > rank[:, None]).argmax(1)
        rows = np.arange(len(here))
        inside = (rank - (behind[rows, here] - self.counts[rows, here]) + 0.5) / self.counts[rows, here]
        return np.clip(LOWER[here] + inside * (UPPER[here] - LOWER[here]), self.low, self.high)

    def summary(self) -> dict[str, np.ndarray]:
        """Every statistic by name (``STATISTICS``), an entry per depth; ``std`` with ddof 0, ``zeros`` a share."""
        mean = self.total / self.n
        out = {
            "n": self.n,
            "mean": mean,
            "std": np.sqrt(np.maximum(self.squares / self.n - mean**2, 0)),
            "min": self.low,
            "max": self.high,
            "zeros": self.counts[:, _HALF] / self.n,
            "median": self.quantile(0.5),
        }
        out |= {f"q{round(100 * q):02}": self.quantile(q) for q in QUANTILES}
        return {name: out[name] for name in STATISTICS}

    def histogram(self, edges: np.ndarray) -> np.ndarray:
        """Counts between ``edges``, per depth: (depths, edges - 1); zeros lie in the bin that holds 0."""
        fine = np.concatenate([[-np.inf], UPPER])
        fine[0] = LOWER[0]
        below = np.concatenate([np.zeros((len(self.n), 1)), self.counts.cumsum(1)], axis=1)
        zeros = self.counts[:, [_HALF]]
        smooth = below - np.where(np.arange(WIDTH + 1) > _HALF, zeros, 0)
        found = np.stack([np.diff(np.interp(edges, fine, row)) for row in smooth])
        found[:, np.clip(np.searchsorted(edges, 0, side="right") - 1, 0, len(edges) - 2)] += zeros[:, 0]
        return found


# --- how alike the maps of many images are -----------------------------------------------------------------------------


class Alikeness:
    """Unbiased linear CKA of two representations of the same images, summed over batches (Nguyen, Raghu and Kornblith 2021).

    ``add`` takes rows per image; a batch needs 4 images. Unbiased HSIC after Song et al. 2012, equation 5. 1 for a
    representation with itself.

    >>> x = torch.arange(24.0).reshape(6, 4) ** 2
    >>> both = Alikeness()
    >>> both.add(x, 3 * x)
    >>> round(both.value(), 6)
    1.0
    """

    def __init__(self) -> None:
        self.sums = np.zeros(3)
        self.images = 0

    def add(self, x: Tensor, y: Tensor) -> None:
        """A batch: (images, features) of either representation; BadInput below 4 images."""
        if len(x) < 4:
            raise BadInput(f"linear CKA needs 4 images at least, there are {len(x)}")
        k, m = (_gram(t) for t in (x, y))
        self.sums += [_hsic(k, m), _hsic(k, k), _hsic(m, m)]
        self.images += len(x)

    def value(self) -> float:
        """The CKA of what was added; NaN where one of the two does not vary."""
        across, x, y = self.sums
        return float(across / np.sqrt(x * y)) if x > 0 and y > 0 else float("nan")


def _gram(x: Tensor) -> np.ndarray:
    x = x.flatten(1).float()
    k = (x @ x.T).double().cpu().numpy()
    np.fill_diagonal(k, 0)
    return k


def _hsic(k: np.ndarray, m: np.ndarray) -> float:
    n = len(k)
    across = (k * m).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k.sum(0) @ m.sum(0))
    return float(across / (n * (n - 3)))
