"""What a measure says of itself, so that nobody asks for its class."""

from __future__ import annotations

import abc
import contextlib
from typing import Any

import numpy as np
from torch import nn

from probes.batch import Batch


class Reading(abc.ABC):
    """Reads a forward pass: what :meth:`Measure.open` yields.

    A function ``read(batch)`` is one, too, where the measure does not compare.
    """

    @abc.abstractmethod
    def __call__(self, batch: Batch) -> dict[str, np.ndarray]:
        """What the last pass gave for a batch: the sites under ``"site"``, and an array (sites,
        images) per metric.
        """

    def reference(self) -> None:  # noqa: B027
        """Take the last pass as the clean one that the next is compared with; only where
        :attr:`Measure.compares`.
        """


class Measure(abc.ABC):
    """What a sweep measures: numbers per image and site, at every forward pass.

    Yours needs a ``name``, :meth:`key`, :meth:`count` and :meth:`open`. Make it a frozen dataclass:
    it is sent to other processes. ``compares`` says that each level is compared with the clean pass
    of the same images, which then runs first. ``answers`` says that it gives ``correct``, whether
    the largest logit is the label's: the network then needs a logit per class. ``floor`` is how far
    above chance clean accuracy must be for a claim about it, None for no matter.
    """

    name: str
    compares: bool = False
    answers: bool = False
    floor: float | None = None

    def key(self) -> dict[str, Any]:
        """What the numbers depend on, as JSON values; its code is in the key of results anyway."""
        return {"kind": self.name}

    @abc.abstractmethod
    def count(self, model: nn.Module) -> int:
        """How many sites it reads of a model: the size of a family over sites, known before any
        compute.
        """

    @abc.abstractmethod
    def open(self, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """A context in which each pass can be read: it yields ``read(batch)`` (see
        :class:`Reading`).
        """
