"""What a measure says of itself, so that nobody asks for its class."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from typing import Any

import numpy as np
from torch import nn

from probes.batch import Batch
from probes.errors import BadInput
from probes.fingerprint import key_of


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


@dataclasses.dataclass(frozen=True)
class Borrowed(Measure):
    """A measure that has the names of one, and was not derived from :class:`Measure`."""

    inner: Any

    @property
    def name(self) -> str:  # type: ignore[override]
        """What it is called."""
        return str(self.inner.name)

    def key(self) -> dict[str, Any]:
        """Its own key, with the hash of its code."""
        return self.inner.key() | key_of(self.inner)

    def count(self, model: nn.Module) -> int:
        """How many sites it reads."""
        return self.inner.count(model)

    def open(self, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """What it opens; ``read`` is given a batch."""
        return self.inner.open(model)


def measure_of(thing: Any) -> Measure:
    """A measure as it is, or one that has the names of one; BadInput for anything else."""
    if issubclass(type(thing), Measure):
        return thing
    if lost := [name for name in ("name", "key", "count", "open") if not hasattr(thing, name)]:
        raise BadInput(
            f"{type(thing).__name__} is no measure, it lacks {', '.join(lost)}: derive it from"
            " probes.Measure (name, key, count, open)"
        )
    return Borrowed(thing)
