"""What a measure says about itself, so that no code asks for its class."""

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
    """Reads a forward pass. :meth:`Measure.open` yields one.

    A plain function ``read(batch)`` will do if the measure does not compare.
    """

    @abc.abstractmethod
    def __call__(self, batch: Batch) -> dict[str, np.ndarray]:
        """What the last pass gave for a batch: the sites under ``"site"``, and an array (sites,
        images) per metric.
        """

    def reference(self) -> None:  # noqa: B027
        """Take the last pass as the clean pass with which the next one is compared. Called only if
        :attr:`Measure.compares`.
        """


class Measure(abc.ABC):
    """What a sweep measures: numbers per image and site, at every forward pass.

    Yours needs a ``name``, :meth:`key`, :meth:`count` and :meth:`open`. Make it a frozen dataclass,
    since it is sent to other processes. ``compares`` means that each level is compared with the
    clean pass of the same images, which then runs first. ``answers`` means that the measure gives
    ``correct``, whether the largest logit is that of the label; the network then needs a logit per
    class. ``floor`` is how far clean accuracy must be above chance for a claim about it (None: no
    limit).
    """

    name: str
    compares: bool = False
    answers: bool = False
    floor: float | None = None

    def key(self) -> dict[str, Any]:
        """What the numbers depend on, as JSON values. The code of the measure is part of the key of
        its results in any case.
        """
        return {"kind": self.name}

    @abc.abstractmethod
    def count(self, model: nn.Module) -> int:
        """The number of sites that it reads of a model, known before any pass: the size of a family
        over sites.
        """

    def lacks(self, model: nn.Module) -> dict[str, str]:
        """The metrics that it has no numbers for at this model, which was measured, with the
        reason.
        """
        return {}

    @abc.abstractmethod
    def open(self, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """A context in which each pass can be read: it yields ``read(batch)`` (see
        :class:`Reading`).
        """


@dataclasses.dataclass(frozen=True)
class Borrowed(Measure):
    """A measure that has the right attributes without being derived from :class:`Measure`."""

    inner: Any

    @property
    def name(self) -> str:  # type: ignore[override]
        """Its name."""
        return str(self.inner.name)

    def key(self) -> dict[str, Any]:
        """Its own key, with the hash of its code."""
        return self.inner.key() | key_of(self.inner)

    def count(self, model: nn.Module) -> int:
        """The number of sites that it reads."""
        return self.inner.count(model)

    def open(self, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """What its own ``open`` yields, called with a batch."""
        return self.inner.open(model)


def measure_of(thing: Any) -> Measure:
    """A measure as it is, or wrapped if it only has the right attributes. Raises BadInput for
    anything else.
    """
    if issubclass(type(thing), Measure):
        return thing
    if lost := [name for name in ("name", "key", "count", "open") if not hasattr(thing, name)]:
        raise BadInput(
            f"{type(thing).__name__} is no measure, it lacks {', '.join(lost)}: derive it from"
            " probes.Measure (name, key, count, open)"
        )
    return Borrowed(thing)
