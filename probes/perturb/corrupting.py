"""The corruptions of Hendrycks and Dietterich (2019) as perturbations: severities are levels, and
each image draws its own, by name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probes.batch import Batch, Draw
from probes.errors import BadInput
from probes.perturb import pixelwise, weather
from probes.perturb.drawing import Stream
from probes.perturb.pixelwise import Corrupt
from probes.perturb.protocol import Forward, Pass, Perturbation
from probes.perturb.published import EXTRA, PARAMETERS, TABLES, table_of
from probes.registry import unknown

CORRUPTIONS: dict[str, Corrupt] = {
    name: getattr(pixelwise, name, None) or getattr(weather, name) for name in PARAMETERS
}
"""The 15 + 4 corruptions by name, in the order in which they were published."""
FIFTEEN = tuple(name for name in CORRUPTIONS if name not in EXTRA)
SEVERITIES = (1, 2, 3, 4, 5)


def corrupted_bytes(
    image: np.ndarray, name: str, severity: int, draws: Stream, table: int | None = None
) -> np.ndarray:
    """An image (H, W, C) of bytes, corrupted: bytes again, cut off below the point, as published.

    ``table`` is 32 or 224, the side whose parameters are taken (default: by the image's side).

    >>> grey = np.full((8, 8, 1), 100, np.uint8)
    >>> corrupted_bytes(grey, "brightness", 1, Stream("example"))[0, 0].tolist()
    [112]
    """
    c = PARAMETERS[name][table or table_of(max(image.shape[:2]))][severity - 1]
    return np.clip(CORRUPTIONS[name](image.astype(float), c, draws), 0, 255).astype(np.uint8)


def corrupted_images(
    images: Tensor,
    ids: Sequence[int],
    name: str,
    severity: int,
    draw: Draw,
    table: int | None = None,
) -> Tensor:
    """Images (N, C, H, W) in [0, 1], each corrupted by its own draw, which is named by (seed,
    dataset, corruption, image id, draw). They are rounded to bytes first.

    >>> images = torch.rand(2, 3, 8, 8)
    >>> both = corrupted_images(images, [7, 8], "fog", 3, Draw(0, "d", 0))
    >>> bool((both[1:] == corrupted_images(images[1:], [8], "fog", 3, Draw(0, "d", 0))).all())
    True
    """
    return _as_images(_corrupted(_as_bytes(images, name), ids, name, severity, draw, table), images)


def _as_bytes(images: Tensor, name: str) -> np.ndarray:
    if images.shape[1] not in (1, 3):
        raise BadInput(
            f"corruption {name!r} of images with {images.shape[1]} channels: they have one or three"
        )
    return (images * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def _as_images(made: np.ndarray, like: Tensor) -> Tensor:
    out = torch.from_numpy(made).permute(0, 3, 1, 2).contiguous()
    return out.float().div_(255).to(like.device)


def _corrupted(
    given: np.ndarray,
    ids: Sequence[int],
    name: str,
    severity: int,
    draw: Draw,
    table: int | None,
) -> np.ndarray:
    made = [
        corrupted_bytes(
            image,
            name,
            severity,
            Stream("corruption", draw.seed, draw.dataset, name, int(i), draw.number),
            table,
        )
        for image, i in zip(given, ids, strict=True)
    ]
    return np.stack(made)


@dataclasses.dataclass(frozen=True)
class Corruption(Perturbation):
    """Images under corruptions of Hendrycks and Dietterich (2019), with their published parameters.

    A level is a severity; 0 is the clean image. ``table`` is the side, 32 or 224, whose parameters
    are taken: by default 32 for images of up to 64 px, else 224. Images of other sides are
    corrupted at their own size. Each image has its own draw, the same at all severities. Several
    corruptions are arms, in the key column ``corruption`` (``each``).
    """

    names: tuple[str, ...]
    levels: tuple[float, ...] = (0.0, *map(float, SEVERITIES))
    table: int | None = None
    each: bool = False

    varied = "severity"
    unit = "1 to 5"
    version = 1

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in CORRUPTIONS:
                raise unknown("corruption", name, CORRUPTIONS)
        if not self.names or len(set(self.names)) < len(self.names):
            raise BadInput(f"corruptions {self.names}: one or more, none of them twice")
        levels = tuple(sorted(float(v) for v in self.levels))
        if levels[:1] != (0.0,) or len(set(levels)) < len(levels) or not {*levels} <= {*range(6)}:
            raise BadInput(
                f"severity {tuple(v for v in levels if v)}: whole numbers from 1 to 5, none twice;"
                " level 0 is the clean image"
            )
        if self.table not in (None, *TABLES):
            raise BadInput(f"table={self.table!r}: parameters were published for 32 and 224 px")
        object.__setattr__(self, "levels", levels)

    @property
    def name(self) -> str:  # type: ignore[override]
        """The corruption, if it is a single one."""
        return "corruption" if self.each else self.names[0].replace("_", " ")

    @property
    def column(self) -> str | None:  # type: ignore[override]
        """The key column of the corruption, if there are arms."""
        return "corruption" if self.each else None

    def describe(self) -> str:
        """What is done to an image."""
        names = ", ".join(name.replace("_", " ") for name in self.names)
        where = (
            f"parameters for {self.table} px"
            if self.table
            else "parameters for 32 px up to a side of 64 px, for 224 px above"
        )
        return f"Corruption by {names}, as in Hendrycks and Dietterich (2019), {where}"

    def key(self, level: float) -> dict[str, Any]:
        """The corruption, its severity and the table of its parameters."""
        kind = {"kind": "corruption", "version": self.version, "level": level}
        return kind | ({"names": list(self.names), "table": self.table} if level else {})

    def arms(self, model: nn.Module) -> Sequence[tuple[str, Corruption]]:
        """One arm per corruption."""
        if not self.each:
            return [("", self)]
        return [(name, dataclasses.replace(self, names=(name,))) for name in self.names]

    def _made(self, at: Pass, given: np.ndarray, ids: list[int], name: str) -> np.ndarray:
        """Bytes of corrupted images, kept for the other networks that see them."""
        draw, level = at.draw, int(at.level)
        told = hashlib.sha256(given.tobytes()).digest()
        of = (draw.seed, draw.dataset, draw.number, *ids)
        return at.kept.get(
            ("corruption", name, level, self.table, of, given.shape, told),
            lambda: _corrupted(given, ids, name, level, draw, self.table),
        )

    @contextlib.contextmanager
    def open(self, at: Pass) -> Iterator[Forward]:
        """Run the network on corrupted images. Before there are arms, each image of a batch gets
        the next corruption: this is for pictures.
        """

        def forward(batch: Batch) -> Tensor:
            seen = batch.images
            if at.level:
                ids, n = batch.ids.tolist(), len(self.names)
                given = _as_bytes(seen, self.names[0])
                of_batch = (
                    [(slice(None), self.names[0])]
                    if n == 1
                    else [(slice(i, i + 1), self.names[i % n]) for i in range(len(ids))]
                )
                made = [self._made(at, given[part], ids[part], name) for part, name in of_batch]
                seen = _as_images(np.concatenate(made), seen)
            at.plain(seen)
            return seen

        yield forward


def _severities(severity: int | Sequence[int]) -> tuple[float, ...]:
    several = (severity,) if isinstance(severity, int | float) else tuple(severity)
    return (0.0, *several)


def corruption(
    *names: str, severity: int | Sequence[int] = SEVERITIES, table: int | None = None
) -> Corruption:
    """Images under a corruption, or under several, an arm each: see :class:`Corruption`.

    ``severity=3`` is a single strength, which may be combined with another perturbation. Raises
    UnknownName, with the known names, for another corruption, BadInput for a severity that is no
    whole number from 1 to 5.

    >>> corruption("fog").levels, corruption("fog", severity=3).levels
    ((0.0, 1.0, 2.0, 3.0, 4.0, 5.0), (0.0, 3.0))
    """
    return Corruption(tuple(names), _severities(severity), table, each=len(names) > 1)


def corruptions(
    severity: int | Sequence[int] = SEVERITIES, extra: bool = False, table: int | None = None
) -> Corruption:
    """The fifteen corruptions, an arm each in the key column ``corruption``; with ``extra`` also
    the four that were published beside them.

    ``frost`` needs photographs: see :func:`probes.perturb.weather.frost`.

    >>> len(corruptions().names), len(corruptions(extra=True).names)
    (15, 19)
    """
    names = tuple(CORRUPTIONS) if extra else FIFTEEN
    return Corruption(names, _severities(severity), table, each=True)
