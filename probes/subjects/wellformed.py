"""Whether a dataset is one: what somebody's own function hands over is measured as it is meant, or refused with a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from probes.errors import BadInput

if TYPE_CHECKING:
    from probes.subjects.data import Dataset


def check(data: Dataset) -> None:
    """Raise BadInput for a dataset whose images, labels, ids or constants are not as :class:`probes.subjects.data.Dataset` says."""
    n = len(data.images)
    if not isinstance(data.images, np.ndarray) or data.images.dtype != np.uint8 or data.images.ndim != 4:
        raise BadInput(f"dataset {data.name}: images are uint8 (N, C, H, W), got {_told(data.images)}")
    if n == 0:
        raise BadInput(f"dataset {data.name}, split {data.split}: there are no images")
    for what in ("labels", "ids"):
        numbers = getattr(data, what)
        if not isinstance(numbers, np.ndarray) or numbers.dtype.kind not in "iu" or numbers.ndim != 1:
            raise BadInput(f"dataset {data.name}: {what} are int64 (N,), got {_told(numbers)}")
    if not (len(data.labels) == len(data.ids) == n == len(set(data.ids.tolist()))):
        raise BadInput(f"dataset {data.name}: {n} images need as many labels and as many different ids")
    if data.labels.min() < 0 or data.labels.max() >= len(data.classes):
        raise BadInput(f"dataset {data.name}: labels run from {data.labels.min()} to {data.labels.max()}, "
                       f"but there are {len(data.classes)} classes")  # fmt: skip
    for what, least in (("mean", 0.0), ("std", np.nextafter(0.0, 1.0))):
        constants = np.asarray(getattr(data, what), float)
        if constants.shape not in ((1,), (data.channels,)) or not ((constants >= least) & (constants <= 1)).all():
            raise BadInput(f"dataset {data.name}: {what} {getattr(data, what)}: a number in [0, 1] for each of"
                           f" {data.channels} channels{', not 0' * (what == 'std')}; an image is byte / 255")  # fmt: skip


def _told(array: object) -> str:
    """What somebody handed over, in words: dtype and shape, or its type."""
    if hasattr(array, "dtype") and hasattr(array, "shape"):
        return f"{array.dtype} {tuple(array.shape)}"
    return f"a {type(array).__name__}"
